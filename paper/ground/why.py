"""Why Adam stays on the wave where LM leaves it; and the surfaces of figure 1."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from paper.ground.adam import OutOfTimeError, Until
from paper.ground.comparing import FOUND
from paper.ground.model import Model
from paper.ground.tasks import DIRECT, RIDE, Room, _settings
from paper.ground.ways import Bounded, Record, Setting, adam_rows, told, told_ends
from paper.ground.weights import Weights
from surfing.continuation import direct
from surfing.descent import LevenbergMarquardt
from surfing.problem.matrices import squared_norms
from surfing.solution import Solution

__all__ = ["EXTRA", "follow", "truth_track", "why"]

_NEAR = 0.2
"""In standard deviations of the law by the root of k: nearer, a row is on the wave."""
_SIDE = 41
"""Points of a surface along each axis."""
_TRIED = 30
"""Targets of which two have their surface drawn."""


def _at(
    setting: Setting, stage: int, z: Tensor, descent: LevenbergMarquardt, steps: int
) -> Solution:
    """LM on one network from where the rows are."""
    model = setting.model
    return direct(
        model.trajectory.select([stage]),
        setting.y(1),
        generator=model.generator,
        operator=setting.operators.single(setting.which),
        descent=descent,
        max_steps=steps,
        z0=z[:, None],
        seed=setting.seed,
    )


def truth_track(setting: Setting) -> list[Tensor]:
    """The minimiser that ends in the truth, followed backwards through the networks."""
    assert setting.z is not None
    z, track = setting.z, [setting.z]
    for stage in range(len(setting.model.trajectory) - 2, -1, -1):
        z = _at(setting, stage, z, LevenbergMarquardt(damping=0.1), 5).z
        track.append(z)
    return track[::-1]


def follow(
    setting: Setting,
    z: Tensor,
    *,
    steps: int,
    descent: Callable[[int], LevenbergMarquardt],
    seen: Callable[[int, Tensor], None],
    check: Callable[[], None],
) -> tuple[Tensor, Tensor, Tensor]:
    """LM through every network, `steps` at each; the descent may change from stage to stage.

    Returns:
        z, risk and cost of every target.
    """
    last = len(setting.model.trajectory) - 1
    cost = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    for stage in range(last):
        check()
        solution = _at(setting, stage, z, descent(stage), steps)
        z, cost = solution.z, cost + solution.cost
        seen(stage, z)
    solution = _at(setting, last, z, LevenbergMarquardt(), 40)
    seen(last, solution.z)
    return solution.z, solution.risk, cost + solution.cost


class _Wave:
    """How many rows are near the truth's minimiser at each stage, and how far they moved."""

    def __init__(self, setting: Setting, track: Sequence[Tensor]) -> None:
        self.track = track
        self.near = _NEAR * setting.model.latent.std * setting.model.k**0.5
        self.shares: list[float] = []
        self.moves: list[float] = []
        self.before: Tensor | None = None

    def __call__(self, stage: int, z: Tensor) -> None:
        self.shares.append(float(((z - self.track[stage]).norm(dim=1) < self.near).double().mean()))
        if self.before is not None:
            self.moves.append(float((z - self.before).norm(dim=1).median()))
        self.before = z

    def told(self) -> Record:
        return {
            "on_the_wave": [round(s, 3) for s in self.shares],
            "median_move": [float(f"{m:.3g}") for m in self.moves],
        }


def why(model: Model, room: Room) -> Iterator[Record]:
    """m = 2k: Adam's and LM's rides with other steps, and where each leaves the wave."""
    plan = room.plan
    (setting,) = _settings(model, [2 * model.k], plan.few, plan.seed)
    with room.place(room.light):
        track = truth_track(setting)
    drift = [float((a - b).norm(dim=1).median()) for a, b in itertools.pairwise(track)]
    yield {"method": "track of the truth", "m": setting.m, "networks": len(track),
           "median_drift": [float(f"{d:.3g}") for d in drift]}  # fmt: skip
    # The ride itself first, then what may replace it: a run that is cut short has both.
    yield from _adam_rides(model, room, setting, track, slice(1))
    yield from _lm_rides(model, room, setting, track, drift)
    yield from _adam_rides(model, room, setting, track, slice(1, None))


def _adam_rides(
    model: Model, room: Room, setting: Setting, track: Sequence[Tensor], which: slice
) -> Iterator[Record]:
    states, plan = Weights.of(model.trajectory), room.plan
    chosen = room.rate(RIDE, setting.m)
    cases: list[tuple[float, int, tuple[float, float], int]] = [
        *((chosen, n, (0.9, 0.999), 1) for n in (10, 1, 2, 5, 20, 50)),
        *((rate, 10, (0.9, 0.999), 1) for rate in plan.rates if rate != chosen),
        (chosen, 10, (0.0, 0.999), 1),
        (chosen, 10, (0.9, 0.999), 5),
        (chosen, 10, (0.9, 0.999), 10),
    ]
    for rate, steps, betas, window in cases[which]:
        wave = _Wave(setting, track)
        path = states if window == 1 else _averages(states, window)
        adam = room.adam(model, setting.operators, betas=betas,
                         until=Until(cap=min(plan.until.cap, 6000), every=plan.until.every,
                                     patience=plan.until.patience))  # fmt: skip
        ends = room.descend(adam, adam_rows(setting, rate, 1), path, stage_steps=steps, seen=wave)
        yield told_ends(RIDE, setting, ends, rate=rate, stage_steps=steps, momentum=betas[0],
                        averaged=window, **wave.told())  # fmt: skip


def _averages(states: Weights, window: int) -> Weights:
    """Of each network with those before it; the last one is itself."""

    def read(place: int) -> dict[str, Tensor]:
        one = dict(states[place])
        if place == len(states) - 1:
            return one
        part = [states[i] for i in range(max(0, place + 1 - window), place + 1)]
        means = {name: torch.stack([s[name] for s in part]).mean(0)
                 for name, value in one.items() if value.is_floating_point()}  # fmt: skip
        return one | means

    return Weights(read, range(len(states)))


def _lm_rides(
    model: Model, room: Room, setting: Setting, track: Sequence[Tensor], drift: Sequence[float]
) -> Iterator[Record]:
    start = adam_rows(setting, 0.0, 1).z
    unit = model.latent.std * model.k**0.5
    middle = sorted(drift)[len(drift) // 2]
    cases: list[tuple[str, int, Callable[[int], LevenbergMarquardt]]] = [
        *((f"LM, {n} steps a network", n, lambda stage: LevenbergMarquardt()) for n in (1, 2, 5)),
        *((f"LM, damping {d}", 2, lambda stage, d=d: LevenbergMarquardt(damping=d))
          for d in (0.1, 1.0, 10.0)),
        *((f"LM, steps of at most {r} of the law, {n} a network", n,
           lambda stage, r=r: Bounded(radius=r * unit))
          for r, n in ((0.02, 2), (0.05, 2), (0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2), (0.05, 5))),
        *((f"LM, steps of at most {c} times the drift", 2,
           lambda stage, c=c: Bounded(radius=max(c * drift[stage], 0.05 * middle)))
          for c in (1.0, 2.0, 4.0)),
    ]  # fmt: skip
    for name, steps, descent in cases:
        wave = _Wave(setting, track)
        with room.place(room.light):
            z, risk, cost = follow(setting, start, steps=steps, descent=descent, seen=wave,
                                   check=room.check)  # fmt: skip
        residual = (2 * risk / squared_norms(setting.y(1).flatten(1))).sqrt()
        yield told(name, setting, z, residual=residual, cost=cost, stage_steps=steps,
                   **wave.told())  # fmt: skip


def variants(model: Model, room: Room) -> Iterator[Record]:
    """The rides of the ablations, with LM, at m = 2k."""
    from paper.ground.ways import told_solution
    from paper.variants import VARIANTS
    from surfing.evaluation.solvers import Task
    from surfing.problem import ForwardModel

    (setting,) = _settings(model, [2 * model.k], room.plan.few, room.plan.seed)
    operator = setting.operators.single(setting.which)
    measuring = ForwardModel(model.trajectory, generator=model.generator, operator=operator)
    for name, variant in VARIANTS.items():
        try:
            solution = _placed(
                room,
                variant.solver.solve,
                Task(measuring, setting.y(1), setting.seed, ids=setting.ids(1)),
            )
        except OutOfTimeError:
            raise
        except Exception as error:
            yield {"variant": name, "failed": f"{type(error).__name__}: {error}"}
            continue
        yield told_solution("LM surfing", setting, solution) | {
            "variant": name, "group": variant.group,
        }  # fmt: skip


def _placed(room: Room, way: Callable[..., Solution], *given: Any, **options: Any) -> Solution:
    with room.place(room.light):
        return way(*given, **options)


def surface(model: Model, room: Room) -> Iterator[Record]:
    """Risk on the plane of z at six networks, the ride through them and the direct descent.

    Of the two targets shown the ride finds the latent and the direct descent does not, from the
    same start; where there are not two such, the first ones.
    """
    assert model.k == 2
    (setting,) = _settings(model, [0], _TRIED, room.plan.seed)
    states = Weights.of(model.trajectory)
    places: list[Tensor] = []
    adam = room.adam(model, setting.operators)
    rows = adam_rows(setting, room.rate(RIDE, 0), 1)
    ride = adam.run(rows, states, stage_steps=room.plan.stage_steps,
                    seen=lambda stage, z: places.append(z))  # fmt: skip
    alone = adam.run(adam_rows(setting, room.rate(DIRECT, 0), 1), states[-1:])
    by_ride, by_direct = (_found(ends.z, setting.z) for ends in (ride, alone))
    shown = torch.argsort((by_ride & ~by_direct).int(), descending=True, stable=True)[:2]
    reached = max(float(z[shown].abs().max()) for z in places)
    width = max(3.0 * model.latent.std, 1.05 * reached)
    line = torch.linspace(-width, width, _SIDE, device=model.device)
    grid = torch.cartesian_prod(line, line)
    network = model.network()
    panels = []
    for stage in sorted({round(i * (len(states) - 1) / 5) for i in range(6)}):
        network.load(states[stage])
        with torch.no_grad():
            signals = torch.cat([network(part) for part in torch.split(grid, 1024)])
        risks = [(signals - x).square().sum(1).view(_SIDE, _SIDE) / 2 for x in setting.x[shown]]
        panels.append({"step": model.trajectory.steps[stage], "stage": stage,
                       "risk": [[[float(f"{v:.3g}") for v in row] for row in risk.tolist()]
                                for risk in risks]})  # fmt: skip
    yield {
        "width": round(width, 4),
        "truth": _listed(setting.z, shown),
        "starts": _listed(rows.z, shown),
        "path": [_listed(z, shown) for z in places],
        "end": _listed(ride.z, shown),
        "direct": _listed(alone.z, shown),
        "tried": len(by_ride),
        "only_ride": int((by_ride & ~by_direct).sum()),
        "only_direct": int((by_direct & ~by_ride).sum()),
        "panels": panels,
    }


def _found(z: Tensor, truth: Tensor | None) -> Tensor:
    assert truth is not None
    found: Tensor = (z - truth).norm(dim=1) < FOUND
    return found


def _listed(values: Any, shown: Tensor) -> list[list[float]]:
    return [[round(v, 6) for v in row] for row in values[shown].tolist()]


EXTRA = {"why": why, "variants": variants, "surface": surface}

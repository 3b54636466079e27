"""What is measured on each model, in order of what it is worth: a task is one JSON document."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from paper.ground.adam import Adam, Ends, OutOfTimeError, Rows, Until
from paper.ground.measurements import ALL, Operators
from paper.ground.model import Model, parts_of
from paper.ground.ways import (
    LM,
    Record,
    Setting,
    adam_rows,
    told_ends,
    told_solution,
)
from paper.ground.weights import Weights
from surfing.zoo.data import load_images

__all__ = ["DIRECT", "LATER", "RESTARTED", "RIDE", "TASKS", "WAYS", "Plan", "Room", "tasks_of"]

LATER = "-lm"
"""How the names of tasks end that the package's own loops take."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        seed: of targets, starts and operators.
        rates: Adam's step sizes to choose from.
        tuning: targets that choose them; others than those reported.
        table: targets of a cell of Table 1.
        few: targets at equal cost.
        restarted: targets of direct Adam at equal cost, the first of the tables'.
        restarted_from: numbers of measurements of that, 0 for all pixels; all where left out.
        points: targets of a point of figure 3.
        measurements: of figure 3.
        images: held-out images of figure 4.
        image_measurements: of figure 4.
        restarts: of direct Adam: in Table 1 and at equal cost.
        lm_restarts: of LM, likewise.
        stage_steps: Adam's, at each network but the last.
        until: when a row has converged.
        ways: of the package, those that are measured; all where left out.
        tuning_cap: most steps while step sizes are chosen.
        block: rows side by side on a GPU.
        cpu_block: on a CPU, where more of them fall out of its cache.
    """

    seed: int = 0
    rates: tuple[float, ...] = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
    tuning: int = 30
    table: int = 300
    few: int = 100
    restarted: int = 100
    restarted_from: tuple[int, ...] | None = None
    points: int = 200
    measurements: tuple[int, ...] = (10, 20, 30, 40, 60, 80, 120, 160)
    images: int = 200
    image_measurements: tuple[int, ...] = (ALL, 100)
    restarts: tuple[int, int] = (5, 5)
    lm_restarts: tuple[int, int] = (1, 5)
    stage_steps: int = 10
    until: Until = field(default_factory=Until)
    ways: tuple[str, ...] | None = None
    tuning_cap: int = 4000
    block: int = 2048
    cpu_block: int = 256


@dataclass(frozen=True)
class Room:
    """Where a task works.

    Args:
        plan: how much.
        deadline: `time.time()` at which all ends.
        data_root: where the images lie.
        known: what earlier tasks of this model found.
        heavy: semaphore of runs of thousands of rows, which fill a GPU by twos and threes.
        light: semaphore of the package's own loops, which wait for the GPU at every step.
    """

    plan: Plan
    deadline: float
    data_root: Path | None
    known: dict[str, Record]
    heavy: Any = None
    light: Any = None

    def adam(self, model: Model, operators: Operators, **options: Any) -> Adam:
        """Adam, ready to run."""
        block = self.plan.cpu_block if model.device.type == "cpu" else self.plan.block
        options = {"until": self.plan.until, "block": block, **options}
        return Adam(model.network(), operators, deadline=self.deadline, **options)

    @contextlib.contextmanager
    def place(self, semaphore: Any) -> Iterator[None]:
        """Wait for a place on the device, and leave its memory to others."""
        with semaphore or contextlib.nullcontext():
            self.check()
            try:
                yield
            finally:
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    def descend(self, adam: Adam, rows: Rows, states: Sequence[Any], **options: Any) -> Ends:
        """`adam.run` in a place for it."""
        with self.place(self.heavy):
            return adam.run(rows, states, **options)

    def rate(self, way: str, m: int) -> float:
        """The step size that was chosen; 0.05 where none was."""
        chosen = self.known.get("tune", {}).get("chosen", {})
        return float(chosen.get(f"{way} {'all' if m == ALL else '2k'}", 0.05))

    def check(self) -> None:
        """Is there time left?"""
        if time.time() > self.deadline:
            raise OutOfTimeError


DIRECT, RIDE = "Adam direct", "Adam surfing"
RESTARTED = "Adam direct, restarted"
WAYS = (DIRECT, RIDE, RESTARTED, *LM)
"""In the order of the tables."""


def tune(model: Model, room: Room) -> Iterator[Record]:
    """Step sizes, on all pixels and on 2k measurements, for direct Adam and for surfing."""
    plan, counts = room.plan, (ALL, 2 * model.k)
    operators = model.operators(counts, seed=plan.seed)
    z, x = model.truths(plan.tuning, seed=plan.seed + 1)
    cells = [(which, rate) for which in range(len(counts)) for rate in plan.rates]
    parts = [adam_rows(Setting(model, z, x, operators, which, plan.seed + 1), rate, 1)
             for which, rate in cells]  # fmt: skip
    rows = Rows.join(parts)
    cap = min(plan.until.cap, plan.tuning_cap)
    adam = room.adam(model, operators, until=Until(cap=cap, every=plan.until.every,
                                                   patience=plan.until.patience))  # fmt: skip
    grid: dict[str, Any] = {}
    chosen: dict[str, float] = {}
    for way, states in ((DIRECT, Weights.of(model.trajectory)[-1:]),
                        (RIDE, Weights.of(model.trajectory))):  # fmt: skip
        ends = room.descend(adam, rows, states, stage_steps=plan.stage_steps)
        for which, count in enumerate(counts):
            merits = {}
            for number, (at, rate) in enumerate(cells):
                if at == which:
                    part = ends.take(slice(number * plan.tuning, (number + 1) * plan.tuning))
                    error = (part.z - z).norm(dim=1)
                    merits[rate] = (int((error < 0.01).sum()), -float(part.cost.mean()))
            name = f"{way} {'all' if count == ALL else '2k'}"
            chosen[name] = max(merits, key=lambda rate: merits[rate])
            grid[name] = {str(r): {"found": f, "cost": round(-c)} for r, (f, c) in merits.items()}
    yield {"chosen": chosen, "grid": grid, "targets": plan.tuning, "cap": cap}


def _adam(
    model: Model, room: Room, settings: Sequence[Setting], restarts: int = 1
) -> Iterator[Record]:
    """Adam, direct and surfing, on all settings side by side."""
    adam = room.adam(model, settings[0].operators)
    states = Weights.of(model.trajectory)
    for way, path, starts in ((RIDE, states, 1), (DIRECT, states[-1:], restarts)):
        rates = [room.rate(way, setting.m) for setting in settings]
        parts = [adam_rows(s, rate, starts) for s, rate in zip(settings, rates, strict=True)]
        rows = Rows.join(parts)
        ends = room.descend(adam, rows, path, stage_steps=room.plan.stage_steps)
        for setting, rate, part in zip(settings, rates, _cut(ends, parts), strict=True):
            yield told_ends(way, setting, part, starts, rate=rate)


def _cut(ends: Ends, parts: Sequence[Rows]) -> Iterator[Ends]:
    low = 0
    for part in parts:
        yield ends.take(slice(low, low + len(part)))
        low += len(part)


def _lm(room: Room, settings: Sequence[Setting], starts: Mapping[str, int]) -> Iterator[Record]:
    """Ways of the package; one that fails is told and harms no other."""
    ways = [name for name in starts if room.plan.ways is None or name in room.plan.ways]
    for setting in settings:
        for name in ways:
            number = starts[name]
            try:
                with room.place(room.light):
                    record = told_solution(name, setting, LM[name](setting, number), number)
            except OutOfTimeError:
                raise
            except Exception as error:
                failed = f"{type(error).__name__}: {error}"
                record = {"method": name, "m": setting.m, "failed": failed}
            yield record


def _settings(model: Model, counts: Sequence[int], targets: int, seed: int) -> list[Setting]:
    operators = model.operators(tuple(counts), seed=seed)
    z, x = model.truths(targets, seed=seed)
    return [Setting(model, z, x, operators, which, seed) for which in range(len(counts))]


def _whole(model: Model, room: Room) -> list[Setting]:
    """Table 1: all pixels."""
    return _settings(model, [ALL], room.plan.table, room.plan.seed)


def table1(model: Model, room: Room) -> Iterator[Record]:
    """All pixels, Adam: a ride, and restarts of the direct descent."""
    return _adam(model, room, _whole(model, room), room.plan.restarts[0])


def table1_lm(model: Model, room: Room) -> Iterator[Record]:
    """All pixels, the package's ways, those first that the table is about."""
    starts = {"LM surfing, 10 stages": 1, "recover": 1, "LM direct": room.plan.lm_restarts[0],
              "LM surfing, late annealed": 1, "LM prior annealed, no path": 1,
              "Broyden surfing, every network": 1, "LM surfing, every network": 1,
              "LM surfing, 10 stages, again until solved": 1,
              "LM direct, again until solved": 1}  # fmt: skip
    return _lm(room, _whole(model, room), starts)


def _scarce(model: Model, room: Room) -> list[Setting]:
    """2k and 4k measurements."""
    return _settings(model, [2 * model.k, 4 * model.k], room.plan.few, room.plan.seed)


def few(model: Model, room: Room) -> Iterator[Record]:
    """2k and 4k measurements, Adam: a ride, and restarts of the direct descent."""
    return _adam(model, room, _scarce(model, room), room.plan.restarts[1])


def few_lm(model: Model, room: Room) -> Iterator[Record]:
    """2k and 4k measurements, the package's ways: success against cost."""
    many = room.plan.lm_restarts[1]
    starts = {"recover": 1, "LM surfing, late annealed": 1, "LM surfing, 10 stages": 1,
              "LM prior annealed, no path": many, "LM direct": many,
              "Broyden surfing, every network": 1, "LM surfing, every network": 1,
              "LM surfing, 10 stages, again until solved": 1,
              "LM direct, again until solved": 1}  # fmt: skip
    return _lm(room, _scarce(model, room), starts)


def restarts(model: Model, room: Room) -> Iterator[Record]:
    """Direct Adam as often as the ride's cost pays for, at two step sizes.

    That of single starts first; then that with the most promise for restarts, where it is another.
    """
    few = min(room.plan.few, room.plan.restarted)
    whole = _settings(model, [ALL], room.plan.restarted, room.plan.seed)
    scarce = _settings(model, [2 * model.k, 4 * model.k], few, room.plan.seed)
    tuned = room.known["tune"]
    for which in range(2):
        for setting in (*whole, *scarce):
            if room.plan.restarted_from is not None and setting.m not in room.plan.restarted_from:
                continue
            sizes = for_restarts(tuned, "all" if setting.m == ALL else "2k")
            if which < len(sizes):
                rate, number = sizes[which]
                rows = adam_rows(setting, rate, number)
                adam = room.adam(model, setting.operators)
                ends = room.descend(adam, rows, Weights.of(model.trajectory)[-1:])
                yield told_ends(RESTARTED, setting, ends, number, rate=rate)


def for_restarts(tuned: Record, where: str) -> list[tuple[float, int]]:
    """Step sizes of direct Adam for the ride's cost, and how often each is started.

    First that which chose itself for single starts; then that with the most promise. R starts of
    which each finds a share p find at most 1 - (1 - p)^R: the step size where that is highest,
    from the counts that chose the step sizes of single starts; where several are, that with the
    most starts. An eighth more of them, since the costs are those of few targets, and two at least.
    """
    grid = tuned["grid"]
    cost = grid[f"{RIDE} {where}"][str(tuned["chosen"][f"{RIDE} {where}"])]["cost"]
    alone = grid[f"{DIRECT} {where}"]
    number = {rate: cost / part["cost"] for rate, part in alone.items()}

    def promise(rate: str) -> tuple[float, float]:
        share, starts = alone[rate]["found"] / tuned["targets"], number[rate]
        found = starts * share if starts < 1 else 1 - (1 - share) ** starts
        return float(found), starts

    single = str(tuned["chosen"][f"{DIRECT} {where}"])
    sizes = dict.fromkeys([single, max(alone, key=promise)])
    return [(float(rate), max(2, math.ceil(1.125 * number[rate]))) for rate in sizes]


def _points(model: Model, room: Room) -> list[Setting]:
    return _settings(model, room.plan.measurements, room.plan.points, room.plan.seed)


def fig3(model: Model, room: Room) -> Iterator[Record]:
    """Success against the number of measurements, Adam."""
    return _adam(model, room, _points(model, room))


def fig3_lm(model: Model, room: Room) -> Iterator[Record]:
    """Success against the number of measurements, the package's ways."""
    names = ("recover", "LM direct", "LM surfing, 10 stages, again until solved",
             "Broyden surfing, every network")  # fmt: skip
    return _lm(room, _points(model, room), dict.fromkeys(names, 1))


def _held_out(model: Model, room: Room) -> list[Setting]:
    """Images that no network saw."""
    plan = room.plan
    recipe = model.trajectory.metadata["recipe"]
    images = load_images(recipe["data"], image_size=recipe["image_size"],
                         root=room.data_root, train=False)  # fmt: skip
    x = (images[: plan.images].float() / 255).flatten(1).to(model.device)
    operators = model.operators(plan.image_measurements, seed=plan.seed)
    return [Setting(model, None, x, operators, which, plan.seed)
            for which in range(len(plan.image_measurements))]  # fmt: skip


def fig4(model: Model, room: Room) -> Iterator[Record]:
    """Held-out images, Adam: how near the reconstruction comes, by pixel."""
    return _adam(model, room, _held_out(model, room))


def fig4_lm(model: Model, room: Room) -> Iterator[Record]:
    """Held-out images, the package's ways."""
    names = ("recover", "LM direct", "LM surfing, 10 stages")
    return _lm(room, _held_out(model, room), dict.fromkeys(names, 1))


def age(model: Model, room: Room) -> Iterator[Record]:
    """Success against the length of the training: trajectories cut short, m = 2k."""
    plan, every = room.plan, len(model.trajectory) - 1
    whole = model.trajectory.steps[-1]
    wanted = sorted({s for s in (1000, 2000, 4000, 8000, 12000) if s < whole} | {whole})
    for last in wanted:
        place = next(i for i, s in enumerate(model.trajectory.steps) if s >= last)
        cut = Model.of(model.name, model.trajectory[: min(place, every) + 1])
        settings = _settings(cut, [2 * cut.k], plan.few, plan.seed)
        for record in _adam(cut, room, settings, 3):
            yield record | {"training": cut.trajectory.steps[-1]}
        names = ("LM direct", "LM surfing, 10 stages", "LM surfing, late annealed")
        for record in _lm(room, settings, dict.fromkeys(names, 1)):
            yield record | {"training": cut.trajectory.steps[-1]}


def paths(model: Model, room: Room) -> Iterator[Record]:
    """Adam's ride on paths that are changed, taken away or replaced; m = 2k."""
    plan = room.plan
    settings = _settings(model, [2 * model.k], plan.few, plan.seed)
    states = Weights.of(model.trajectory)
    rate, last = room.rate(RIDE, 2 * model.k), len(states) - 1
    shuffled = list(range(last))
    random.Random(0).shuffle(shuffled)
    orders: dict[str, list[int]] = {
        "every network, in order": list(range(last + 1)),
        "the same, reversed": [*range(last - 1, -1, -1), last],
        "the same, shuffled": [*shuffled, last],
        "the last network as often": [last] * (last + 1),
        "from a quarter on": list(range(last // 4, last + 1)),
        "from a half on": list(range(last // 2, last + 1)),
        "from three quarters on": list(range(3 * last // 4, last + 1)),
        **{f"every {n}th network": sorted({*range(last, -1, -n)}) for n in (2, 5, 10, 20, 50)},
    }
    adam = room.adam(model, settings[0].operators)
    for name, order in orders.items():
        ends = room.descend(adam, adam_rows(settings[0], rate, 1), states.at(order),
                        stage_steps=plan.stage_steps)  # fmt: skip
        yield told_ends(RIDE, settings[0], ends, rate=rate, variant=name, networks=len(order))
    first, final = states[0], states[-1]
    line = Weights(lambda i: _between(first, final, i / last), range(last + 1))
    ends = room.descend(adam, adam_rows(settings[0], rate, 1), line, stage_steps=plan.stage_steps)
    yield told_ends(RIDE, settings[0], ends, rate=rate, networks=len(line),
                    variant="straight line from random weights")  # fmt: skip


def _between(
    first: Mapping[str, torch.Tensor], last: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    return {
        name: value.lerp(last[name], share) if value.is_floating_point() else value
        for name, value in first.items()
    }


def sheet(model: Model, room: Room) -> Iterator[Record]:
    """Samples of the last network, and how far they are from held-out images."""
    from surfing.zoo.quality import frechet_distance

    recipe = model.trajectory.metadata["recipe"]
    z = model.latent.sample([1_000_000], 2000, seed=100)[0].to(model.device)
    with torch.no_grad():
        x = model.network()(z).cpu()
    side = math.isqrt(x.shape[1])
    bytes_ = (x[:64].view(-1, side, side) * 255).round().clamp(0, 255).int()
    held_out = load_images(recipe["data"], image_size=recipe["image_size"],
                           root=room.data_root, train=False)  # fmt: skip
    distance = frechet_distance(x.view(-1, 1, side, side), held_out.float() / 255)
    yield {"frechet": round(distance, 3), "networks": len(model.trajectory),
           "last_step": model.trajectory.steps[-1], "samples": bytes_.tolist()}  # fmt: skip


Task = Callable[[Model, Room], Iterator[Record]]
TASKS: dict[str, Task] = {
    "sheet": sheet,
    "tune": tune,
    "table1": table1,
    "few": few,
    "restarts": restarts,
    "fig3": fig3,
    "fig4": fig4,
    f"table1{LATER}": table1_lm,
    f"few{LATER}": few_lm,
    f"fig3{LATER}": fig3_lm,
    f"fig4{LATER}": fig4_lm,
    "paths": paths,
    "age": age,
}


def tasks_of(name: str) -> list[str]:
    """Of a model, the most wanted first; Adam, which shares a device well, before the package."""
    _, k, width, times = parts_of(name)
    if width or times > 1:
        return ["sheet", "tune", "age"]
    wanted = ["sheet", "tune", "table1", *([] if k == 2 else ["few", "restarts"])]
    if k == 20:
        wanted += ["fig3", "fig4"]
    wanted += [f"table1{LATER}", "surface"] if k == 2 else [f"table1{LATER}", f"few{LATER}"]
    if name in ("dcgan-k10", "wgan-gp-k10", "dcgan-k20"):
        wanted += ["why"]
    if name in ("dcgan-k10", "wgan-k20"):
        wanted += ["paths", "variants"]
    return wanted

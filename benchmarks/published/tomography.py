"""Crosshole radar tomography in the latents of a spatial GAN: who reaches the noise level.

``python -m benchmarks.published.tomography RUN --out docs/records/tomography.json``

RUN is what ``train_channels`` left. Truths are made by the last network from latents of their own
law; travel times get noise of 1 ns. One start each. Both kinds of published truth: the generator's
values as they are, and cut at one half, where ours descend on a sigmoid that is made steeper.

Success: the misfit is at the noise level, rms <= 1.085 ns: noise alone is below in 998 of 1000
draws (m + 3 sqrt(2 m) for the sum of squares, m = 576). Beside it the share of wrong cells.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import surfing
from benchmarks.measure import environment, wilson, write_record
from benchmarks.published.laloy import FiniteDifferences, StochasticAdam
from benchmarks.published.rays import CHANNEL, MATRIX, Rays
from benchmarks.published.spatial_gan import SpatialGenerator

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["LADDER", "METHODS", "Answer", "Survey576", "main", "outcome"]

NOISE = 1.0
"""Standard deviation of a travel time, in ns."""

LADDER = (8.0, 16.0, 32.0, 64.0)
"""Steepness of the sigmoid, step by step, where the truth is binary."""


@dataclass(frozen=True)
class Answer:
    """What a method found and spent; cost in forward-equivalents of one target."""

    z: Float[Tensor, "targets k"]
    cost: Float[Tensor, " targets"]
    cost_once: float = 0.0


@dataclass(frozen=True)
class Survey576:
    """One set of targets and all that a method may know of it.

    Args:
        trajectory: checkpoints of the spatial GAN.
        generator: its last network.
        y: travel times with noise.
        binary: the values are cut at one half.
        as_published: cells in the published order.
        seed: of the starts.
    """

    trajectory: surfing.Trajectory
    generator: SpatialGenerator
    y: Float[Tensor, "targets 576"]
    binary: bool
    as_published: bool = True
    seed: int = 1

    @property
    def floor(self) -> float:
        """The sum of squares at which every method stops."""
        return self.y.shape[1] * NOISE**2

    @property
    def starts(self) -> Float[Tensor, "targets k"]:
        """One for each target, from the law; the same for all methods."""
        law = self.trajectory.latent
        return law.sample(range(len(self.y)), 1, seed=self.seed)[:, 0].to(self.y)

    def rays(self, steepness: float | None = None) -> Rays:
        """The operator."""
        return Rays(steepness=steepness, as_published=self.as_published)

    def measure(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows 576"]:
        """Travel times as the published search sees them: cut, the cut ignored by derivatives."""
        x, rays = self.generator(z), self.rays_once
        if not self.binary:
            return rays(x)
        cut = torch.where(x >= 0.5, 1 / CHANNEL, 1 / MATRIX).to(x)
        slowness = x + (cut - x).detach()
        return slowness.flatten(1) @ rays._lengths(x)

    @property
    def rays_once(self) -> Rays:
        """The operator, made once."""
        kept: Rays | None = self.__dict__.get("_rays")
        if kept is None:
            kept = self.rays()
            object.__setattr__(self, "_rays", kept)
        return kept


Entry = Callable[..., surfing.Solution]


def published(search: Any, survey: Survey576) -> Answer:
    """A search of the paper's own."""
    if isinstance(search, FiniteDifferences):
        with torch.no_grad():
            found = search(survey.measure, survey.y, survey.starts, survey.floor)
    else:
        found = search(survey.measure, survey.y, survey.starts, survey.floor)
    return Answer(found.z, found.cost)


def ours(entry: Entry, survey: Survey576, *, ladder: Sequence[float] = LADDER) -> Answer:
    """One of this library's; where the truth is binary, then LM as the sigmoid grows steep."""
    call = partial(entry, survey.trajectory, survey.y, generator=survey.generator)
    if not survey.binary:
        return _answer(call(operator=survey.rays()))
    first, *rest = ladder
    return _sharpened(survey, _answer(call(operator=survey.rays(first))), rest)


def _sharpened(survey: Survey576, answer: Answer, ladder: Sequence[float]) -> Answer:
    """LM from what was found, with sigmoids that come nearer and nearer to the cut."""
    z, cost = answer.z, answer.cost
    for steepness in ladder:
        solution = surfing.direct(
            survey.trajectory,
            survey.y,
            generator=survey.generator,
            operator=survey.rays(steepness),
            z0=z[:, None],
            max_steps=10,
            stopping=surfing.Stopping(noise=NOISE),
        )
        z, cost = solution.z, cost + solution.cost.cpu().double()
    return Answer(z, cost, answer.cost_once)


def _answer(solution: surfing.Solution) -> Answer:
    once = getattr(solution, "cost_once", None)
    if once is None:
        once = solution.cost_once
    return Answer(solution.z, solution.cost.cpu().double(), float(once))


def _start(survey: Survey576) -> dict[str, Any]:
    return {"z0": survey.starts[:, None], "stopping": surfing.Stopping(noise=NOISE)}


def _direct(descent: Any, max_steps: int, survey: Survey576) -> Answer:
    entry = partial(surfing.direct, descent=descent, max_steps=max_steps, **_start(survey))
    return ours(entry, survey)


def _surf(settings: dict[str, Any], survey: Survey576) -> Answer:
    return ours(partial(surfing.surf, **settings, **_start(survey)), survey)


def _recover(settings: dict[str, Any], survey: Survey576) -> Answer:
    return ours(partial(surfing.recover, noise=NOISE, seed=survey.seed, **settings), survey)


@dataclass(frozen=True)
class Scouted:
    """Draws measured once for all targets; LM from each target's nearest, one after another.

    Args:
        draws: measured once.
        starts: tried at most.
        max_steps: of LM, from each.
    """

    draws: int = 10_000
    starts: int = 12
    max_steps: int = 40

    def __call__(self, survey: Survey576, operator: Rays) -> Answer:
        """Recover every target with this operator."""
        law, y = survey.trajectory.latent, survey.y
        bank = law.sample([0], self.draws, seed=survey.seed + 1)[0].to(y)
        with torch.no_grad():
            seen = torch.cat([operator(survey.generator(part)) for part in bank.split(100)])
        nearest = torch.cdist(y, seen).topk(self.starts, largest=False).indices
        z, cost = bank[nearest[:, 0]].clone(), torch.zeros(len(y), dtype=torch.float64)
        risk, left = torch.full((len(y),), math.inf, dtype=torch.float64), torch.arange(len(y))
        for rank in range(self.starts):
            solution = surfing.direct(
                survey.trajectory,
                y[left],
                generator=survey.generator,
                operator=operator,
                z0=bank[nearest[left, rank]][:, None],
                max_steps=self.max_steps,
                stopping=surfing.Stopping(noise=NOISE),
            )
            cost[left] += solution.cost.cpu().double()
            found = solution.risk.cpu().double()
            better = found < risk[left]
            risk[left[better]], z[left[better]] = found[better], solution.z[better]
            left = left[risk[left] > self._accepted(y) / 2]
            if len(left) == 0:
                break
        return Answer(z, cost, float(self.draws))

    @staticmethod
    def _accepted(y: Tensor) -> float:
        m = y.shape[1]
        return (m + 3 * math.sqrt(2 * m)) * NOISE**2


def _scouted(survey: Survey576, ladder: Sequence[float] = LADDER) -> Answer:
    if not survey.binary:
        return Scouted()(survey, survey.rays())
    answer = Scouted()(survey, survey.rays(ladder[0]))
    return _sharpened(survey, answer, ladder[1:])


def _adam(rate: float) -> surfing.TorchOptim:
    return surfing.TorchOptim(partial(torch.optim.Adam, lr=rate))


METHODS: dict[str, tuple[str, Callable[[Survey576], Answer]]] = {
    "adam": (
        "Adam as published: step .01, up to 10,000 iterations, stochastic clipping",
        partial(published, StochasticAdam()),
    ),
    "gauss-newton": (
        "Gauss-Newton as published, finite differences, up to 30 iterations",
        partial(published, FiniteDifferences(iterations=30)),
    ),
    "lbfgs": ("direct L-BFGS, up to 150 steps", partial(_direct, surfing.LBFGS(), 150)),
    "lm": ("direct LM, up to 60 steps", partial(_direct, surfing.LevenbergMarquardt(), 60)),
    "surf-adam": (
        "surf with Adam",
        partial(
            _surf,
            {
                "descent": _adam(0.02),
                "schedule": surfing.EqualDrift(8, start=0.5),
                "stage_steps": 50,
                "max_steps": 1000,
            },
        ),
    ),
    "surf-lm": (
        "surf with LM",
        partial(_surf, {"schedule": surfing.EqualDrift(5, start=0.5), "max_steps": 60}),
    ),
    "scouted": (
        "10,000 draws measured once, LM from the nearest, up to 12 in turn",
        _scouted,
    ),
    "recover": ("recover, budget 2000", partial(_recover, {"budget": 2000})),
}


def survey_of(
    run: str | Path, targets: int, *, binary: bool, seed: int, as_published: bool, device: str
) -> tuple[Survey576, Float[Tensor, "targets 1 125 60"]]:
    """Targets that the last network makes, and their true fields."""
    trajectory = surfing.Trajectory.open(run, average=has_average(run))
    generator = SpatialGenerator(trajectory.metadata["width"])
    generator.load_state_dict(trajectory.state(-1))
    generator = generator.to(memory_format=torch.channels_last)
    z = trajectory.latent.sample(range(targets), 1, seed=seed)[:, 0]
    with torch.no_grad():
        x = generator(z)
    y = Rays(as_published=as_published)
    clean = y.of_binary(x) if binary else y(x)
    draw = np.random.default_rng(seed).standard_normal(clean.shape)
    noisy = clean + NOISE * torch.from_numpy(draw).to(clean)
    place = torch.device(device)
    if place.type != "cpu":
        states = [(c.step, {k: v.to(place) for k, v in c.state.items()}) for c in trajectory]
        trajectory = surfing.Trajectory.from_state_dicts(
            states, latent=trajectory.latent, metadata=trajectory.metadata
        )
    survey = Survey576(
        trajectory, generator.to(place), noisy.to(place), binary, as_published, seed + 1
    )
    return survey, x.to(place)


def has_average(run: str | Path) -> bool:
    """Whether averages of the weights were recorded."""
    try:
        surfing.Trajectory.open(run, average=True)
    except surfing.InputError:
        return False
    return True


@torch.no_grad()
def outcome(survey: Survey576, answer: Answer, truth: Tensor) -> dict[str, Any]:
    """Success, misfit and wrong cells of an answer."""
    x = survey.generator(answer.z.to(survey.y))
    rays = survey.rays_once
    made = rays.of_binary(x) if survey.binary else rays(x)
    misfit = (made - survey.y).square().mean(-1).sqrt().cpu()
    m = survey.y.shape[1]
    solved = misfit <= NOISE * math.sqrt(1 + 3 * math.sqrt(2 / m))
    wrong = ((x >= 0.5) != (truth >= 0.5)).float().mean((1, 2, 3)).cpu()
    count, cost = int(solved.sum()), float(answer.cost.mean())
    total = cost + answer.cost_once / len(solved)
    return {
        "targets": len(solved),
        "solved": count,
        "interval": wilson(count, len(solved)),
        "misfit_ns": _spread(misfit),
        "wrong_cells": _spread(wrong),
        "wrong_cells_of_solved": _spread(wrong[solved]) if count else None,
        "outside_law": int((answer.z.abs().amax(1) > 1 + 1e-5).sum()),
        "cost": total,
        "cost_once": answer.cost_once,
        "cost_a_recovered": total * len(solved) / count if count else None,
    }


def _spread(values: Tensor) -> dict[str, float]:
    return {"mean": float(values.mean()), "median": float(values.median()),
            "max": float(values.max())}  # fmt: skip


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", help="directory of the trajectory")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--kinds", nargs="+", default=["continuous", "binary"])
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2019, help="of the reported targets")
    parser.add_argument("--section", action="store_true", help="cells where they lie")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="tomography.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says; each line goes into the record as it is done."""
    options = _options(arguments)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    lines: list[dict[str, Any]] = []
    before = environment()
    for kind in options.kinds:
        survey, truth = survey_of(
            options.run,
            options.targets,
            binary=kind == "binary",
            seed=options.seed,
            as_published=not options.section,
            device=options.device,
        )
        for name in options.methods:
            began = time.perf_counter()
            answer = METHODS[name][1](survey)
            seconds = time.perf_counter() - began
            line = {"kind": kind, "method": name, "label": METHODS[name][0]}
            line |= outcome(survey, answer, truth) | {"seconds": seconds}
            lines.append(line)
            print(f"{kind} {name}: {line['solved']} of {line['targets']}, cost {line['cost']:.0f}, "
                  f"wrong cells {line['wrong_cells']['median']:.4f}, {seconds:.0f} s",
                  flush=True)  # fmt: skip
            settings = {"targets": options.targets, "seed": options.seed,
                        "as_published": not options.section, "device": options.device,
                        "trajectory": survey.trajectory.metadata,
                        "steps": survey.trajectory.steps}  # fmt: skip
            write_record(options.out, {"settings": settings, "environment": before, "lines": lines})


if __name__ == "__main__":
    main()

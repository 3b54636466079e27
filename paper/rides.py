"""One run from one start for every target, by each way down: what the paper's tables count."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from surfing.continuation import direct, surf
from surfing.continuation.schedule import EveryCheckpoint
from surfing.evaluation.selftest import FOUND
from surfing.portfolio import recover
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    from torch import Tensor

    from paper.cells import Bed
    from surfing.problem.operators import Operator
    from surfing.solution import Solution

__all__ = ["RECOVER_BUDGET", "RIDES", "Ride", "histogram", "judge", "still"]

BINS = (-8, 2, 41)
"""log10 ||z - z*||: from, to, edges."""
RECOVER_BUDGET = 2000

Ride = Callable[["Bed", "Tensor", "Operator | None", int], "Solution"]
"""(bed, y, operator, seed) -> solution."""


def still(trajectory: Trajectory, stages: int) -> Trajectory:
    """The last network again and again: a path that does not move, to anneal a prior on."""
    last = dict(trajectory[-1].state)
    return Trajectory.from_state_dicts(
        [(step, last) for step in range(stages)],
        latent=trajectory.latent,
        architecture=trajectory.architecture,
    )


def _direct_lm(bed: Bed, y: Tensor, operator: Operator | None, seed: int) -> Solution:
    return direct(bed.trajectory, y, generator=bed.generator, operator=operator, seed=seed)


def _annealed_lm(bed: Bed, y: Tensor, operator: Operator | None, seed: int) -> Solution:
    return surf(
        still(bed.trajectory, 5),
        y,
        generator=bed.generator,
        operator=operator,
        schedule=EveryCheckpoint(),
        anneal=4.0,
        seed=seed,
    )


def _surf_lm(bed: Bed, y: Tensor, operator: Operator | None, seed: int) -> Solution:
    return surf(bed.trajectory, y, generator=bed.generator, operator=operator, seed=seed)


def _recover(bed: Bed, y: Tensor, operator: Operator | None, seed: int) -> Solution:
    return recover(
        bed.trajectory,
        y,
        generator=bed.generator,
        operator=operator,
        budget=RECOVER_BUDGET,
        seed=seed,
    )


RIDES: Mapping[str, Ride] = {
    "direct LM": _direct_lm,
    "annealed LM": _annealed_lm,
    "LM surfing": _surf_lm,
    "recover": _recover,
}
"""LM, Levenberg-Marquardt: 40 steps; four stages of 2 steps under a MAP penalty that falls, and 40
without; 10 stages of 2 steps and 40 at the last. recover: until met, within its budget."""


def judge(ride: Ride, bed: Bed, y: Tensor, truth: Tensor, **about: Any) -> dict[str, Any]:
    """Make one run and say how it went, JSON values.

    Args:
        ride: what to run.
        bed: the model.
        y: measurements.
        truth: the latents that they came from.
        **about: `operator` and `seed`.
    """
    began = time.perf_counter()
    solution = ride(bed, y, about.get("operator"), about["seed"])
    error = (solution.z - truth).norm(dim=1)
    steps = torch.stack([stage.steps for stage in solution.stages]).sum(0)
    single = solution.method != "recover"  # of recover only the last attempt's steps are known
    return {
        "found": [int((error < FOUND).sum()), len(error)],
        "met": [int(solution.success.sum()), len(error)],
        "steps_75": float(steps.double().quantile(0.75)) if single else None,
        "cost": round(float(solution.cost.mean()), 1),
        "cost_once": round(solution.cost_once, 1),
        "errors": histogram(error),
        "seconds": round(time.perf_counter() - began, 2),
    }


def histogram(error: Tensor) -> list[int]:
    """Counts of log10 ||z - z*|| in :data:`BINS`; what lies beyond an end counts at that end."""
    low, high, edges = BINS
    exponents = error.double().nan_to_num(nan=torch.inf).clamp(10**low, 10**high * 0.999).log10()
    return [int(n) for n in torch.histc(exponents, edges - 1, low, high)]

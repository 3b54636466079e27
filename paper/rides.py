"""One run from one start for every target: what the paper's tables count."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from surfing.evaluation.samples import FOUND

if TYPE_CHECKING:
    from torch import Tensor

    from surfing.evaluation.solvers import Solver, Task

__all__ = ["BINS", "LM_RUNS", "RECOVER_BUDGET", "histogram", "judge"]

BINS = (-8, 2, 41)
"""log10 ||z - z*||: from, to, edges."""
RECOVER_BUDGET = 2000
LM_RUNS = ("direct-lm", "direct-lm-annealed", "lm-surfing", "recover")
"""Names of methods: 40 steps of Levenberg-Marquardt; four stages of 2 steps under a MAP penalty
that falls, and 40 without; 10 stages of 2 steps and 40 at the last. recover: until met, within its
budget."""


def judge(solver: Solver, task: Task, truth: Tensor) -> dict[str, Any]:
    """Make one run and say how it went, JSON values.

    Args:
        solver: the method.
        task: the measurements, and what measured.
        truth: the latents that they came from.
    """
    began = time.perf_counter()
    solution = solver.solve(task)
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

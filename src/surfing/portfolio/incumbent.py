"""The best that each target has seen over all attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.portfolio.attempt import Found
    from surfing.problem.problem import Problem

__all__ = ["Incumbent"]

_SAME = 0.01


@dataclass(frozen=True)
class Incumbent:
    """The best row that each target has seen. Changed in place."""

    z: Float[Tensor, "targets k"]
    misfit: Float[Tensor, " targets"]
    objective: Float[Tensor, " targets"]
    status: Int[Tensor, " targets"]
    steps: Int[Tensor, " targets"]
    curvature: Float[Tensor, "targets k k"] | None
    """None where the descent knows none: it would be most of the memory."""
    hits: Int[Tensor, " targets"]
    """How many attempts ended at the best objective, within a hundredth."""
    tries: Int[Tensor, " targets"]
    made_by: list[str]
    """Name of the attempt; empty before the first."""

    @classmethod
    def none(cls, problem: Problem, *, curvature: bool = True) -> Self:
        """Nothing yet.

        Args:
            problem: whose targets.
            curvature: whether to keep J'J.
        """
        targets, k, device = len(problem), problem.latent.dim, problem.device
        infinite = torch.full((targets,), torch.inf, dtype=torch.float64, device=device)
        nothing = torch.zeros(targets, dtype=torch.int64, device=device)
        return cls(
            z=problem.y.new_full((targets, k), problem.latent.mean),
            misfit=infinite,
            objective=infinite.clone(),
            status=torch.full((targets,), int(Status.BUDGET_SPENT), device=device),
            steps=nothing,
            curvature=torch.full((targets, k, k), torch.nan, dtype=torch.float64, device=device)
            if curvature
            else None,
            hits=nothing.clone(),
            tries=nothing.clone(),
            made_by=[""] * targets,
        )

    def take(self, targets: Int[Tensor, " t"], found: Found, name: str) -> None:
        """Keep what is better than what was there.

        Args:
            targets: which.
            found: one row for each of them.
            name: of the attempt.
        """
        objective, before = found.objective[:, 0], self.objective[targets]
        better = objective < before
        never = torch.isinf(before) & ~better
        self.status[targets[never]] = found.status[never, 0]
        again = (objective <= before * (1 + _SAME)) & torch.isfinite(objective)
        lower = objective < before * (1 - _SAME)
        self.hits[targets] = torch.where(lower, 1, self.hits[targets] + again)
        self.tries[targets] += 1
        index = targets[better]
        self.z[index], self.misfit[index] = found.z[better, 0], found.misfit[better, 0]
        self.objective[index] = objective[better]
        self.status[index] = found.status[better, 0]
        self.steps[index] = found.steps[better, 0]
        if self.curvature is None:
            pass
        elif found.curvature is not None:
            self.curvature[index] = found.curvature[better, 0]
        else:
            self.curvature[index] = torch.nan
        for target in index.tolist():
            self.made_by[target] = name

    def settled(self, hits: int) -> Tensor:
        """Targets whose best minimum was found so often that a better one is not to be expected."""
        return self.hits >= hits

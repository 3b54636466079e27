"""The best that each target has seen over all attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.continuation.ride import singular_values
from surfing.problem.matrices import pseudo_inverse
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.continuation.attempt import Found
    from surfing.problem.problem import Problem

__all__ = ["Best", "laplace"]


@dataclass(frozen=True)
class Best:
    """The best row that each target has seen. Changed in place."""

    z: Float[Tensor, "targets k"]
    misfit: Float[Tensor, " targets"]
    status: Int[Tensor, " targets"]
    steps: Int[Tensor, " targets"]
    singular_values: Float[Tensor, "targets k"]
    covariance: Float[Tensor, "targets k k"] | None
    made_by: list[str]
    """Name of the attempt; empty before the first."""

    @classmethod
    def none(cls, problem: Problem, *, covariance: bool) -> Best:
        """Nothing yet."""
        targets, k, device = len(problem), problem.latent.dim, problem.device
        return cls(
            z=problem.y.new_full((targets, k), problem.latent.mean),
            misfit=torch.full((targets,), torch.inf, dtype=torch.float64, device=device),
            status=torch.full((targets,), int(Status.BUDGET_SPENT), device=device),
            steps=torch.zeros(targets, dtype=torch.int64, device=device),
            singular_values=torch.full((targets, k), torch.nan, device=device),
            covariance=torch.full((targets, k, k), torch.nan, device=device)
            if covariance
            else None,
            made_by=[""] * targets,
        )

    def take(self, targets: Int[Tensor, " t"], found: Found, name: str, noise: float) -> None:
        """Keep what is better than what was there."""
        better = found.misfit < self.misfit[targets]
        never = torch.isinf(self.misfit[targets]) & ~better
        self.status[targets[never]] = found.status[never]
        index = targets[better]
        self.z[index], self.misfit[index] = found.z[better], found.misfit[better]
        self.status[index] = found.status[better]
        self.steps[index] = found.steps[better]
        if found.curvature is not None:
            curvature = found.curvature[better]
            self.singular_values[index] = singular_values(curvature).float()
            if self.covariance is not None:
                self.covariance[index] = laplace(curvature, noise).float()
        for target in index.tolist():
            self.made_by[target] = name


def laplace(curvature: Float[Tensor, "t k k"], noise: float) -> Float[Tensor, "t k k"]:
    """Laplace's covariance of z: noise^2 (J'J)^+."""
    finite = torch.isfinite(curvature).all(-1).all(-1)
    safe = torch.where(finite[:, None, None], curvature, 0.0)
    return pseudo_inverse(safe) * noise**2

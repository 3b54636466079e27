"""When a row's descent ends, and what its end is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.problem.matrices import squared_norms
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.descent.base import State

__all__ = ["Stopping"]


@dataclass(frozen=True)
class Stopping:
    """Tolerances, row by row.

    Args:
        rtol: solved where ||A G(z) - y|| <= rtol ||y||: go no further.
        accept: a row that ended otherwise, with ||A G(z) - y|| <= accept ||y||, is called solved
            too; above it a stationary point is called a local minimum.
        xtol: converged where the last step is at most xtol (1 + ||z||).
        ftol: converged where the model predicts a relative decrease below this.
        noise: standard deviation of the noise in each measurement; with it a row ends at the
            discrepancy principle, ||A G(z) - y|| <= sqrt(m) noise, and counts as met a little
            above it (:meth:`met`).
        divergence: diverged where f exceeds this many times its first value.
    """

    rtol: float = 1e-6
    accept: float = 1e-4
    xtol: float = 1e-6
    ftol: float = 1e-6
    noise: float | None = None
    divergence: float = 1e4

    def __post_init__(self) -> None:
        for name in ("rtol", "accept", "xtol", "ftol", "noise"):
            value = getattr(self, name)
            if value is not None:
                check.number(name, value, low=0)
        check.number("divergence", self.divergence, low=1, open_low=True, finite=False)

    def floor(self, y: Float[Tensor, "targets m"]) -> Float[Tensor, " targets"]:
        """The risk at which a target is solved."""
        norm = squared_norms(y)
        if self.noise is None:
            return norm * self.rtol**2 / 2
        return torch.maximum(norm * self.rtol**2, norm * 0 + y.shape[1] * self.noise**2) / 2

    def judge(
        self,
        state: State,
        *,
        first: Float[Tensor, " r"],
        floor: Float[Tensor, " r"] | None,
        ended: Int[Tensor, " r"] | None = None,
    ) -> Int[Tensor, " r"]:
        """The status of each row after a step, `Status.RUNNING` where it goes on.

        Args:
            state: after the step.
            first: f at the start of this descent.
            floor: risk at which a row is solved; None while a penalty is part of f.
            ended: what the descent itself says of each row, from its method of that name.
        """
        status = torch.full_like(state.rows, int(Status.RUNNING))
        near = state.step_norm <= self.xtol * (1 + state.z.norm(dim=-1).double())
        status[near | (state.predicted_decrease <= self.ftol)] = int(Status.CONVERGED)
        status[state.failed] = int(Status.STALLED)
        if ended is not None:  # the descent knows better why no step was found
            status = torch.where(ended == int(Status.RUNNING), status, ended)
        if floor is not None:
            reached = Status.SOLVED if self.noise is None else Status.NOISE_LEVEL
            status[state.value <= floor] = int(reached)
        status[state.value > self.divergence * first] = int(Status.DIVERGED)
        status[~torch.isfinite(state.value)] = int(Status.NONFINITE)
        return status

    def verdict(
        self, status: Int[Tensor, " r"], misfit: Float[Tensor, " r"], y: Float[Tensor, "r m"]
    ) -> Int[Tensor, " r"]:
        """The last word: a row that ended near enough to its measurements is solved."""
        named = Status.SOLVED if self.noise is None else Status.NOISE_LEVEL
        lost = (status == int(Status.NONFINITE)) | (status == int(Status.DIVERGED))
        return torch.where(self.met(misfit, y) & ~lost, int(named), status)

    def met(self, misfit: Float[Tensor, " r"], y: Float[Tensor, "r m"]) -> Bool[Tensor, " r"]:
        """Whether the measurements count as met where a row has ended."""
        return torch.le(2 * misfit, self.tolerated(y))

    def tolerated(self, y: Float[Tensor, "r m"]) -> Float[Tensor, " r"]:
        """||A G(z) - y||^2 up to which the measurements count as met.

        With a noise level: (m + 3 sqrt(2 m)) noise^2, because the squared norm of the noise itself
        scatters by sqrt(2 m) noise^2 about m noise^2.
        """
        norm = squared_norms(y)
        if self.noise is None:
            return self.accept**2 * norm
        m = y.shape[1]
        return torch.full_like(norm, (m + 3 * (2 * m) ** 0.5) * self.noise**2)

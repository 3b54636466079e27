"""When a row's descent ends, and what its end is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surfing import check
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.descent.base import State
    from surfing.problem.measurements import Level

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
        noise: standard deviation of the noise: a number, one for each target, or the shape of y;
            the `noise=` of an entry point has precedence. With it a row ends at the discrepancy
            principle, ||A G(z) - y|| <= sqrt(m) noise, and counts as met a little
            above it (:meth:`met`).
        divergence: diverged where f exceeds this many times its first value.
        polish: go on in float64 from where a run ends, at most 20 steps: the returned z, x and
            risk are in float64 then.
    """

    rtol: float = 1e-6
    accept: float = 1e-4
    xtol: float = 1e-6
    ftol: float = 1e-6
    noise: float | Tensor | np.ndarray | None = None
    divergence: float = 1e4
    polish: bool = False

    def __post_init__(self) -> None:
        for name in ("rtol", "accept", "xtol", "ftol"):
            check.number(name, getattr(self, name), low=0)
        if not isinstance(self.noise, Tensor | np.ndarray | list | tuple | None):
            check.number("noise", self.noise, low=0)
        check.number("divergence", self.divergence, low=1, open_low=True, finite=False)

    def floor(self, level: Level) -> Float[Tensor, " rows"]:
        """The risk at which a row is solved."""
        solved = level.norm2 * self.rtol**2
        if level.variance is None:
            return solved / 2
        return torch.maximum(solved, level.count * level.variance) / 2

    def judge(
        self,
        state: State,
        *,
        first: Float[Tensor, " r"],
        floor: Float[Tensor, " r"] | None,
        noisy: bool = False,
        ended: Int[Tensor, " r"] | None = None,
    ) -> Int[Tensor, " r"]:
        """The status of each row after a step, `Status.RUNNING` where it continues.

        Args:
            state: after the step.
            first: f at the start of this descent.
            floor: risk at which a row is solved; None while a penalty is part of f.
            noisy: whether the floor is that of a noise level.
            ended: what the descent itself says of each row, from its method of that name.
        """
        status = torch.full_like(state.rows, int(Status.RUNNING))
        near = state.step_norm <= self.xtol * (1 + state.z.norm(dim=-1).double())
        status[near | (state.predicted_decrease <= self.ftol)] = int(Status.CONVERGED)
        status[state.failed] = int(Status.STALLED)
        if ended is not None:  # the descent knows better why no step was found
            status = torch.where(ended == int(Status.RUNNING), status, ended)
        if floor is not None:
            reached = Status.NOISE_LEVEL if noisy else Status.SOLVED
            status[state.value <= floor] = int(reached)
        status[state.value > self.divergence * first] = int(Status.DIVERGED)
        status[~torch.isfinite(state.value)] = int(Status.NONFINITE)
        return status

    def verdict(
        self, status: Int[Tensor, " r"], misfit: Float[Tensor, " r"], level: Level
    ) -> Int[Tensor, " r"]:
        """The last word: a row that ended near enough to its measurements is solved."""
        lost = (status == int(Status.NONFINITE)) | (status == int(Status.DIVERGED))
        return torch.where(self.met(misfit, level) & ~lost, int(_reached(level)), status)

    def met(self, misfit: Float[Tensor, " r"], level: Level) -> Bool[Tensor, " r"]:
        """Whether the measurements count as met where a row has ended."""
        return torch.le(2 * misfit, self.tolerated(level))

    def tolerated(self, level: Level) -> Float[Tensor, " r"]:
        """||A G(z) - y||^2, weighted, up to which the measurements count as met.

        With a noise level: (m + 3 sqrt(2 m)) noise^2, because the squared norm of the noise itself
        scatters by sqrt(2 m) noise^2 about m noise^2; m are the measurements that count. A prior
        that is kept has its own share, see :attr:`surfing.problem.Problem.level`.
        """
        if level.variance is None:
            most = self.accept**2 * level.norm2
        else:
            m = level.count
            most = (m + 3 * (2 * m) ** 0.5) * level.variance
            most = torch.maximum(most, self.rtol**2 * level.norm2)  # below it is rounding
        return most if level.slack is None else most + level.slack


def _reached(level: Level) -> Status:
    return Status.SOLVED if level.variance is None else Status.NOISE_LEVEL

"""Where a row enters the next stage: predicted from the stages behind it."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.problem.matrices import positive_solve

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.descent.minimise import Minimum
    from surfing.problem.risk import Risk

__all__ = ["AbstractPredictor", "Constant", "History", "Secant", "Tangent"]


@dataclass(frozen=True)
class History:
    """What a ride leaves behind for its predictor: its last two stages, a line per row."""

    stage: Float[Tensor, " r"]
    z: Float[Tensor, "r k"]
    curvature: Float[Tensor, "r k k"] | None
    previous_stage: Float[Tensor, " r"] | None = None
    previous_z: Float[Tensor, "r k"] | None = None

    @classmethod
    def after(cls, minimum: Minimum, stage: float, history: History | None) -> History:
        """Where all rows have left a stage, `history` being what they had before."""
        return cls(
            torch.full_like(minimum.value, stage),
            minimum.z,
            minimum.curvature,
            previous_stage=None if history is None else history.stage,
            previous_z=None if history is None else history.z,
        )


class AbstractPredictor(abc.ABC):
    """A guess for the next stage; it is used for a row only where it lowers the next risk."""

    @abc.abstractmethod
    def guess(
        self, history: History, stage: float, risk: Risk, rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"] | None:
        """Latents to enter `stage` with, or None for no guess. `risk` is the next stage's."""

    def predict(
        self, history: History, stage: float, risk: Risk, rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"]:
        """The guess where it is better than staying, else the latents as they are."""
        guess = self.guess(history, stage, risk, rows)
        if guess is None:
            return history.z
        better = risk.value(guess, rows) < risk.value(history.z, rows)
        return torch.where(better[:, None], guess, history.z)


@dataclass(frozen=True)
class Constant(AbstractPredictor):
    """Stay: the paper's warm start."""

    def guess(
        self, history: History, stage: float, risk: Risk, rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"] | None:
        """No guess, no cost."""
        return None


@dataclass(frozen=True)
class Secant(AbstractPredictor):
    """Go on along the line through the last two stages. Costs 2 forwards per row."""

    def guess(
        self, history: History, stage: float, risk: Risk, rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"] | None:
        """z + (z - z_before) (s' - s) / (s - s_before)."""
        if history.previous_z is None or history.previous_stage is None:
            return None
        ratio = (stage - history.stage) / (history.stage - history.previous_stage)
        return history.z + (history.z - history.previous_z) * ratio[:, None].to(history.z.dtype)


@dataclass(frozen=True)
class Tangent(AbstractPredictor):
    """One damped Newton step on the next risk with the Jacobian of the stage behind.

    d = -(J_t'J_t + damping max diag I)^-1 grad f_{t+1}(z). At a stationary point of f_t the new
    gradient is the derivative of the gradient along the path, residual term included, so that d is
    the Euler predictor of dz/ds; only the Hessian is Gauss-Newton's. Costs 5 forwards per row where
    a Levenberg-Marquardt step costs k + 2.

    Args:
        damping: relative to the largest diagonal entry of J'J.
    """

    damping: float = 1e-2

    def __post_init__(self) -> None:
        check.number("damping", self.damping, low=0, open_low=True)

    def guess(
        self, history: History, stage: float, risk: Risk, rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"] | None:
        """The Euler step; none where the descent keeps no curvature."""
        if history.curvature is None:
            return None
        _, gradient = risk.gradient(history.z, rows)
        hessian = torch.nan_to_num(history.curvature)
        peak = hessian.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=1e-300)
        eye = torch.eye(hessian.shape[-1], dtype=hessian.dtype, device=hessian.device)
        damped = hessian + (self.damping * peak)[:, None, None] * eye
        d, found = positive_solve(damped, -gradient.double())
        d = torch.where(found[:, None] & torch.isfinite(d), d, 0.0)
        return history.z + d.to(history.z.dtype)

"""Levenberg-Marquardt, every row with its own damping."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from surfing.descent.base import AbstractDescent, State, fresh
from surfing.descent.conjugate_gradients import conjugate_gradients
from surfing.errors import InputError
from surfing.latents import blocked, bounds
from surfing.problem.matrices import positive_solve, product

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.problem.risk import Risk

__all__ = ["LevenbergMarquardt", "cholesky_step"]


@dataclass(frozen=True)
class _State(State):
    gradient: Float[Tensor, "r k"]
    hessian: Float[Tensor, "r k k"] | None
    """None where it is never formed."""
    stale: Bool[Tensor, " r"]
    """z moved since gradient and hessian were taken."""
    damping: Float[Tensor, " r"]
    rejections: Int[Tensor, " r"]
    """In a row; each raises the damping faster than the one before."""


@dataclass(frozen=True)
class LevenbergMarquardt(AbstractDescent[_State]):
    """(J'J + damping I) d = -J'r, with Nielsen's rule for the damping.

    A step tries one d for every row. A row that refuses it keeps its Jacobian and raises its
    damping: the next step costs it one forward. A row that accepts takes a new Jacobian at the
    next step: 1 + k tangents more.

    The damping multiplies the identity in units of the latent's standard deviation: coordinates
    of z share one law, so no other scale is natural.

    Up to `dense_up_to` latents J'J is formed, by k tangents, and solved by Cholesky. Beyond, it
    never is: d comes from conjugate gradients, each step of which costs one tangent and one
    reverse pass whatever k is, and the memory of a row grows with k instead of k^2.

    Args:
        damping: first damping, relative to the largest diagonal entry of J'J; without J'J, to its
            Rayleigh quotient along the gradient.
        shrink: least factor that a successful step multiplies the damping by, in (0, 1).
        max_rejections: rejected steps in a row before a row is called stalled.
        dense_up_to: k beyond which J'J is not formed. On dense networks, runs of at most 40 steps
            took .4 of the time with J'J at k = 64, 1.7 times at 128 and 7 times at 512; as J'J
            tells what is determined, it is kept a little beyond the break-even.
        inner_steps: conjugate gradient steps at most.
        inner_tolerance: their relative residual, in (0, 1).

    Source: Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05; Moré, "The
    Levenberg-Marquardt algorithm" (1978).

    >>> LevenbergMarquardt(damping=1e-2).stage_steps
    2
    """

    damping: float = 1e-2
    shrink: float = 0.1
    max_rejections: int = 10
    dense_up_to: int = 128
    inner_steps: int = 30
    inner_tolerance: float = 0.1

    stage_steps: ClassVar[int] = 2
    final_steps: ClassVar[int] = 40

    def __post_init__(self) -> None:
        if not (
            0 < self.damping < float("inf") and 0 < self.shrink < 1 and self.max_rejections > 0
        ):
            raise InputError(
                "LevenbergMarquardt: expected damping > 0, 0 < shrink < 1 and max_rejections > 0, "
                f"got {self}."
            )
        if not (self.dense_up_to >= 0 and self.inner_steps > 0 and 0 < self.inner_tolerance < 1):
            raise InputError(
                "LevenbergMarquardt: expected dense_up_to >= 0, inner_steps > 0 and "
                f"0 < inner_tolerance < 1, got {self}."
            )

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> _State:
        """The Gauss-Newton model at the start."""
        value, gradient, hessian = self._model(risk, z, rows)
        if hessian is not None:
            peak = hessian.diagonal(dim1=-2, dim2=-1).amax(-1)
        else:
            bend = (gradient * risk.curvature_product(z, rows, gradient)).sum(-1)
            peak = (bend / gradient.square().sum(-1)).nan_to_num(nan=0.0)
        return _State(
            **fresh(rows, z, value),
            gradient=gradient,
            hessian=hessian,
            stale=torch.zeros_like(rows, dtype=torch.bool),
            damping=self.damping * peak.clamp(min=torch.finfo(torch.float64).tiny),
            rejections=torch.zeros_like(rows),
        )

    def step(self, risk: Risk, state: _State) -> _State:
        """One trial for every row; f never rises."""
        state = self._refresh(risk, state)
        d, image, solved = self._damped_step(risk, state)
        trial = state.z + d.to(state.z.dtype)
        if bounds(risk.latent) is not None:
            trial = risk.latent.project(trial)
            d = torch.where(solved[:, None], trial.double() - state.z.double(), d)
            image = self._image(risk, state, d, image)
        value = risk.value(trial, state.rows)
        slope = (state.gradient * d).sum(-1)
        predicted = -(slope + (d * image).sum(-1) / 2)
        accept = solved & (value < state.value)  # false for NaN
        rejections = torch.where(accept, 0, state.rejections + 1)
        return dataclasses.replace(
            state,
            z=torch.where(accept[:, None], trial, state.z),
            value=torch.where(accept, value, state.value),
            stale=accept,
            damping=self._next_damping(state, (state.value - value) / predicted, accept),
            rejections=rejections,
            failed=rejections >= self.max_rejections,
            step_norm=torch.where(solved, d.norm(dim=-1), torch.inf),
            predicted_decrease=torch.where(solved, predicted / state.value, torch.inf),
        )

    def max_step_cost(self, risk: Risk) -> float:
        """A Jacobian and a trial; without J'J a gradient, its products and a trial."""
        if self._dense(risk.latent.dim):
            return 2 + risk.forward.tangent_passes(risk.latent.dim, risk.y.shape[1])
        return 4 + self.inner_steps * risk.forward.product_passes

    def curvature(self, state: _State) -> Float[Tensor, "r k k"] | None:
        """J'J where it was last taken."""
        return state.hessian

    def current_damping(self, state: _State) -> Float[Tensor, " r"] | None:
        """Of the next trial."""
        return state.damping

    def _dense(self, k: int) -> bool:
        return k <= self.dense_up_to

    def _model(self, risk: Risk, z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        if self._dense(z.shape[1]):
            model = risk.quadratic(z, rows)
            return model.value, model.gradient, model.hessian
        value, gradient = risk.gradient(z, rows)
        return value, gradient.double(), None

    def _refresh(self, risk: Risk, state: _State) -> _State:
        """Take the model anew for the rows that have moved."""
        stale = state.stale.nonzero().flatten()
        if len(stale) == 0:
            return state
        _, gradient, hessian = self._model(risk, state.z[stale], state.rows[stale])
        if hessian is not None and state.hessian is not None:
            hessian = state.hessian.index_copy(0, stale, hessian)
        return dataclasses.replace(
            state,
            gradient=state.gradient.index_copy(0, stale, gradient),
            hessian=hessian,
            stale=torch.zeros_like(state.stale),
        )

    def _image(self, risk: Risk, state: _State, d: Tensor, image: Tensor) -> Tensor:
        """J'J d after d was cut at the edge of the support; an upper bound where it is unknown."""
        return image if state.hessian is None else product(state.hessian, d)

    def _damped_step(self, risk: Risk, state: _State) -> tuple[Tensor, Tensor, Tensor]:
        """d of each row, J'J d, and which rows have a d."""
        # Coordinates that lie on the edge of the support and want to leave rest for this step.
        resting = blocked(risk.latent, state.z, state.gradient)
        if state.hessian is not None:
            d, found = cholesky_step(state.hessian, state.gradient, state.damping, resting)
            image = product(state.hessian, d)
        else:
            d, residual = conjugate_gradients(
                lambda at, v: risk.curvature_product(state.z[at], state.rows[at], v),
                -(state.gradient if resting is None else state.gradient.masked_fill(resting, 0.0)),
                state.damping,
                tolerance=self.inner_tolerance,
                max_steps=self.inner_steps,
            )
            image = -state.gradient - residual - state.damping[:, None] * d
            found = torch.isfinite(d).all(-1) & torch.isfinite(residual).all(-1)
        return torch.where(found[:, None], d, 0.0), image, found

    def _next_damping(self, state: _State, gain: Tensor, accept: Tensor) -> Tensor:
        relax = (1 - (2 * gain - 1) ** 3).clamp(self.shrink, 2.0)
        raise_ = 2.0 * 2.0 ** state.rejections.double()
        return state.damping * torch.where(accept, relax, raise_)


def cholesky_step(
    hessian: Float[Tensor, "r k k"],
    gradient: Float[Tensor, "r k"],
    damping: Float[Tensor, " r"],
    resting: Bool[Tensor, "r k"] | None,
) -> tuple[Float[Tensor, "r k"], Bool[Tensor, " r"]]:
    """-(H + damping I)^-1 g of each row, 0 for resting coordinates, and which rows have one."""
    eye = torch.eye(hessian.shape[-1], dtype=torch.float64, device=hessian.device)
    matrix = hessian + damping[:, None, None] * eye
    finite = torch.isfinite(matrix).all(-1).all(-1) & torch.isfinite(gradient).all(-1)
    matrix = torch.where(finite[:, None, None], matrix, eye)
    gradient = torch.where(finite[:, None], gradient, 0.0)
    if resting is not None:
        gradient = gradient.masked_fill(resting, 0.0)
        cross = resting[:, :, None] | resting[:, None]
        matrix = torch.where(cross, torch.diag_embed(resting.double()), matrix)
    d, found = positive_solve(matrix, -gradient)
    return d, finite & found & torch.isfinite(d).all(-1)

"""Levenberg-Marquardt, every row with its own damping."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from surfing.descent.base import AbstractDescent, State, fresh
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.problem.risk import Risk

__all__ = ["LevenbergMarquardt"]


@dataclass(frozen=True)
class _State(State):
    gradient: Float[Tensor, "r k"]
    hessian: Float[Tensor, "r k k"]
    stale: Bool[Tensor, " r"]
    """z moved since gradient and hessian were taken."""
    damping: Float[Tensor, " r"]
    refusals: Int[Tensor, " r"]
    """In a row; each raises the damping faster than the one before."""


@dataclass(frozen=True)
class LevenbergMarquardt(AbstractDescent[_State]):
    """(J'J + damping I) d = -J'r, with Nielsen's rule for the damping.

    A step tries one d for every row. A row that refuses it keeps its Jacobian and raises its
    damping: the next step costs it one forward. A row that accepts takes a new Jacobian at the
    next step: 1 + k tangents more.

    The damping multiplies the identity in units of the latent's standard deviation: coordinates
    of z share one law, so no other scale is natural.

    Args:
        damping: first damping, relative to the largest diagonal entry of J'J.
        shrink: least factor that a successful step multiplies the damping by, in (0, 1).
        max_refusals: refused steps in a row before a row is called stalled.

    Source: Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05; Moré, "The
    Levenberg-Marquardt algorithm" (1978).

    >>> LevenbergMarquardt(damping=1e-2).stage_steps
    2
    """

    damping: float = 1e-2
    shrink: float = 0.1
    max_refusals: int = 10

    stage_steps: ClassVar[int] = 2
    final_steps: ClassVar[int] = 40

    def __post_init__(self) -> None:
        if not (0 < self.damping < float("inf") and 0 < self.shrink < 1 and self.max_refusals > 0):
            raise InputError(
                "LevenbergMarquardt: expected damping > 0, 0 < shrink < 1 and max_refusals > 0, "
                f"got {self}."
            )

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> _State:
        """The Gauss-Newton model at the start."""
        model = risk.quadratic(z, rows)
        peak = model.hessian.diagonal(dim1=-2, dim2=-1).amax(-1)
        return _State(
            **fresh(rows, z, model.value),
            gradient=model.gradient,
            hessian=model.hessian,
            stale=torch.zeros_like(rows, dtype=torch.bool),
            damping=self.damping * peak.clamp(min=torch.finfo(torch.float64).tiny),
            refusals=torch.zeros_like(rows),
        )

    def step(self, risk: Risk, state: _State) -> _State:
        """One trial for every row; f never rises."""
        state = _refresh(risk, state)
        d, solved = _damped_step(state)
        trial = state.z + d.to(state.z.dtype)
        value = risk.value(trial, state.rows)
        slope = (state.gradient * d).sum(-1)
        bend = (d * (state.hessian @ d.unsqueeze(-1)).squeeze(-1)).sum(-1)
        promise = -(slope + bend / 2)
        accept = solved & (value < state.value)  # false for NaN
        refusals = torch.where(accept, 0, state.refusals + 1)
        return dataclasses.replace(
            state,
            z=torch.where(accept[:, None], trial, state.z),
            value=torch.where(accept, value, state.value),
            stale=accept,
            damping=self._next_damping(state, (state.value - value) / promise, accept),
            refusals=refusals,
            failed=refusals >= self.max_refusals,
            moved=torch.where(solved, d.norm(dim=-1), torch.inf),
            promise=torch.where(solved, promise / state.value, torch.inf),
        )

    def price(self, risk: Risk) -> float:
        """A Jacobian and a trial."""
        return 2 + risk.forward.tangent_passes(risk.latent.dim, risk.y.shape[1])

    def curvature(self, state: _State) -> Float[Tensor, "r k k"]:
        """J'J where it was last taken."""
        return state.hessian

    def _next_damping(self, state: _State, gain: Tensor, accept: Tensor) -> Tensor:
        relax = (1 - (2 * gain - 1) ** 3).clamp(self.shrink, 2.0)
        raise_ = 2.0 * 2.0 ** state.refusals.double()
        return state.damping * torch.where(accept, relax, raise_)


def _refresh(risk: Risk, state: _State) -> _State:
    """Take the model anew for the rows that have moved."""
    stale = state.stale.nonzero().flatten()
    if len(stale) == 0:
        return state
    model = risk.quadratic(state.z[stale], state.rows[stale])
    return dataclasses.replace(
        state,
        gradient=state.gradient.index_copy(0, stale, model.gradient),
        hessian=state.hessian.index_copy(0, stale, model.hessian),
        stale=torch.zeros_like(state.stale),
    )


def _damped_step(state: _State) -> tuple[Tensor, Tensor]:
    """d of each row, and which rows have one; `cholesky_ex` lets a bad row harm no other."""
    eye = torch.eye(state.z.shape[1], dtype=torch.float64, device=state.z.device)
    matrix = state.hessian + state.damping[:, None, None] * eye
    finite = torch.isfinite(matrix).all(-1).all(-1) & torch.isfinite(state.gradient).all(-1)
    matrix = torch.where(finite[:, None, None], matrix, eye)
    gradient = torch.where(finite[:, None], state.gradient, 0.0)
    factor, info = torch.linalg.cholesky_ex(matrix)
    d = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
    solved = finite & (info == 0) & torch.isfinite(d).all(-1)
    return torch.where(solved[:, None], d, 0.0), solved

"""Gradient descent: a fixed step, or one found by backtracking until Armijo's rule holds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.descent.base import AbstractDescent, State, fresh
from surfing.errors import InputError
from surfing.latents import bounds

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.risk import Risk

__all__ = ["Armijo", "GradientDescent"]


@dataclass(frozen=True)
class Armijo:
    """Backtracking: accept the step t where f(z - t g) <= f(z) - slope t ||g||^2.

    Args:
        slope: the share of the linear decrease that must be kept, in (0, 1).
        shrink: what a refused step is multiplied by, in (0, 1).
        grow: what an accepted step is multiplied by before the next search, >= 1.
        trials: steps tried before a row is called stalled.

    Source: Armijo, "Minimization of functions having Lipschitz continuous first partial
    derivatives", Pacific J. Math. 16 (1966).
    """

    slope: float = 1e-4
    shrink: float = 0.5
    grow: float = 2.0
    trials: int = 40

    def __post_init__(self) -> None:
        if not (0 < self.slope < 1 and 0 < self.shrink < 1 <= self.grow and self.trials > 0):
            raise InputError(
                "Armijo: expected 0 < slope < 1, 0 < shrink < 1 <= grow and trials > 0, "
                f"got {self}."
            )


@dataclass(frozen=True)
class _State(State):
    gradient: Float[Tensor, "r k"]
    length: Float[Tensor, " r"]


@dataclass(frozen=True)
class GradientDescent(AbstractDescent[_State]):
    """z <- z - t grad f(z), each row with its own t.

    Args:
        step_size: t, or the first t that a search tries.
        search: None for a fixed step (Algorithm 1 as printed), or :class:`Armijo`.

    Source: Algorithm 1, after Song et al. (2019).

    >>> GradientDescent(0.1, search=Armijo()).step_size
    0.1
    """

    step_size: float = 0.1
    search: Armijo | None = None

    def __post_init__(self) -> None:
        check.number("step_size", self.step_size, low=0, open_low=True)

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> _State:
        """Value and gradient at the start."""
        value, gradient = risk.gradient(z, rows)
        length = torch.full_like(value, self.step_size)
        return _State(**fresh(rows, z, value), gradient=gradient, length=length)

    def step(self, risk: Risk, state: _State) -> _State:
        """One step; under Armijo's rule the risk of no row rises."""
        length, failed = state.length, state.failed
        if self.search is not None:
            length, failed = _backtrack(self.search, risk, state)
        t = torch.where(failed, 0.0, length).to(state.z.dtype)
        z = risk.latent.project(state.z - t[:, None] * state.gradient)
        value, gradient = risk.gradient(z, state.rows)
        if self.search is not None:
            # The search measured f without a graph; what it accepted holds to rounding only.
            worse = ~(value <= state.value)
            z = torch.where(worse[:, None], state.z, z)
            value = torch.where(worse, state.value, value)
            gradient = torch.where(worse[:, None], state.gradient, gradient)
            failed = failed | worse
            length = length * self.search.grow
        return dataclasses.replace(
            state,
            z=z,
            value=value,
            gradient=gradient,
            length=length,
            failed=failed,
            step_norm=_moved(risk, state.z, z, t * state.gradient.norm(dim=-1)),
        )

    def max_step_cost(self, risk: Risk) -> float:
        """A value and gradient, and the search's trials."""
        return 3.0 + (0 if self.search is None else self.search.trials)


def _moved(risk: Risk, before: Tensor, after: Tensor, length: Tensor) -> Tensor:
    if bounds(risk.latent) is None:
        return length.double()
    moved: Tensor = (after - before).norm(dim=-1).double()
    return moved


def _backtrack(search: Armijo, risk: Risk, state: _State) -> tuple[Tensor, Tensor]:
    """The accepted step length of each row, and which rows found none."""
    length = state.length.clone()
    square = state.gradient.double().square().sum(-1)
    open_ = torch.arange(len(length), device=length.device)
    for _ in range(search.trials):
        t = length[open_]
        trial = state.z[open_] - t.to(state.z.dtype)[:, None] * state.gradient[open_]
        decrease = t * square[open_]
        if bounds(risk.latent) is not None:  # Bertsekas' rule along the projected path
            trial = risk.latent.project(trial)
            gap = (state.z[open_] - trial).double()
            decrease = (state.gradient[open_].double() * gap).sum(-1)
        enough = risk.value(trial, state.rows[open_]) <= (
            state.value[open_] - search.slope * decrease
        )
        open_ = open_[~enough]
        if len(open_) == 0:
            break
        length[open_] *= search.shrink
    failed = torch.zeros_like(state.failed)
    failed[open_] = True
    return length, failed

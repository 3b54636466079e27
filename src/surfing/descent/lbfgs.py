"""L-BFGS, every row with its own memory and its own strong-Wolfe line search."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from surfing import check
from surfing.descent.base import AbstractDescent, State, fresh
from surfing.descent.line_search import StrongWolfe
from surfing.latents import blocked

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.problem.risk import Risk

__all__ = ["LBFGS"]

_LOOP_UP_TO = 16
"""Pairs up to which the recursion is quicker than the products of matrices that replace it."""
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class _State(State):
    gradient: Float[Tensor, "r k"]
    s: Float[Tensor, "r history k"]
    """Steps, the latest last; all memory in float64."""
    y: Float[Tensor, "r history k"]
    """Differences of gradients."""
    held: Bool[Tensor, "r history"]
    """Which pairs exist: a pair without positive curvature is dropped, row by row."""
    products: Float[Tensor, "r history history"] | None
    """s_i y_j for i <= j, where memories are long."""
    before: Float[Tensor, "r history"] | None
    """f before each of the last steps, the latest last; infinite where there was none."""


@dataclass(frozen=True)
class LBFGS(AbstractDescent[_State]):
    """d = -H g with the two-loop recursion, then a strong-Wolfe search along d.

    Sharing memory or step length across rows is the classical error of batched L-BFGS: nothing is
    shared here.

    Args:
        history: pairs kept for each row, 2 k history numbers in double precision. With a hundred
            latents and more a hundred pairs took a third less gradients than ten. With more than 16
            a row is also called converged where as many steps lowered f by less than
            a tenth of `ftol`, relatively.
        search: the line search.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed., Algorithms 7.4, 3.5 and 3.6; long
    memories by Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices and their use
    in limited memory methods" (1994), equation 3.1.

    >>> LBFGS(history=10).final_steps
    200
    """

    history: int = 10
    search: StrongWolfe = dataclasses.field(default_factory=StrongWolfe)

    stage_steps: ClassVar[int] = 10
    final_steps: ClassVar[int] = 200

    def __post_init__(self) -> None:
        check.integer("history", self.history, low=1)

    @property
    def _long(self) -> bool:
        return self.history > _LOOP_UP_TO

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> _State:
        """Value and gradient at the start, memory empty."""
        value, gradient = risk.gradient(z, rows)
        memory = z.new_zeros(len(z), self.history, z.shape[1], dtype=torch.float64)
        held = torch.zeros(len(z), self.history, dtype=torch.bool, device=z.device)
        # The products of matrices may sum a row in another order where it lies elsewhere.
        looped = not self._long or risk.forward.batch_invariant
        square = (len(z), self.history, self.history)
        return _State(
            **fresh(rows, z, value),
            gradient=gradient.double(),
            s=memory,
            y=memory,
            held=held,
            products=None if looped else memory.new_zeros(square),
            before=memory.new_full(square[:2], torch.inf) if self._long else None,
        )

    def step(self, risk: Risk, state: _State) -> _State:
        """One direction and one line search for every row; f never rises."""
        d = -_two_loop(state) if state.products is None else -_compact(state, state.products)
        resting = blocked(risk.latent, state.z, -d)
        if resting is not None:
            d = d.masked_fill(resting, 0.0)
        slope = (d * state.gradient).sum(-1)
        # Memory gone bad in float32: start anew from the gradient.
        uphill = ~(slope < 0)
        d = torch.where(uphill[:, None], -state.gradient, d)
        resting = blocked(risk.latent, state.z, -d)
        if resting is not None:
            d = d.masked_fill(resting, 0.0)
        held = state.held & ~uphill[:, None]
        empty = ~held.any(-1)
        norm = state.gradient.norm(dim=-1).clamp(min=torch.finfo(torch.float64).tiny)
        first = torch.where(empty, (1 / norm).clamp(max=1.0), 1.0)
        found = self.search(risk, state.rows, state.z, state.value, state.gradient, d, first)
        s, y = found.z.double() - state.z.double(), found.gradient - state.gradient
        keep = (s * y).sum(-1) > 1e-10 * s.norm(dim=-1) * y.norm(dim=-1)
        shifted = torch.cat([held[:, 1:], keep[:, None]], 1)
        held = torch.where(keep[:, None], shifted, held) & found.success[:, None]
        return dataclasses.replace(
            state,
            z=found.z,
            value=found.value,
            gradient=found.gradient,
            s=(later := _push(state.s, s, keep)),
            y=_push(state.y, y, keep),
            held=held,
            products=_multiplied(state.products, later, y, keep),
            before=(before := _noted(state)),
            predicted_decrease=_fall(state.predicted_decrease, before, found.value),
            # A search that fails with memory is repeated without it before the row is given up.
            step_norm=torch.where(found.success, s.norm(dim=-1), torch.inf),
            failed=~found.success & empty,
        )

    def max_step_cost(self, risk: Risk) -> float:
        """As many values and gradients as the search may try."""
        return 3.0 * self.search.trials


def _push(memory: Tensor, new: Tensor, keep: Tensor) -> Tensor:
    pushed = torch.cat([memory[:, 1:], new[:, None]], 1)
    return torch.where(keep[:, None, None], pushed, memory)


def _two_loop(state: _State) -> Tensor:
    """H g, row by row; pairs that a row doesn't hold count for nothing."""
    q = state.gradient.clone()
    curvature = (state.s * state.y).sum(-1)  # (r, history)
    rho = torch.where(state.held, 1 / torch.where(state.held, curvature, 1.0), 0.0)
    history = state.s.shape[1]
    alphas = []
    for i in reversed(range(history)):
        alpha = rho[:, i] * (state.s[:, i] * q).sum(-1)
        q = q - alpha[:, None] * state.y[:, i]
        alphas.append(alpha)
    latest = state.y[:, -1].square().sum(-1)
    scale = torch.where(
        state.held[:, -1], curvature[:, -1] / torch.where(latest > 0, latest, 1.0), 1.0
    )
    q = q * scale[:, None]
    for i in range(history):
        beta = rho[:, i] * (state.y[:, i] * q).sum(-1)
        q = q + (alphas[history - 1 - i] - beta)[:, None] * state.s[:, i]
    return q


def _noted(state: _State) -> Tensor | None:
    if state.before is None:
        return None
    return torch.cat([state.before[:, 1:], state.value[:, None]], 1)


def _fall(unknown: Tensor, before: Tensor | None, value: Tensor) -> Tensor:
    """What is still to be had, relative to f: ten times what as many steps brought."""
    if before is None:
        return unknown
    return 10 * (before[:, 0] - value) / value.clamp(min=_TINY)


def _multiplied(before: Tensor | None, s: Tensor, y: Tensor, keep: Tensor) -> Tensor | None:
    """Products of the pairs after a push."""
    if before is None:
        return None
    line = (s @ y.unsqueeze(-1)).squeeze(-1)  # (r, history)
    pushed = torch.zeros_like(before)
    pushed[:, :-1, :-1] = before[:, 1:, 1:]
    pushed[:, :, -1] = line
    return torch.where(keep[:, None, None], pushed, before)


def _compact(state: _State, products: Tensor) -> Tensor:
    """The same by products of matrices: time hardly grows with the number of pairs.

    H = c I + [S, c Y] [[R^-T (D + c Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, c Y]', R the upper triangle
    of S'Y and D its diagonal. The lines of pairs that a row doesn't hold are those of the identity.
    """
    held, s, y = state.held.to(products.dtype).unsqueeze(-1), state.s, state.y
    g = state.gradient.unsqueeze(-1)
    upper = products * held * held.mT
    curvature = upper.diagonal(dim1=-2, dim2=-1).clone().unsqueeze(-1)
    upper.diagonal(dim1=-2, dim2=-1).add_(1 - held.squeeze(-1))
    latest = y[:, -1].square().sum(-1) * held[:, -1, 0]
    scale = torch.where(latest > 0, curvature[:, -1, 0] / latest.clamp(min=_TINY), 1.0)
    scale = scale[:, None, None]
    along = torch.linalg.solve_triangular(upper, held * (s @ g), upper=True)
    left = g - y.mT @ along
    turned = curvature * along - scale * held * (y @ left)
    back = torch.linalg.solve_triangular(upper.mT, turned, upper=False)
    found: Tensor = scale * left + s.mT @ back
    return found.squeeze(-1)

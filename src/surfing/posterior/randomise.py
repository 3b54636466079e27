"""Randomise, then optimise: a draw is the solution of k equations with a random right side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.minimise import minimise
from surfing.descent.stopping import Stopping

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.posterior.modes import Modes
    from surfing.posterior.risks import RandomisedRisk

__all__ = ["Drawn", "assigned", "draw_rows", "region_of", "weights_of"]

_SOLVED = 1e-2
"""||g(u) - e|| below which a draw counts as solved; e has norm sqrt(k)."""
_ROUNDS = 8
_LM_STEPS = 20
_LEAST_DRAWS = 0.05
"""Share of the draws that a mode gets at least."""
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Drawn:
    """Where the equations of each row were solved, or not."""

    u: Float[Tensor, "rows k"]
    log_weight: Float[Tensor, " rows"]
    """-inf where they were not."""


def assigned(
    log_mass: Float[Tensor, "targets n"], draws: int
) -> tuple[Int[Tensor, "targets draws"], Int[Tensor, "targets n"]]:
    """Which mode each draw starts from, and how many draws each mode has.

    In proportion to the masses, but no mode gets less than a twentieth. Draws of one mode are
    spread evenly over the row, so that the first few are a smaller sample of the same kind.

    Args:
        log_mass: -inf where there is no mode.
        draws: of each target.
    """
    share = torch.softmax(log_mass, 1)
    share = torch.where(torch.isfinite(log_mass), share.clamp(min=_LEAST_DRAWS), 0.0)
    edges = (share / share.sum(1, keepdim=True)).cumsum(1)
    numbers = torch.arange(draws, dtype=torch.float64, device=log_mass.device)
    point = torch.remainder(0.5 + numbers * _GOLDEN, 1.0)
    # Rounded, so that an edge which rounding moves does not decide.
    mode = torch.searchsorted(edges.round(decimals=6), point.expand(len(edges), -1).contiguous())
    there = torch.isfinite(log_mass).sum(1, keepdim=True)
    mode = torch.minimum(mode, (there - 1).clamp(min=0))
    counts = torch.zeros_like(log_mass, dtype=torch.long)
    return mode, counts.scatter_add_(1, mode, torch.ones_like(mode))


def draw_rows(
    risk: RandomisedRisk, *, allowance: Float[Tensor, " rows"] | None = None
) -> Drawn:
    """Solve g(u) = e for each row, and weigh what was found.

    Broyden's method from Laplace's draw, whose first Jacobian is the mode's: one forward a step.
    Rows that it does not solve go on by Levenberg-Marquardt. Rows that no one solves weigh nothing.

    Args:
        risk: with the modes' frames and the noise of each row.
        allowance: what each row may spend; a row without enough for its weight is not solved.
    """
    u, gap = _broyden(risk, allowance)
    open_ = (~(gap <= _SOLVED)).nonzero().flatten()
    weigh = 1.0 + risk.forward.tangent_passes(u.shape[1], risk.y.shape[1])
    left = None if allowance is None else (allowance - weigh - risk.meter.spent)[open_]
    if left is not None:
        open_, left = open_[left > 0], left[left > 0]
    if len(open_):
        end = minimise(
            risk,
            u[open_],
            LevenbergMarquardt(damping=1e-3),
            max_steps=_LM_STEPS,
            stopping=Stopping(rtol=_SOLVED / 2, xtol=1e-8, ftol=1e-4),
            rows=open_,
            allowance=left,
        )
        u[open_], gap[open_] = end.z, (2 * end.value).sqrt()
    log_weight = torch.full_like(gap, -torch.inf)
    able = (gap <= _SOLVED).nonzero().flatten()
    if allowance is not None:
        able = able[(risk.meter.spent + weigh <= allowance)[able]]
    if len(able):
        weight, _ = risk.log_weights(u[able], able)
        log_weight[able] = weight.nan_to_num(nan=-torch.inf, posinf=-torch.inf)
    return Drawn(u, log_weight)


def _broyden(
    risk: RandomisedRisk, allowance: Tensor | None
) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " rows"]]:
    """Where each row came, and ||g(u) - e|| there.

    In w, u = mode + L^-T w, the Jacobian of g at the mode is the identity.

    Source: Broyden, "A class of methods for solving nonlinear simultaneous equations" (1965).
    """
    frame, mode = risk.frame, risk.mode
    rows = torch.arange(len(mode), device=mode.device)
    turn = frame.inverse.mT[mode]
    inverse = torch.eye(turn.shape[-1], dtype=turn.dtype, device=turn.device).expand_as(turn).clone()
    u = frame.u[mode] + _times(turn, risk.perturbation)
    best, least = u.clone(), torch.full_like(u[:, 0], torch.inf)
    gap, step, active = torch.empty_like(u), torch.empty_like(u), rows
    for number in range(_ROUNDS):
        if allowance is not None:
            active = active[risk.meter.spent[active] + 1 <= allowance[active]]
        if len(active) == 0:
            break
        value = risk.equations(u[active], active)
        if number:
            inverse[active] = _updated(inverse[active], step[active], value - gap[active])
        norm = value.norm(dim=-1).nan_to_num(nan=torch.inf)
        better = norm < least[active]
        best[active[better]], least[active[better]] = u[active[better]], norm[better]
        # Who gets twice as far away as it was is left to a method that can't.
        on = (norm > _SOLVED) & (norm <= 2 * least[active]) & torch.isfinite(norm)
        active, value = active[on], value[on]
        gap[active], step[active] = value, -_times(inverse[active], value)
        u[active] = u[active] + _times(turn[active], step[active])
    return best, least


def _updated(inverse: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """Broyden's: the nearest matrix that maps the change of g to the step."""
    moved = _times(inverse, change)
    along = (inverse.mT @ step.unsqueeze(-1)).squeeze(-1)
    size = (step * moved).sum(-1)
    safe = torch.where(size.abs() > 1e-12 * step.square().sum(-1), size, torch.inf)
    return inverse + (step - moved).unsqueeze(-1) * (along / safe[:, None]).unsqueeze(1)


def _times(matrix: Tensor, v: Tensor) -> Tensor:
    return (matrix @ v.unsqueeze(-1)).squeeze(-1)


def region_of(
    modes: Modes, u: Float[Tensor, "r k"], owner: Int[Tensor, " r"], targets: int
) -> Int[Tensor, " r"]:
    """The nearest mode, by its number among those of the target.

    A draw counts only for the mode that it belongs to: what two modes both reach counts once.
    """
    return modes.distances(u, owner, targets).argmin(1)


def weights_of(
    log_weight: Float[Tensor, "targets draws"],
    mode: Int[Tensor, "targets draws"],
    counts: Int[Tensor, "targets n"],
) -> tuple[Float[Tensor, "targets draws"], Bool[Tensor, " targets"]]:
    """Normalised weights, and which targets have any.

    A weight is divided by the number of draws of its mode, so that masses of modes add up to what
    they are however draws were dealt out; one above sqrt(draws) times the mean is cut there, which
    bounds the variance of every estimate.

    Source: Ionides, "Truncated importance sampling" (2008).
    """
    each = log_weight - counts.gather(1, mode).clamp(min=1).double().log()
    some = torch.isfinite(each).any(1)
    top = each.amax(1, keepdim=True)
    weight = torch.where(some[:, None], (each - top).exp(), 1.0)
    draws = weight.shape[1]
    for _ in range(2):  # the mean falls as weights are cut
        weight = torch.minimum(weight, weight.mean(1, keepdim=True) * draws**0.5)
    return weight / weight.sum(1, keepdim=True), some

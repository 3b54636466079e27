"""Randomise, then optimise: a draw is the solution of k equations with a random right side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.minimise import minimise
from surfing.descent.stopping import Stopping
from surfing.posterior.risks import PerturbedRisk, RandomisedRisk
from surfing.problem.risk import CostMeter

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.posterior.modes import Modes
    from surfing.posterior.noise import AbstractNoise
    from surfing.posterior.search import Posterior

__all__ = ["Drawn", "assigned", "draw_rows", "perturbed_rows", "region_of", "weights_of"]

_SOLVED = 1e-2
"""||g(u) - e|| below which a draw counts as solved; e has norm sqrt(k)."""
_ROUNDS = 10
_LM_STEPS = 4
"""With 20 the cost of a diffuse posterior tripled, for a tenth more solved draws."""
_PERTURBED_STEPS = 30
_BYTES = 64 * 2**20
"""Of what all rows of a chunk hold."""
_LEAST_DRAWS = 0.05
"""Share of the draws that a mode gets at least."""
_GOLDEN = 0.6180339887498949
_NEAR = Stopping(xtol=1e-5, ftol=1e-7)


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
    posterior: Posterior,
    modes: Modes,
    owner: Int[Tensor, " rows"],
    *,
    mode: Int[Tensor, " rows"],
    noise: Float[Tensor, "rows k"],
    law: AbstractNoise | None = None,
) -> tuple[Drawn, Float[Tensor, " rows"]]:
    """Draws around modes, in chunks that fit the memory, and what each cost.

    Args:
        posterior: of the targets.
        modes: of all targets.
        owner: the target of each draw.
        mode: the mode that it starts from.
        noise: the right side of its equations, standard normal.
        law: of the measurements, where it is not normal; draws are weighed by it.
    """
    k = noise.shape[1]
    size = max(1, _BYTES // (8 * (6 * k * k + 20 * k)))
    u, log_weight = torch.empty_like(noise), torch.empty_like(noise[:, 0])
    spent = torch.zeros_like(log_weight)
    for low in range(0, len(owner), size):
        part = slice(low, low + size)
        meter = CostMeter(len(owner[part]), owner.device)
        risk = RandomisedRisk(
            posterior.problem,
            posterior.state,
            owner[part],
            whitening=posterior.whitening,
            frame=modes.frame,
            mode=mode[part],
            noise=noise[part],
            law=law,
            meter=meter,
        )
        drawn = _solved(risk)
        u[part], log_weight[part], spent[part] = drawn.u, drawn.log_weight, meter.spent
    return Drawn(u, log_weight), spent


def perturbed_rows(
    posterior: Posterior,
    u: Float[Tensor, "targets k"],
    right: Callable[[int, int], tuple[Tensor, Tensor]],
    *,
    draws: int,
    descent: AbstractDescent[Any],
) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " rows"]]:
    """Minima of the perturbed -log posterior, near them draws of it, and what each cost.

    Args:
        posterior: of the targets.
        u: where all draws of a target start.
        right: of rows from the first to before the second: noise of the measurements and of the
            prior's mean, (r, m) and (r, k), standard normal.
        draws: of each target, side by side.
        descent: the way down.
    """
    total, k, m = len(u) * draws, u.shape[1], posterior.problem.y.shape[1]
    size = max(1, _BYTES // (8 * (3 * m + 40 * k)))
    found, spent = u.new_empty(total, k), u.new_zeros(total)
    for low in range(0, total, size):
        part = slice(low, min(low + size, total))
        owner = torch.arange(part.start, part.stop, device=u.device) // draws
        noise, centre = right(part.start, part.stop)
        meter = CostMeter(len(owner), u.device)
        risk = PerturbedRisk(
            posterior.problem,
            posterior.state,
            owner,
            whitening=posterior.whitening,
            noise=noise,
            centre=centre,
            meter=meter,
        )
        end = minimise(risk, u[owner], descent, max_steps=_PERTURBED_STEPS, stopping=_NEAR)
        found[part], spent[part] = end.z, meter.spent
    return found, spent


def _solved(risk: RandomisedRisk) -> Drawn:
    """Solve g(u) = e for each row, and weigh what was found.

    Broyden's method from Laplace's draw, whose first Jacobian is the mode's: one forward a step.
    Rows that it does not solve go on by Levenberg-Marquardt. Rows that no one solves weigh nothing.
    """
    u, gap = _broyden(risk)
    open_ = (~(gap <= _SOLVED)).nonzero().flatten()
    if len(open_):
        end = minimise(
            risk,
            u[open_],
            LevenbergMarquardt(damping=1e-3),
            max_steps=_LM_STEPS,
            stopping=Stopping(rtol=_SOLVED / 2, xtol=1e-8, ftol=1e-4),
            rows=open_,
        )
        u[open_], gap[open_] = end.z, (2 * end.value).sqrt()
    log_weight = torch.full_like(gap, -torch.inf)
    able = (gap <= _SOLVED).nonzero().flatten()
    if len(able):
        weight = risk.log_weights(u[able], able)
        log_weight[able] = weight.nan_to_num(nan=-torch.inf, posinf=-torch.inf)
    return Drawn(u, log_weight)


def _broyden(
    risk: RandomisedRisk,
) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " rows"]]:
    """Where each row came, and ||g(u) - e|| there.

    In w, u = mode + L^-T w, the Jacobian of g at the mode is the identity.

    Source: Broyden, "A class of methods for solving nonlinear simultaneous equations" (1965).
    """
    frame, mode = risk.frame, risk.mode
    rows = torch.arange(len(mode), device=mode.device)
    turn = frame.inverse.mT[mode]
    inverse = (
        torch.eye(turn.shape[-1], dtype=turn.dtype, device=turn.device).expand_as(turn).clone()
    )
    u = frame.u[mode] + _times(turn, risk.perturbation)
    best, least = u.clone(), torch.full_like(u[:, 0], torch.inf)
    gap, step, active = torch.empty_like(u), torch.empty_like(u), rows
    for number in range(_ROUNDS):
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
    if len(modes) == 0:
        return torch.zeros_like(owner)
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

"""The first tries of `recover`: the caller's latents, learned starts, or draws that race."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.descent.lbfgs import LBFGS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.portfolio.attempt import Found
from surfing.portfolio.limits import RACERS
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.portfolio.attempt import RunContext

__all__ = ["race", "rank", "try_candidate"]

_STEPS = 30
_PATIENCE = 10
"""With many latents L-BFGS falls for hundreds of steps; going on beats starting anew."""
_ENDLESS = 1e9
_RACE_SHARE = 3
"""One in so many of the gradients that are left goes into finding the best of the racers."""
_FIRST_LEG, _LEAST_LEG = 100, 40
"""Gradients after which easy targets are met, and below which a race tells nothing."""
_GRADIENT = 3


def rank(
    context: RunContext, z: Float[Tensor, "t n k"], targets: Int[Tensor, " t"]
) -> Float[Tensor, "t n k"]:
    """Candidates in the order of what they leave unexplained. Costs a forward for each."""
    rows = z.shape[1]
    owner = targets.repeat_interleave(rows)
    risk = context.problem.risk(context.last, owner)
    flat = context.problem.latent.project(z.flatten(0, 1))
    value = risk.value(flat, torch.arange(len(owner), device=owner.device))
    context.meter.spent[targets] += rows
    context.meter.depth += 1
    order = value.nan_to_num(nan=torch.inf).reshape(len(z), rows).argsort(dim=1, stable=True)
    return flat.reshape(z.shape).gather(1, order.unsqueeze(-1).expand(-1, -1, z.shape[-1]))


def try_candidate(
    context: RunContext,
    z: Float[Tensor, "t k"],
    targets: Int[Tensor, " t"],
    *,
    patient: bool = False,
) -> Found:
    """Descend from one candidate of each target; patiently where it is the caller's own."""
    steps = _STEPS * (_PATIENCE if isinstance(context.descent, LBFGS) else 1)
    return context.descend(z[:, None], targets, steps=steps, patient=patient)


def race(
    context: RunContext, z: Float[Tensor, "t n k"], targets: Int[Tensor, " t"], *, wall: bool
) -> Found:
    """Descend from the first start of each target; where that takes long, from the best of all.

    On a style-based generator with k = 512 the row that was lowest after a tenth of a descent was
    mostly the lowest at its end, and starts ended a factor of two to six apart.

    Args:
        context: with a descent that takes gradients.
        z: starts.
        targets: whose they are.
        wall: whether the clock limits the descents.
    """
    clock = time.perf_counter()
    found = _legs(context, z[:, :1], targets, _FIRST_LEG)
    open_ = (found.status[:, 0] == int(Status.MAX_STEPS)).nonzero().flatten()
    each = (time.perf_counter() - clock) / (_FIRST_LEG * len(targets))
    leg = _leg(context, each * len(open_), wall=wall)
    if len(open_) == 0:
        return found
    part, owners = found.take(open_), targets[open_]
    if leg >= _LEAST_LEG:
        others = _legs(context, z[open_, 1:], owners, leg)
        if leg > _FIRST_LEG:
            part = _legs(context, part.z, owners, leg - _FIRST_LEG)
        part = part.beside(others).best()
    rest = context.descend(part.z, owners, steps=_STEPS * _PATIENCE)
    return found.replaced(open_, rest)


def _leg(context: RunContext, seconds: float, *, wall: bool) -> int:
    """Gradients of each racer; `seconds` is what one of each target takes."""
    # Of the whole budget, which is the same for all targets: bits must not depend on the others.
    left = min(context.budget, _ENDLESS) / _GRADIENT - _FIRST_LEG
    if wall and context.until is not None:
        left = min(left, (context.until - time.perf_counter()) / max(seconds, 1e-9))
    return int(left / (_RACE_SHARE * RACERS))


def _legs(
    context: RunContext, z: Float[Tensor, "t n k"], targets: Int[Tensor, " t"], gradients: int
) -> Found:
    scale = context.descent.stage_steps / LevenbergMarquardt.stage_steps
    return context.descend(z, targets, steps=max(1, round(gradients / scale)))

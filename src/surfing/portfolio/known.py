"""The first tries of `recover`: the caller's latents and learned starts, likeliest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.descent.lbfgs import LBFGS
from surfing.portfolio.attempt import Found

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.portfolio.attempt import RunContext

__all__ = ["rank", "try_candidate"]

_STEPS = 30
_PATIENCE = 10
"""With many latents L-BFGS falls for hundreds of steps; going on beats starting anew."""


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

"""Where descent can end: critical points found from many starts.

On every linear piece f is convex, so a point where a smooth descent ends is a minimum of its
piece; the saddles of a wide network lie on kinks. A point counts as critical here when no
direction tried lowers f: neither the gradient's, by backtracking, nor those of a sphere around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = ["CriticalPoints", "critical_points"]


@dataclass(frozen=True)
class CriticalPoints:
    """Where each start ended."""

    z: Float[Tensor, "starts k"]
    risk: Float[Tensor, " starts"]
    still: Bool[Tensor, " starts"]
    """No direction lowers f any further; False where the steps ran out."""


def critical_points(
    generator: Callable[[Tensor], Tensor],
    y: Float[Tensor, " n"],
    starts: Float[Tensor, "starts k"],
    *,
    max_steps: int = 2000,
    tolerance: float = 1e-7,
    seed: int = 0,
) -> CriticalPoints:
    """Descend on 1/2 ||G(z) - y||^2 from many starts, all at once.

    Steps follow the gradient, or, where that fails, the best of 4 k random directions (a kink has
    a descent direction that no gradient shows). Step lengths are halved on failure and doubled on
    success; a start is done when its length falls below `tolerance`.

    Args:
        generator: G, differentiable.
        y: the target signal.
        starts: latents.
        max_steps: at most so many steps each.
        tolerance: relative step length that counts as standing still.
        seed: of the random directions.
    """
    if starts.ndim != 2 or not 0 < tolerance < 1:
        raise InputError(
            f"starts, tolerance: expected (starts, k) and a number in (0, 1), got "
            f"{tuple(starts.shape)} and {tolerance}."
        )
    rng = torch.Generator().manual_seed(seed)
    z = starts.clone()
    length = z.norm(dim=1).clamp(min=tolerance) / 4
    value, gradient = _value_and_gradient(generator, y, z)
    still = torch.zeros(len(z), dtype=torch.bool)
    for _ in range(max_steps):
        open_ = (~still).nonzero().flatten()
        if len(open_) == 0:
            break
        moves = _moves(gradient[open_], rng) * length[open_, None, None]  # (r, tries, k)
        trials = z[open_, None] + moves
        with torch.no_grad():
            found = _risk(generator, y, trials.flatten(0, 1)).reshape(trials.shape[:2])
        lowest, which = found.min(1)
        better = lowest < value[open_]
        moved = open_[better]
        z[moved] = trials[better, which[better]]
        value[moved], gradient[moved] = _value_and_gradient(generator, y, z[moved])
        length[open_] *= torch.where(better, 2.0, 0.5)
        still[open_] = length[open_] < tolerance * (1e-3 + z[open_].norm(dim=1))
    return CriticalPoints(z, value, still)


def _moves(gradient: Tensor, rng: torch.Generator) -> Tensor:
    """Unit directions to try: downhill, and 4 k at random with their negatives."""
    r, k = gradient.shape
    random = torch.randn(r, 2 * k, k, generator=rng, dtype=gradient.dtype)
    downhill = -gradient[:, None]
    moves = torch.cat([downhill, random, -random], 1)
    unit: Tensor = moves / moves.norm(dim=2, keepdim=True).clamp(min=1e-300)
    return unit


def _risk(generator: Callable[[Tensor], Tensor], y: Tensor, z: Tensor) -> Tensor:
    risk: Tensor = (generator(z).flatten(1) - y).square().sum(1) / 2
    return risk


def _value_and_gradient(
    generator: Callable[[Tensor], Tensor], y: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = z.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = _risk(generator, y, leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient

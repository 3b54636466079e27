"""Conjugate gradients, every row its own system."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    product: Callable[[Tensor, Tensor], Tensor],
    right: Float[Tensor, "r k"],
    shift: Float[Tensor, " r"],
    *,
    tolerance: float,
    max_steps: int,
) -> tuple[Float[Tensor, "r k"], Float[Tensor, "r k"]]:
    """(H + shift I) d = right, truncated row by row.

    A row ends at ||residual|| <= tolerance ||right||, and is in no product from then on.

    Args:
        product: (rows, v) -> H v for those of the rows that still run; H is positive semidefinite.
        right: the right-hand sides.
        shift: what is added to the diagonal, at least 0.
        tolerance: relative residual.
        max_steps: products at most.

    Returns:
        d and its residual; not finite where a product was not.

    Source: Hestenes and Stiefel, "Methods of conjugate gradients" (1952); truncation as in Dembo,
    Eisenstat and Steihaug, "Inexact Newton methods" (1982).
    """
    d, residual, p = torch.zeros_like(right), right.clone(), right.clone()
    square = residual.square().sum(-1)
    target = tolerance**2 * square
    for _ in range(max_steps):
        active = (square > target).nonzero().flatten()  # false for NaN
        if len(active) == 0:
            break
        direction = p[active]
        image = product(active, direction) + shift[active, None] * direction
        length = square[active] / (direction * image).sum(-1)
        d[active] += length[:, None] * direction
        residual[active] -= length[:, None] * image
        after = residual[active].square().sum(-1)
        p[active] = residual[active] + (after / square[active])[:, None] * direction
        square[active] = after
    return d, residual

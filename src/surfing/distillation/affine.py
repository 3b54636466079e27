"""The best affine approximation of a generator under the law of its latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from surfing.distillation.teacher import Teacher

__all__ = ["best_affine"]

_CHUNK = 512
_RIDGE = 1e-6
NUMBER = 1 << 40
"""Of the first draw: far from those that the copies are trained on."""


def best_affine(
    teacher: Teacher, samples: int, *, seed: int
) -> Callable[[Float[Tensor, "rows k"]], Float[Tensor, "rows n"]]:
    """L(z) = b + B z, the least-squares fit to G(z) over draws of the law.

    The normal equations are summed chunk by chunk: memory doesn't grow with the samples.
    """
    gram: Tensor | None = None
    cross: Tensor | None = None
    for number in range(NUMBER, NUMBER - (-samples // _CHUNK)):
        z = _with_one(teacher.draw(number, _CHUNK, seed=seed))
        x = teacher(z[:, :-1])
        gram = z.mT @ z if gram is None else gram + z.mT @ z
        cross = z.mT @ x if cross is None else cross + z.mT @ x
    assert gram is not None  # for the type checker: there is at least one chunk
    assert cross is not None
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=z.dtype, device=z.device)
    coefficients = torch.linalg.solve(gram + ridge, cross)
    return lambda z: _with_one(z) @ coefficients


def _with_one(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(len(z), 1)], dim=1)

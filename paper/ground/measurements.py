"""Gaussian measurements that need no other package, several operators side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surfing.problem.operators import Operator

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["ALL", "Operators", "gaussian_matrix"]

ALL = 0
"""Number of measurements that stands for all pixels."""


def gaussian_matrix(m: int, n: int, *, seed: int = 0) -> Float[Tensor, "m n"]:
    """m x n entries N(0, 1/m), the same on every machine and device; the identity for ALL."""
    if m == ALL:
        return torch.eye(n)
    stream = np.random.Generator(np.random.Philox(key=np.array([seed, m], dtype=np.uint64)))
    drawn = stream.standard_normal((m, n), dtype=np.float32)
    matrix: Tensor = torch.from_numpy(drawn) / m**0.5
    return matrix


def _measure(matrix: Tensor, x: Tensor) -> Tensor:
    return x.flatten(1) @ matrix.to(x.dtype).T


@dataclass(frozen=True)
class Operators:
    """One matrix above the other, and which of its lines belong to which.

    Args:
        counts: numbers of measurements, ALL for the identity.
        matrix: (lines, n).
    """

    counts: tuple[int, ...]
    matrix: Float[Tensor, "lines n"]

    @classmethod
    def draw(cls, counts: tuple[int, ...], n: int, *, seed: int, device: torch.device) -> Operators:
        """For signals of n numbers."""
        parts = [gaussian_matrix(m, n, seed=seed) for m in counts]
        return cls(counts, torch.cat(parts).to(device))

    def lines(self, which: int) -> slice:
        """The lines of the operator in place `which`."""
        n = self.matrix.shape[1]
        sizes = [m or n for m in self.counts]
        return slice(sum(sizes[:which]), sum(sizes[: which + 1]))

    def single(self, which: int) -> Operator:
        """One of them, as the package takes it."""
        m = self.counts[which]
        if m == ALL:
            return Operator(lambda x: x, linear=True, name="identity")
        matrix = self.matrix[self.lines(which)].contiguous()
        return Operator(partial(_measure, matrix), linear=True, name=f"gaussian:{m}")

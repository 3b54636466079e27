"""The two deterministic conditions behind the theorems, measured on a given network or matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

__all__ = [
    "expected_overlap",
    "gaussian_operator",
    "range_isometry",
    "weight_distribution",
]


def expected_overlap(u: Float[Tensor, " k"], v: Float[Tensor, " k"]) -> Float[Tensor, "k k"]:
    """Q_{u,v} = (pi - th)/(2 pi) I + sin(th)/(2 pi) M_{u<->v}, th the angle of u and v.

    M swaps u/||u|| and v/||v|| and sends everything orthogonal to both to 0.

    Raises:
        InputError: a zero vector, or shapes that differ.
    """
    if u.ndim != 1 or u.shape != v.shape or not bool(u.norm() > 0 and v.norm() > 0):
        raise InputError("u, v: expected two non-zero vectors of one length.")
    a, b = u / u.norm(), v / v.norm()
    th = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    eye = torch.eye(len(u), dtype=u.dtype)
    overlap: Tensor = (torch.pi - th) * eye + torch.sin(th) * _swap(a, b)
    return overlap / (2 * torch.pi)


def _swap(a: Tensor, b: Tensor) -> Tensor:
    """M: symmetric, a -> b, b -> a, zero on the complement; +-a a' where they are parallel."""
    total, difference = a + b, a - b
    swap = torch.zeros(len(a), len(a), dtype=a.dtype)
    # a + b is kept and a - b turned over: both are eigenvectors, and they are orthogonal.
    for vector, sign in ((total, 1.0), (difference, -1.0)):
        square = vector.square().sum()
        if float(square) > 1e-24:
            swap = swap + sign * torch.outer(vector, vector) / square
    return swap


def weight_distribution(
    weight: Float[Tensor, "n k"],
    u: Float[Tensor, "pairs k"],
    v: Float[Tensor, "pairs k"],
) -> Float[Tensor, " pairs"]:
    """||sum_i 1{w_i u > 0} 1{w_i v > 0} w_i w_i' - Q_{u,v}||, the spectral norm, pair by pair.

    Its maximum over all pairs is the least eps of the weight distribution condition; over a
    sample of pairs it is a lower bound.

    Args:
        weight: W, rows w_i ~ N(0, I/n).
        u: first vectors.
        v: second vectors.

    Source: Hand & Voroninski (2017), Definition 2.
    """
    both = (u @ weight.T > 0) & (v @ weight.T > 0)  # (pairs, n)
    gaps = []
    for mask, a, b in zip(both, u, v):
        kept = weight[mask]
        gaps.append(torch.linalg.matrix_norm(kept.T @ kept - expected_overlap(a, b), ord=2))
    return torch.stack(gaps)


def gaussian_operator(
    measurements: int, signal: int, *, seed: int = 0
) -> Float[Tensor, "measurements signal"]:
    """A with entries N(0, 1/m), so that E A'A = I."""
    if measurements < 1 or signal < 1:
        raise InputError(
            f"measurements, signal: expected positive sizes, got {measurements} and {signal}."
        )
    rng = torch.Generator().manual_seed(seed)
    draw: Tensor = torch.randn(measurements, signal, generator=rng, dtype=torch.float64)
    return draw / math.sqrt(measurements)


def range_isometry(
    operator: Float[Tensor, "m n"],
    generator: Callable[[Tensor], Tensor],
    points: Float[Tensor, "four quadruples k"],
) -> Float[Tensor, " quadruples"]:
    """|<A p, A q> - <p, q>| / (||p|| ||q||), p = G(z_1) - G(z_2), q = G(z_3) - G(z_4).

    Its maximum over all latents is the least eps of the range-restricted isometry condition.

    Args:
        operator: A.
        generator: G.
        points: z_1, ..., z_4 of every quadruple.

    Source: Hand & Voroninski (2017), Definition 3.
    """
    if points.ndim != 3 or len(points) != 4:
        raise InputError(f"points: expected (4, quadruples, k), got {tuple(points.shape)}.")
    x = [generator(z).flatten(1) for z in points]
    p, q = x[0] - x[1], x[2] - x[3]
    measured = ((p @ operator.T) * (q @ operator.T)).sum(1)
    gaps: Tensor = (measured - (p * q).sum(1)).abs() / (p.norm(dim=1) * q.norm(dim=1))
    return gaps

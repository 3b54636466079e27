"""Mean, covariance and quantiles of weighted draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

__all__ = ["covariance_of", "effective_size", "mean_of", "quantiles_of"]


def effective_size(weights: Float[Tensor, "targets draws"]) -> Float[Tensor, " targets"]:
    """1 / sum w^2, of weights that sum to one.

    Source: Kong, "A note on importance sampling using standardized weights" (1992).
    """
    return weights.square().sum(-1).reciprocal()


def mean_of(
    values: Float[Tensor, "targets draws n"], weights: Float[Tensor, "targets draws"]
) -> Float[Tensor, "targets n"]:
    """Weighted mean, float64."""
    return (weights.unsqueeze(-1) * values.double()).sum(1)


def covariance_of(
    values: Float[Tensor, "targets draws k"], weights: Float[Tensor, "targets draws"]
) -> Float[Tensor, "targets k k"]:
    """Weighted covariance, float64; unbiased where all weights are the same."""
    centred = values.double() - mean_of(values, weights).unsqueeze(1)
    spread = (weights.unsqueeze(-1) * centred).mT @ centred
    left = (1 - weights.square().sum(-1)).clamp(min=1e-12)
    return spread / left[:, None, None]


def quantiles_of(
    values: Float[Tensor, "targets draws n"],
    weights: Float[Tensor, "targets draws"],
    levels: Sequence[float],
    *,
    size: Float[Tensor, " targets"] | None = None,
) -> Float[Tensor, "levels targets n"]:
    """Quantiles by interpolation between draws, the i-th of n standing at i / (n + 1).

    With that place the share of new values below a quantile is right on average (Weibull's rule);
    with weights n is the effective size. Where n is too small for a level, so that it would lie
    beyond the outermost draw, the quantile is that of Student's t with the draws' mean and
    standard deviation.

    Args:
        values: float.
        weights: sum to one for each target.
        levels: between 0 and 1.
        size: effective number of draws; that of the weights where left out.
    """
    size = effective_size(weights) if size is None else size
    order = values.argsort(dim=1, stable=True)
    ordered = values.gather(1, order)
    weight = weights.unsqueeze(-1).expand_as(values).gather(1, order)
    place = weight.cumsum(1) - weight / 2
    n = size[:, None, None].to(place.dtype)
    place = (place * n + 0.5) / (n + 1)
    tail = _student(values, weights, levels, size)
    found = []
    for level, outer in zip(levels, tail):
        inner = _interpolated(ordered, place, level)
        beyond = min(level, 1 - level) * (n[:, 0] + 1) < 1
        found.append(torch.where(beyond, outer.to(inner.dtype), inner))
    return torch.stack(found) if found else values.new_empty(0, len(values), values.shape[2])


def _interpolated(
    ordered: Float[Tensor, "t d n"], place: Float[Tensor, "t d n"], level: float
) -> Float[Tensor, "t n"]:
    last = ordered.shape[1] - 1
    above = (place < level).sum(1, keepdim=True).clamp(max=last)
    below = (above - 1).clamp(min=0)
    low, high = place.gather(1, below), place.gather(1, above)
    share = ((level - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    left, right = ordered.gather(1, below), ordered.gather(1, above)
    return torch.where(above == below, right, left + share.to(left) * (right - left)).squeeze(1)


def _student(
    values: Tensor, weights: Tensor, levels: Sequence[float], size: Tensor
) -> list[Float[Tensor, "t n"]]:
    """Of the value to come, from the mean and the standard deviation of so many draws."""
    n = size.clamp(min=2.0)[:, None]
    mean = mean_of(values, weights)
    square = (weights.unsqueeze(-1) * (values.double() - mean.unsqueeze(1)).square()).sum(1)
    std = (square * n / (n - 1) * (1 + 1 / n)).sqrt()
    return [mean + _student_quantile(level, n - 1) * std for level in levels]


def _student_quantile(level: float, degrees: Float[Tensor, "t 1"]) -> Float[Tensor, "t 1"]:
    """By its expansion in 1 / degrees (Abramowitz and Stegun, 26.7.5)."""
    if not 0 < level < 1:
        return torch.full_like(degrees, math.inf if level >= 1 else -math.inf)
    z = float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))
    nu = degrees.clamp(min=2.0)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / nu + second / nu**2 + third / nu**3

"""What draws say of the signal, pixel by pixel, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.posterior.moments import mean_of, quantiles_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from surfing.problem.inputs import Given
    from surfing.problem.model import ForwardModel

__all__ = ["SignalStatistics", "signal_statistics"]

_BYTES = 64 * 2**20


@dataclass(frozen=True)
class SignalStatistics:
    """Of the signal G(z), z a draw of the posterior."""

    mean: Float[Tensor, "targets ..."]
    std: Float[Tensor, "targets ..."]
    quantiles: Float[Tensor, "levels targets ..."]
    levels: tuple[float, ...]


def signal_statistics(
    model: ForwardModel,
    z: Float[Tensor, "targets draws k"],
    weights: Float[Tensor, "targets draws"],
    size: Float[Tensor, " targets"],
    *,
    levels: Sequence[float],
    given: Given | None,
) -> SignalStatistics:
    """Mean, standard deviation and quantiles, some targets at a time.

    Signals of all draws of a target are needed for its quantiles. Where they are too many for the
    memory, they are made again for every part of the pixels.

    Args:
        model: whose signals.
        z: draws.
        weights: of the draws.
        size: effective number of draws.
        levels: of the quantiles.
        given: inputs by target.
    """
    targets, draws = z.shape[:2]
    pixels = math.prod(model.signal_shape)
    mean, std = (z.new_empty(targets, pixels) for _ in range(2))
    quantiles = z.new_empty(len(levels), targets, pixels)
    each = 4 * draws * pixels * 6  # sorted, with places and weights
    together = max(1, min(targets, _BYTES // max(1, each)))
    slab = pixels if each <= _BYTES else max(1, pixels * _BYTES // each)
    for low in range(0, targets, together):
        rows = slice(low, low + together)
        for left in range(0, pixels, slab):
            part = slice(left, left + slab)
            x = _signals(model, z[rows], given, rows, part)
            weight = weights[rows]
            average = mean_of(x, weight)
            square = (weight.unsqueeze(-1) * (x.double() - average.unsqueeze(1)).square()).sum(1)
            unbiased = (1 - weight.square().sum(-1)).clamp(min=1e-12).unsqueeze(-1)
            mean[rows, part] = average.to(mean.dtype)
            std[rows, part] = (square / unbiased).sqrt().to(std.dtype)
            quantiles[:, rows, part] = quantiles_of(x, weight, levels, size=size[rows])
    shape = model.signal_shape
    return SignalStatistics(
        mean.reshape(targets, *shape),
        std.reshape(targets, *shape),
        quantiles.reshape(len(levels), targets, *shape),
        tuple(levels),
    )


def _signals(
    model: ForwardModel, z: Tensor, given: Given | None, rows: slice, part: slice
) -> Float[Tensor, "t draws pixels"]:
    """Some pixels of the signals of some targets' draws, a few draws at a time."""
    targets, draws, _ = z.shape
    pixels = math.prod(model.signal_shape)
    x = z.new_empty(targets, draws, min(part.stop, pixels) - part.start)
    step = max(1, _BYTES // max(1, 4 * targets * pixels))
    for low in range(0, draws, step):
        few = z[:, low : low + step]
        repeated = None
        if given is not None:
            repeated = {
                name: torch.as_tensor(value)[rows].repeat_interleave(few.shape[1], 0)
                for name, value in given.items()
            }
        made = model.signals(few.reshape(-1, few.shape[-1]), given=repeated).flatten(1)
        x[:, low : low + step] = made[:, part].reshape(targets, few.shape[1], -1)
    return x

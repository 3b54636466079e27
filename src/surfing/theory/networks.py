"""Random expansive ReLU networks, as the theorems draw them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surfing import check
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["ExpansiveReLU"]


class ExpansiveReLU(nn.Module):
    """G(z) = V relu(W_d ... relu(W_1 z + b_1) ... + b_d) with Gaussian weights, in float64.

    W_i and b_i have entries N(0, 1/n_i), V has entries N(0, 1/n); without V the network ends with
    its last ReLU, as in Hand & Voroninski. After d layers ||G(z)||^2 is about 2^-d ||z||^2.

    Args:
        widths: k, n_1, ..., n_d: the latent dimension, then every layer's width.
        bias: whether the layers have biases.
        readout: n, the rows of V; None leaves V out.
        seed: of the weights.

    Raises:
        InputError: fewer than two widths, or one that is not a positive integer.

    Source: Hand & Voroninski (2017), section 2 (no biases, no V); Song et al. (2019), Theorem 3.1
    (both).

    >>> net = ExpansiveReLU([2, 40, 80], seed=0)
    >>> net(torch.ones(3, 2, dtype=torch.float64)).shape
    torch.Size([3, 80])
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        bias: bool = False,
        readout: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_widths(widths)
        rng = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        for fan_in, width in itertools.pairwise(widths):
            layers += [_gaussian(fan_in, width, rng, bias=bias), nn.ReLU()]
        if readout is not None:
            _check_widths((readout, readout))
            layers.append(_gaussian(widths[-1], readout, rng, bias=False))
        self.layers: nn.Sequential = nn.Sequential(*layers)
        self.widths: tuple[int, ...] = tuple(widths)

    @property
    def depth(self) -> int:
        """d, the number of ReLU layers."""
        return len(self.widths) - 1

    @property
    def weights(self) -> list[Float[Tensor, "out in"]]:
        """W_1, ..., W_d and V, where there is one."""
        return [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows n"]:
        """Signals of latents."""
        out: Tensor = self.layers(z)
        return out


def _gaussian(fan_in: int, width: int, rng: torch.Generator, *, bias: bool) -> nn.Linear:
    """A layer with entries N(0, 1/width)."""
    layer = nn.Linear(fan_in, width, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            draw = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
            parameter.copy_(draw / width**0.5)
    return layer


def _check_widths(widths: Sequence[int]) -> None:
    for width in widths:
        check.integer("widths", width, low=1)
    if len(widths) < 2:
        raise InputError(
            f"widths: expected k, n_1, ..., n_d, all positive integers, got {list(widths)}.",
            argument="widths",
        )

"""A small style-based generator: mapping network, modulated convolutions, fixed noise.

Its latent is z; what the layers read is w, one vector for all of them, or w+, one for each. All
three can be recovered: :attr:`StyleGenerator.mapping` leads from z to w,
:meth:`StyleGenerator.synthesis` from w+ to images.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), without
equalised learning rates, path lengths and truncation.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from surfing.architectures.deep import doublings
from surfing.architectures.sizes import check_sizes, output_layer

__all__ = ["StyleGenerator"]

_BASE = 4
_WIDEST = 4
_SLOPE = 0.2


class StyleGenerator(nn.Module):
    """z (rows, k) -> images (rows, c, s, s).

    z is scaled to norm sqrt(k), so that its length means nothing to the image. Two modulated
    convolutions at each side from 8 on, one at 4; the images of all sides are summed.

    Args:
        latent_dim: k.
        width: channels at the full side; at most four times as many at small sides.
        hidden: length of w.
        layers: of the mapping network.
        image_size: s: 4 times a power of two, at least 8.
        channels: c, of the image: 1 grey, 3 colour.
        output: "sigmoid" (values in [0, 1]), "tanh" ([-1, 1]) or "linear".

    Raises:
        InputError: a size is not a positive integer, or s not of that form.
        UnknownNameError: an output that is not known.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        width: int = 16,
        hidden: int = 256,
        layers: int = 2,
        image_size: int = 64,
        channels: int = 3,
        output: str = "sigmoid",
    ) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, width=width, hidden=hidden, layers=layers)
        check_sizes(channels=channels)
        count = doublings(image_size)
        sizes = [width * min(_WIDEST, 1 << power) for power in reversed(range(count + 1))]
        self.mapping: nn.Sequential = _mapping([latent_dim, *[hidden] * layers])
        self.constant: nn.Parameter = nn.Parameter(torch.randn(1, sizes[0], _BASE, _BASE))
        first = _Modulated(hidden, sizes[0], sizes[0], side=_BASE)
        self.convolutions: nn.ModuleList = nn.ModuleList([first])
        for power, (before, after) in enumerate(itertools.pairwise(sizes), 1):
            side = _BASE << power
            self.convolutions.append(_Modulated(hidden, before, after, side=side, doubles=True))
            self.convolutions.append(_Modulated(hidden, after, after, side=side))
        images = (_ToImage(hidden, size, channels) for size in sizes)
        self.images: nn.ModuleList = nn.ModuleList(images)
        self.enlarge: nn.Upsample = nn.Upsample(scale_factor=2, mode="bilinear")
        self.output: nn.Module = output_layer(output)

    @property
    def styles(self) -> int:
        """How many vectors w+ has."""
        return len(self.convolutions) + 1

    def forward(self, z: Tensor) -> Tensor:
        """Images of latents."""
        w = self.mapping(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8))
        return self.synthesis(w.unsqueeze(1).expand(-1, self.styles, -1))

    def synthesis(self, styles: Tensor) -> Tensor:
        """Images of w+, (rows, styles, length of w). w is the same vector for all of them."""
        x = self.constant.expand(styles.shape[0], -1, -1, -1)
        x = self.convolutions[0](x, styles[:, 0])
        image = self.images[0](x, styles[:, 1])
        for level in range(1, len(self.images)):
            first = 2 * level - 1
            x = self.convolutions[first](x, styles[:, first])
            x = self.convolutions[first + 1](x, styles[:, first + 1])
            image = self.enlarge(image) + self.images[level](x, styles[:, first + 2])
        made: Tensor = self.output(image)
        return made


class _Modulated(nn.Module):
    """A 3x3 convolution whose input channels w scales, its output brought back to unit variance.

    The weights are one tensor for all rows: scaling the input by s, and the output by
    (sum_i s_i^2 ||W_oi||^2)^(-1/2), is the same as modulating them row by row.
    """

    noise: Tensor

    def __init__(
        self, hidden: int, before: int, after: int, *, side: int, doubles: bool = False
    ) -> None:
        super().__init__()
        self.style = _affine(hidden, before)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear") if doubles else nn.Identity()
        self.convolution = nn.Conv2d(before, after, 3, 1, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(after, 1, 1))
        self.strength = nn.Parameter(torch.full((), 0.1))
        self.register_buffer("noise", torch.randn(1, 1, side, side))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        s = self.style(w)
        energy = self.convolution.weight.square().sum((2, 3))
        scale = torch.rsqrt(functional.linear(s.square(), energy) + 1e-8)
        x = self.convolution(self.enlarge(x) * s.unsqueeze(-1).unsqueeze(-1))
        x = x * scale.unsqueeze(-1).unsqueeze(-1) + (self.bias + self.strength * self.noise)
        return functional.leaky_relu(x, _SLOPE) * 2**0.5


class _ToImage(nn.Module):
    """A modulated convolution of one pixel, its output as it comes."""

    def __init__(self, hidden: int, before: int, channels: int) -> None:
        super().__init__()
        self.style = _affine(hidden, before)
        self.convolution = nn.Conv2d(before, channels, 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        s = self.style(w)
        image: Tensor = self.convolution(x * s.unsqueeze(-1).unsqueeze(-1))
        return image


def _mapping(sizes: list[int]) -> nn.Sequential:
    stack: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        stack += [_unit(nn.Linear(before, after)), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*stack)


def _unit(layer: nn.Linear) -> nn.Linear:
    """Weights that keep the variance through a leaky ReLU."""
    nn.init.kaiming_normal_(layer.weight, _SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def _affine(hidden: int, channels: int) -> nn.Linear:
    """From w to scales that begin about one."""
    layer = nn.Linear(hidden, channels)
    nn.init.normal_(layer.weight, std=hidden**-0.5)
    nn.init.ones_(layer.bias)
    return layer

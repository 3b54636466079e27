"""The spatial GAN of Laloy et al.: a grid of latents, one image of channels.

Transposed convolutions of 5x5 and stride 2 turn a grid of (h, w) latents into 32 (h - 1) + 1 by
32 (w - 1) + 1 pixels; two dilated layers follow. No biases, ReLU before instance norm, tanh.

Source: Laloy et al. 2019, Computers & Geosciences 133:104333 (arXiv 1812.09140), after Laloy et
al. 2018 and Jetchev et al. 2016; layer for layer as in its companion code.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["GRID", "SIZE", "SpatialCritic", "SpatialGenerator", "pixels"]

GRID = (5, 3)
"""Rows and columns of latents."""

SIZE = (125, 60)
"""Rows and columns of cells between the boreholes, cut from the 129x65 that the grid makes."""

_TOP, _LEFT = 2, 3


def pixels(cells: int) -> int:
    """Pixels along an axis of so many latents.

    >>> pixels(5), pixels(3)
    (129, 65)
    """
    return 32 * (cells - 1) + 1


class SpatialGenerator(nn.Module):
    """15 latents in [-1, 1] to the share of channel in 125x60 cells, in [0, 1].

    Args:
        width: channels of the last hidden layer; the published network has 64.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        channels = (1, 8 * width, 4 * width, 2 * width, width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [
                nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, bias=False),
                nn.ReLU(),
                nn.InstanceNorm2d(after),
            ]
        layers += [
            nn.ConvTranspose2d(width, 1, 5, stride=2, padding=2, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(1, width, 5, padding=6, dilation=3, bias=False),
            nn.ReLU(),
            nn.InstanceNorm2d(width),
            nn.ConvTranspose2d(width, 1, 5, padding=10, dilation=5, bias=False),
            nn.Tanh(),
        ]
        self.main = nn.Sequential(*layers)
        self.apply(_published_start)

    def field(self, grid: Float[Tensor, "rows 1 h w"]) -> Float[Tensor, "rows 1 H W"]:
        """The whole image of any grid of latents, in [-1, 1]."""
        image: Tensor = self.main(grid)
        return image

    def forward(self, z: Float[Tensor, "rows 15"]) -> Float[Tensor, "rows 1 125 60"]:
        """The cells between the boreholes."""
        image = self.field(z.reshape(-1, 1, *GRID))
        part = image[:, :, _TOP : _TOP + SIZE[0], _LEFT : _LEFT + SIZE[1]]
        return (part + 1) / 2


class SpatialCritic(nn.Module):
    """One score for each patch of an image: as many as the grid has latents.

    Args:
        width: channels of the first layer.
        spectral: divide each weight by its largest singular value.
    """

    def __init__(self, width: int = 64, *, spectral: bool = False) -> None:
        super().__init__()
        channels = (1, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(8 * width, 1, 5, stride=2, padding=2))
        if spectral:
            layers = [
                nn.utils.parametrizations.spectral_norm(layer)
                if isinstance(layer, nn.Conv2d)
                else layer
                for layer in layers
            ]
        self.main = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "rows 1 H W"]) -> Float[Tensor, "rows 1 h w"]:
        """A score for each patch."""
        scores: Tensor = self.main(image)
        return scores


def _published_start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)

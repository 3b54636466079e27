"""Convolutional generators of 32x32 and more, and their counterparts, as plain sequences.

The layout is DCGAN's: z is projected to 4x4, and each stage doubles the side and halves the
channels. A stage is a transposed convolution, or a nearest-neighbour upsampling with a 3x3
convolution, which leaves no checkerboard.

Sources: Radford, Metz & Chintala 2016; Odena, Dumoulin & Olah, "Deconvolution and Checkerboard
Artifacts" (2016).
"""

from __future__ import annotations

import itertools

from torch import nn

from surfing.architectures.sizes import check_sizes, output_layer
from surfing.errors import InputError, UnknownNameError

__all__ = ["deep_critic", "deep_encoder", "deep_generator", "doublings"]

_BASE = 4
_WIDEST = 8
"""Channels at 4x4, in widths: deeper networks keep as many for longer."""


def deep_generator(
    *,
    latent_dim: int,
    width: int = 24,
    image_size: int = 64,
    channels: int = 3,
    upsampling: str = "transposed",
    output: str = "sigmoid",
) -> nn.Sequential:
    """DCGAN's layout: z (rows, k) -> images (rows, c, s, s).

    Linear(k, 16 channels of 4x4), then log2(s / 4) stages that double the side, w channels before
    the last and at most 8 w at the first; all but the last are followed by batch norm and ReLU.

    Args:
        latent_dim: k.
        width: w.
        image_size: s: 4 times a power of two, at least 8.
        channels: c, of the image: 1 grey, 3 colour.
        upsampling: "transposed" (convolutions of 4x4) or "nearest" (then convolutions of 3x3).
        output: "sigmoid" (values in [0, 1]), "tanh" ([-1, 1]) or "linear".

    Raises:
        InputError: a size is not a positive integer, or s not of that form.
        UnknownNameError: an output or an upsampling that is not known.
    """
    check_sizes(latent_dim=latent_dim, width=width, channels=channels)
    sizes = _channels(width, doublings(image_size))
    features = sizes[0] * _BASE**2
    stack: list[nn.Module] = [
        nn.Linear(latent_dim, features),
        nn.Unflatten(1, (sizes[0], _BASE, _BASE)),
        nn.BatchNorm2d(sizes[0]),
        nn.ReLU(),
    ]
    for before, after in itertools.pairwise(sizes):
        stack += [*_doubled(before, after, upsampling), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*stack, *_doubled(sizes[-1], channels, upsampling), output_layer(output))


def deep_critic(
    *, width: int = 24, image_size: int = 64, batch_norm: bool = False, channels: int = 3
) -> nn.Sequential:
    """Images (rows, c, s, s) -> one unbounded number per row (rows, 1).

    Strided convolutions mirror the generator. Batch norm suits a DCGAN's discriminator; a
    gradient penalty is a property of single rows, so a WGAN-GP's critic has none.

    Raises:
        InputError: a size is not a positive integer, or s not 4 times a power of two.
    """
    return _mirror(1, width, image_size, batch_norm=batch_norm, channels=channels)


def deep_encoder(
    *, latent_dim: int, width: int = 24, image_size: int = 64, channels: int = 3
) -> nn.Sequential:
    """The VAE's encoder: images (rows, c, s, s) -> mean and log variance side by side (rows, 2k).

    Raises:
        InputError: a size is not a positive integer, or s not 4 times a power of two.
    """
    check_sizes(latent_dim=latent_dim)
    return _mirror(2 * latent_dim, width, image_size, batch_norm=True, channels=channels)


def doublings(image_size: int) -> int:
    """How often 4x4 is doubled to reach s.

    >>> doublings(64)
    4

    Raises:
        InputError: s is not 4 times a power of two.
    """
    check_sizes(image_size=image_size)
    count = (image_size // _BASE).bit_length() - 1
    if count < 1 or _BASE << count != image_size:
        raise InputError(
            f"image_size: a deep network doubles 4x4 to 8, 16, 32, 64, 128 and so on, got "
            f"{image_size}; choose one of these, or network 'conv', which takes any multiple of "
            "four."
        )
    return count


def _channels(width: int, count: int) -> list[int]:
    """Of the feature maps from 4x4 on."""
    return [width * min(_WIDEST, 1 << power) for power in reversed(range(count))]


def _doubled(before: int, after: int, upsampling: str) -> list[nn.Module]:
    """Layers that double the side."""
    if upsampling == "transposed":
        return [nn.ConvTranspose2d(before, after, 4, 2, 1)]
    if upsampling == "nearest":
        return [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1)]
    raise UnknownNameError("upsampling", str(upsampling), ["transposed", "nearest"])


def _mirror(
    outputs: int, width: int, image_size: int, *, batch_norm: bool, channels: int
) -> nn.Sequential:
    check_sizes(width=width, channels=channels)
    sizes = _channels(width, doublings(image_size))[::-1]
    stack: list[nn.Module] = [nn.Conv2d(channels, sizes[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in itertools.pairwise(sizes):
        norm = [nn.BatchNorm2d(after)] if batch_norm else []
        stack += [nn.Conv2d(before, after, 4, 2, 1), *norm, nn.LeakyReLU(0.2)]
    return nn.Sequential(*stack, nn.Flatten(), nn.Linear(sizes[-1] * _BASE**2, outputs))

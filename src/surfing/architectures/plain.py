"""Generators and their counterparts for small images, each a plain ``nn.Sequential``.

The convolutional generator has the layout of InfoGAN for 28x28 images, which the paper's VAE,
DCGAN, WGAN and WGAN-GP share: two fully connected layers, two transposed convolutions, batch
norm between them. Here its width is a parameter, and s may be any multiple of four.
"""

from __future__ import annotations

import itertools
import math

from torch import nn

from surfing.architectures.sizes import check_sizes, output_layer
from surfing.errors import InputError

__all__ = [
    "conv_critic",
    "conv_encoder",
    "conv_generator",
    "mlp_critic",
    "mlp_encoder",
    "mlp_generator",
]


def conv_generator(
    *,
    latent_dim: int,
    width: int = 32,
    hidden: int = 256,
    image_size: int = 28,
    output: str = "sigmoid",
    channels: int = 1,
) -> nn.Sequential:
    """The InfoGAN layout: z (rows, k) -> images (rows, c, s, s).

    Linear(k, h), Linear(h, 2w (s/4)^2), ConvT(2w, w), ConvT(w, c): each but the last is followed
    by batch norm and ReLU. InfoGAN itself has w = 64, h = 1024.

    Args:
        latent_dim: k.
        width: w, channels before the last layer.
        hidden: h, units of the first layer.
        image_size: s, a multiple of four.
        output: "sigmoid" (values in [0, 1]), "tanh" ([-1, 1]) or "linear".
        channels: c, of the image: 1 grey, 3 colour.

    Raises:
        InputError: a size is not a positive integer, or s not a multiple of four.
        UnknownNameError: an output that is not known.
    """
    check_sizes(latent_dim=latent_dim, width=width, hidden=hidden)
    check_sizes(image_size=image_size, channels=channels)
    base = _quarter(image_size)
    features = 2 * width * base * base
    return nn.Sequential(
        nn.Linear(latent_dim, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, features),
        nn.BatchNorm1d(features),
        nn.ReLU(),
        nn.Unflatten(1, (2 * width, base, base)),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, 2, 1),
        output_layer(output),
    )


def mlp_generator(
    *,
    latent_dim: int,
    hidden: int = 256,
    layers: int = 2,
    image_size: int = 28,
    output: str = "sigmoid",
    channels: int = 1,
) -> nn.Sequential:
    """Fully connected ReLU layers without batch norm: z (rows, k) -> images (rows, c, s, s).

    Before its output function it is piecewise linear in z, and nothing in it depends on a batch.

    Args:
        latent_dim: k.
        hidden: units of every hidden layer.
        layers: how many hidden layers.
        image_size: s.
        output: "sigmoid" (values in [0, 1]), "tanh" ([-1, 1]) or "linear" (ReLU regions exact).
        channels: c, of the image.

    Raises:
        InputError: a size is not a positive integer.
        UnknownNameError: an output that is not known.
    """
    check_sizes(latent_dim=latent_dim, hidden=hidden, layers=layers)
    check_sizes(image_size=image_size, channels=channels)
    sizes = [latent_dim, *[hidden] * layers]
    stack: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        stack += [nn.Linear(before, after), nn.ReLU()]
    shape = (channels, image_size, image_size)
    stack += [nn.Linear(hidden, math.prod(shape)), nn.Unflatten(1, shape)]
    return nn.Sequential(*stack, output_layer(output))


def conv_critic(
    *,
    width: int = 32,
    hidden: int = 256,
    image_size: int = 28,
    batch_norm: bool = False,
    channels: int = 1,
) -> nn.Sequential:
    """Images (rows, c, s, s) -> one unbounded number per row (rows, 1).

    Strided convolutions mirror the generator. Batch norm suits a DCGAN's discriminator; a
    gradient penalty is a property of single rows, so a WGAN-GP's critic has none.

    Raises:
        InputError: a size is not a positive integer, or s not a multiple of four.
    """
    check_sizes(width=width, hidden=hidden, image_size=image_size, channels=channels)
    features = 2 * width * _quarter(image_size) ** 2
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        *([nn.BatchNorm2d(2 * width)] if batch_norm else []),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(features, hidden),
        *([nn.BatchNorm1d(hidden)] if batch_norm else []),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, 1),
    )


def mlp_critic(
    *, hidden: int = 256, layers: int = 2, image_size: int = 28, channels: int = 1
) -> nn.Sequential:
    """Fully connected: images (rows, c, s, s) -> (rows, 1).

    Raises:
        InputError: a size is not a positive integer.
    """
    return _mlp_head(1, (channels, image_size), hidden=hidden, layers=layers)


def conv_encoder(
    *,
    latent_dim: int,
    width: int = 32,
    hidden: int = 256,
    image_size: int = 28,
    channels: int = 1,
) -> nn.Sequential:
    """The VAE's encoder: images (rows, c, s, s) -> mean and log variance side by side (rows, 2k).

    Raises:
        InputError: a size is not a positive integer, or s not a multiple of four.
    """
    check_sizes(latent_dim=latent_dim)
    critic = conv_critic(
        width=width, hidden=hidden, image_size=image_size, batch_norm=True, channels=channels
    )
    return nn.Sequential(*list(critic)[:-1], nn.Linear(hidden, 2 * latent_dim))


def mlp_encoder(
    *,
    latent_dim: int,
    hidden: int = 256,
    layers: int = 2,
    image_size: int = 28,
    channels: int = 1,
) -> nn.Sequential:
    """Fully connected: images (rows, c, s, s) -> mean and log variance side by side (rows, 2k).

    Raises:
        InputError: a size is not a positive integer.
    """
    check_sizes(latent_dim=latent_dim)
    return _mlp_head(2 * latent_dim, (channels, image_size), hidden=hidden, layers=layers)


def _mlp_head(outputs: int, image: tuple[int, int], *, hidden: int, layers: int) -> nn.Sequential:
    channels, image_size = image
    check_sizes(hidden=hidden, layers=layers, image_size=image_size, channels=channels)
    sizes = [channels * image_size**2, *[hidden] * layers]
    stack: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        stack += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*stack, nn.Linear(hidden, outputs))


def _quarter(image_size: int) -> int:
    if image_size % 4:
        raise InputError(
            f"image_size: a convolutional network needs a multiple of four, got {image_size}; "
            "choose one (28, 16, 8), or an mlp, which takes any."
        )
    return image_size // 4

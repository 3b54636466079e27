"""Generators and their counterparts for small grey images, each a plain ``nn.Sequential``.

The convolutional generator has the layout of InfoGAN for 28x28 images, which the paper's VAE,
DCGAN, WGAN and WGAN-GP share: two fully connected layers, two transposed convolutions, batch
norm between them. Here its width is a parameter, and s may be any multiple of four.

A manifest names an architecture and its arguments, ``{"name": "conv", "arguments": {...}}``, and
:func:`build_generator` rebuilds it. It never names code to import.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from surfing import check
from surfing.errors import InputError, UnknownNameError
from surfing.generator import Generator, State

__all__ = [
    "build_generator",
    "conv_critic",
    "conv_encoder",
    "conv_generator",
    "generator_from_manifest",
    "generator_names",
    "mlp_critic",
    "mlp_encoder",
    "mlp_generator",
]

# Manifests come from strangers: products of four sizes stay within 64 bits, stacks within seconds.
_LARGEST = 1 << 15
_MOST_LAYERS = 1000

_OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
}


def conv_generator(
    *,
    latent_dim: int,
    width: int = 32,
    hidden: int = 256,
    image_size: int = 28,
    output: str = "sigmoid",
) -> nn.Sequential:
    """The InfoGAN layout: z (rows, k) -> images (rows, 1, s, s).

    Linear(k, h), Linear(h, 2w (s/4)^2), ConvT(2w, w), ConvT(w, 1): each but the last is followed
    by batch norm and ReLU. InfoGAN itself has w = 64, h = 1024.

    Args:
        latent_dim: k.
        width: w, channels before the last layer.
        hidden: h, units of the first layer.
        image_size: s, a multiple of four.
        output: "sigmoid" (values in [0, 1]), "tanh" ([-1, 1]) or "linear".

    Raises:
        InputError: a size is not a positive integer, or s not a multiple of four.
        UnknownNameError: an output that nobody knows.
    """
    _check_sizes(latent_dim=latent_dim, width=width, hidden=hidden, image_size=image_size)
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
        nn.ConvTranspose2d(width, 1, 4, 2, 1),
        _output(output),
    )


def mlp_generator(
    *,
    latent_dim: int,
    hidden: int = 256,
    layers: int = 2,
    image_size: int = 28,
    output: str = "sigmoid",
) -> nn.Sequential:
    """Fully connected ReLU layers without batch norm: z (rows, k) -> images (rows, 1, s, s).

    Before its output function it is piecewise linear in z, and nothing in it depends on a batch.

    Args:
        latent_dim: k.
        hidden: units of every hidden layer.
        layers: how many hidden layers.
        image_size: s.
        output: "sigmoid" (values in [0, 1]), "tanh" ([-1, 1]) or "linear" (ReLU regions exact).

    Raises:
        InputError: a size is not a positive integer.
        UnknownNameError: an output that nobody knows.
    """
    _check_sizes(latent_dim=latent_dim, hidden=hidden, layers=layers, image_size=image_size)
    sizes = [latent_dim, *[hidden] * layers]
    stack: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        stack += [nn.Linear(before, after), nn.ReLU()]
    stack += [nn.Linear(hidden, image_size**2), nn.Unflatten(1, (1, image_size, image_size))]
    return nn.Sequential(*stack, _output(output))


def conv_critic(
    *, width: int = 32, hidden: int = 256, image_size: int = 28, batch_norm: bool = False
) -> nn.Sequential:
    """Images (rows, 1, s, s) -> one unbounded number a row (rows, 1).

    Strided convolutions mirror the generator. Batch norm suits a DCGAN's discriminator; a
    gradient penalty is a property of single rows, so a WGAN-GP's critic has none.

    Raises:
        InputError: a size is not a positive integer, or s not a multiple of four.
    """
    _check_sizes(width=width, hidden=hidden, image_size=image_size)
    features = 2 * width * _quarter(image_size) ** 2
    return nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1),
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


def mlp_critic(*, hidden: int = 256, layers: int = 2, image_size: int = 28) -> nn.Sequential:
    """Fully connected: images (rows, 1, s, s) -> (rows, 1).

    Raises:
        InputError: a size is not a positive integer.
    """
    return _mlp_head(1, hidden=hidden, layers=layers, image_size=image_size)


def conv_encoder(
    *, latent_dim: int, width: int = 32, hidden: int = 256, image_size: int = 28
) -> nn.Sequential:
    """The VAE's encoder: images (rows, 1, s, s) -> mean and log variance side by side (rows, 2k).

    Raises:
        InputError: a size is not a positive integer, or s not a multiple of four.
    """
    _check_sizes(latent_dim=latent_dim)
    critic = conv_critic(width=width, hidden=hidden, image_size=image_size, batch_norm=True)
    return nn.Sequential(*list(critic)[:-1], nn.Linear(hidden, 2 * latent_dim))


def mlp_encoder(
    *, latent_dim: int, hidden: int = 256, layers: int = 2, image_size: int = 28
) -> nn.Sequential:
    """Fully connected: images (rows, 1, s, s) -> mean and log variance side by side (rows, 2k).

    Raises:
        InputError: a size is not a positive integer.
    """
    _check_sizes(latent_dim=latent_dim)
    return _mlp_head(2 * latent_dim, hidden=hidden, layers=layers, image_size=image_size)


_GENERATORS: Mapping[str, Callable[..., nn.Sequential]] = {
    "conv": conv_generator,
    "mlp": mlp_generator,
}


def generator_names() -> list[str]:
    """The names that :func:`build_generator` knows.

    >>> generator_names()
    ['conv', 'mlp']
    """
    return sorted(_GENERATORS)


def build_generator(name: str, **arguments: Any) -> nn.Sequential:
    """A fresh generator by name.

    >>> import torch
    >>> build_generator("conv", latent_dim=5, width=4, hidden=8)(torch.zeros(3, 5)).shape
    torch.Size([3, 1, 28, 28])

    Args:
        name: one of :func:`generator_names`.
        **arguments: what the named function takes.

    Raises:
        UnknownNameError: a name, or an output, that nobody knows.
        InputError: an argument is missing, unknown or out of range.
    """
    if name not in _GENERATORS:
        raise UnknownNameError("architecture", str(name), generator_names())
    signature = inspect.signature(_GENERATORS[name])
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InputError(
            f"architecture {name!r}: {error}; it takes {', '.join(signature.parameters)}."
        ) from error
    return _GENERATORS[name](**arguments)


def generator_from_manifest(
    architecture: Mapping[str, Any], state: State | None = None
) -> nn.Sequential:
    """The generator that a manifest's ``architecture`` entry describes.

    Args:
        architecture: ``{"name": ..., "arguments": {...}}``.
        state: a checkpoint that it has to fit, and whose weights it gets; random weights where left
            out, drawn from torch's global random numbers as by any module. A manifest may claim
            layers of any size; with this they are compared, by shape alone, before memory is taken
            for them.

    Raises:
        InputError: the entry is not of that form, or its arguments don't fit.
        GeneratorError: what it describes does not fit the checkpoint.
        UnknownNameError: this version doesn't know the name.
    """
    arguments = architecture.get("arguments", {})
    if not isinstance(architecture.get("name"), str) or not isinstance(arguments, Mapping):
        raise InputError(
            'architecture: expected {"name": a string, "arguments": {...}}, got '
            f"{dict(architecture)}."
        )
    if state is None:
        return build_generator(architecture["name"], **arguments)
    with torch.device("meta"):
        claimed = Generator(build_generator(architecture["name"], **arguments))
    claimed.check(state)
    with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten at once
        made = build_generator(architecture["name"], **arguments)
    made.load_state_dict(claimed.fitted(state))
    return made


def _mlp_head(outputs: int, *, hidden: int, layers: int, image_size: int) -> nn.Sequential:
    _check_sizes(hidden=hidden, layers=layers, image_size=image_size)
    sizes = [image_size**2, *[hidden] * layers]
    stack: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        stack += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*stack, nn.Linear(hidden, outputs))


def _output(name: str) -> nn.Module:
    if name not in _OUTPUTS:
        raise UnknownNameError("output", str(name), list(_OUTPUTS))
    return _OUTPUTS[name]()


def _quarter(image_size: int) -> int:
    if image_size % 4:
        raise InputError(
            f"image_size: a convolutional network needs a multiple of four, got {image_size}; "
            "choose one (28, 16, 8), or an mlp, which takes any."
        )
    return image_size // 4


def _check_sizes(**sizes: object) -> None:
    for name, size in sizes.items():
        most = _MOST_LAYERS if name == "layers" else _LARGEST
        check.integer(name, size, low=1, high=most)

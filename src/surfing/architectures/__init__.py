"""Generators and their counterparts: for small images, for large ones, and style-based.

A manifest names an architecture and its arguments, ``{"name": "conv", "arguments": {...}}``, and
:func:`build_generator` rebuilds it. It never names code to import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from surfing.architectures.deep import deep_critic, deep_encoder, deep_generator
from surfing.architectures.plain import (
    conv_critic,
    conv_encoder,
    conv_generator,
    mlp_critic,
    mlp_encoder,
    mlp_generator,
)
from surfing.architectures.style import StyleGenerator
from surfing.errors import InputError, UnknownNameError
from surfing.generator import Generator, State

__all__ = [
    "StyleGenerator",
    "build_generator",
    "conv_critic",
    "conv_encoder",
    "conv_generator",
    "deep_critic",
    "deep_encoder",
    "deep_generator",
    "generator_from_manifest",
    "generator_names",
    "mlp_critic",
    "mlp_encoder",
    "mlp_generator",
]

_GENERATORS: Mapping[str, Callable[..., nn.Module]] = {
    "conv": conv_generator,
    "deep": deep_generator,
    "mlp": mlp_generator,
    "style": StyleGenerator,
}


def generator_names() -> list[str]:
    """The names that :func:`build_generator` knows.

    >>> generator_names()
    ['conv', 'deep', 'mlp', 'style']
    """
    return sorted(_GENERATORS)


def build_generator(name: str, **arguments: Any) -> nn.Module:
    """A fresh generator by name.

    >>> import torch
    >>> build_generator("conv", latent_dim=5, width=4, hidden=8)(torch.zeros(3, 5)).shape
    torch.Size([3, 1, 28, 28])

    Args:
        name: one of :func:`generator_names`.
        **arguments: what the named function takes.

    Raises:
        UnknownNameError: a name, or an output, that is not known.
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
) -> nn.Module:
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

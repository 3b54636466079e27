"""What every architecture checks: sizes that are sizes, an output that is known."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from surfing import check
from surfing.errors import UnknownNameError

__all__ = ["check_sizes", "output_layer"]

# Manifests come from strangers: products of four sizes stay within 64 bits, stacks within seconds.
_LARGEST = 1 << 15
_MOST_LAYERS = 1000

_OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
}


def output_layer(name: str) -> nn.Module:
    """The last layer, by name."""
    if name not in _OUTPUTS:
        raise UnknownNameError("output", str(name), list(_OUTPUTS))
    return _OUTPUTS[name]()


def check_sizes(**sizes: object) -> None:
    """Raise an InputError that names the first size that is none."""
    for name, size in sizes.items():
        most = _MOST_LAYERS if name == "layers" else _LARGEST
        check.integer(name, size, low=1, high=most)

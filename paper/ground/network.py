"""A zoo generator in evaluation mode, batch norm folded into the layer before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Folded"]


class Folded:
    """z -> G_theta(z), flattened, for one theta at a time.

    Its weights lie where they lie: another theta is copied over them, so that a recorded CUDA
    graph goes on with it. Half of the operations of the module are gone.

    Args:
        module: an nn.Sequential of the zoo (linear or transposed convolutions, batch norm, ReLU).
        state: the first theta; its device is the network's.
    """

    def __init__(self, module: nn.Sequential, state: Mapping[str, Tensor]) -> None:
        self.layers = list(module.named_children())
        self.weights: dict[str, Tensor] = {}
        self.load(state)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take another theta."""
        for name, value in self._folded(state).items():
            if name in self.weights:
                self.weights[name].copy_(value)
            else:
                self.weights[name] = value.clone()

    def __call__(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows n"]:
        """Signals, differentiable in z."""
        x = z
        for name, layer in self.layers:
            if isinstance(layer, nn.Linear):
                x = F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
            elif isinstance(layer, nn.ConvTranspose2d):
                weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
                padding: Any = layer.padding  # of a transposed convolution never a word
                x = F.conv_transpose2d(x, weight, bias, layer.stride, padding)
            elif not isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                x = layer(x)
        return x.flatten(1)

    def _folded(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        folded: dict[str, Tensor] = {}
        before = ""
        for name, layer in self.layers:
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
                before = name
                folded[f"{name}.weight"] = state[f"{name}.weight"]
                bias = state.get(f"{name}.bias")
                outputs = layer.weight.shape[0 if isinstance(layer, nn.Linear) else 1]
                zeros = folded[f"{name}.weight"].new_zeros(outputs)
                folded[f"{name}.bias"] = zeros if bias is None else bias
            elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                variance = state[f"{name}.running_var"] + layer.eps
                scale = state[f"{name}.weight"] / variance.sqrt()
                shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
                weight = folded[f"{before}.weight"]
                # A transposed convolution keeps its outputs in the second axis.
                shape = (-1, 1) if weight.ndim == 2 else (1, -1, 1, 1)
                folded[f"{before}.weight"] = weight * scale.view(shape)
                folded[f"{before}.bias"] = folded[f"{before}.bias"] * scale + shift
        return folded

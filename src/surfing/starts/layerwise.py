"""A start for dense ReLU networks: undo the layers one by one, by least squares.

Where a layer's output is known, its input solves a linear system: a ReLU that is on passes its
pre-activation on, a leaky ReLU always does, a sigmoid or tanh at the end is inverted. So from the
signal back to z every layer is one least-squares problem. A ReLU that is off only says that its
pre-activation was not positive; where the solution violates that, it is asked for in a further
round. With enough ReLUs on at each layer and no noise the latent is exact; else it is a start.

Source: Lei, Jalal, Dhillon & Dimakis, "Inverting deep generative models, one layer at a time",
NeurIPS 2019, who solve a linear program at each layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from surfing.errors import InputError
from surfing.generator import State, unwrap

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from surfing.problem.model import ForwardModel

__all__ = ["DenseLayer", "dense_layers", "layerwise", "readable"]

_THROUGH = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)
_RESHAPES = ("view", "reshape", "flatten", "unflatten")


@dataclass(frozen=True)
class DenseLayer:
    """x = activation(W h + b).

    Args:
        weight: W, (outputs, inputs).
        bias: b; zeros where the layer has none.
        activation: "relu", "leaky", "sigmoid", "tanh" or "linear".
        slope: on the negative side, of "leaky" alone.
    """

    weight: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, " outputs"]
    activation: str = "linear"
    slope: float = 0.0


def dense_layers(module: nn.Module, state: State) -> list[DenseLayer] | None:
    """Read a chain of Linear, BatchNorm1d (in eval mode, folded) and activations.

    Args:
        module: the generator; only its structure is used.
        state: its parameters and buffers.

    Returns:
        The layers from latent to signal; None where the module is anything else, as a sigmoid
        between two layers, a branch, a convolution, or a ReLU network without a ReLU.
    """
    try:
        traced = fx.symbolic_trace(nn.Sequential(unwrap(module)))
    except Exception:
        # Tracing runs the user's forward on proxies: anything may come out of it, and each
        # failure means the same, that the layers can't be read.
        return None
    layers: list[DenseLayer] = []
    for node in traced.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if len(node.all_input_nodes) != 1 or not _extend(layers, node, traced, state):
            return None
    inside = all(layer.activation in ("relu", "leaky") for layer in layers[:-1])
    kinked = any(layer.activation in ("relu", "leaky") for layer in layers)
    return layers if inside and kinked else None


def _extend(layers: list[DenseLayer], node: fx.Node, traced: nn.Module, state: State) -> bool:
    """Add what a node does to the layers; whether it was understood."""
    target: Any = node.target
    if node.op == "call_method" and target in _RESHAPES:
        return True
    layer = traced.get_submodule(str(target)) if node.op == "call_module" else None
    if isinstance(layer, _THROUGH):
        return True
    # The container adds "0." in front of the names.
    name = str(target).partition(".")[2]
    prefix = f"{name}." if name else ""
    if type(layer) is nn.Linear and f"{prefix}weight" in state:
        weight = state[f"{prefix}weight"]
        bias = state.get(f"{prefix}bias")
        layers.append(DenseLayer(weight, weight.new_zeros(len(weight)) if bias is None else bias))
        return True
    if not layers or layers[-1].activation != "linear":
        return False
    if type(layer) is nn.BatchNorm1d and f"{prefix}running_mean" in state:
        layers[-1] = _folded(layers[-1], layer, state, prefix)
        return True
    found = _activation(layer, target)
    if found is None:
        return False
    layers[-1] = DenseLayer(layers[-1].weight, layers[-1].bias, *found)
    return True


def _folded(dense: DenseLayer, norm: nn.BatchNorm1d, state: State, prefix: str) -> DenseLayer:
    mean, variance = state[f"{prefix}running_mean"], state[f"{prefix}running_var"]
    scale = state.get(f"{prefix}weight", torch.ones_like(mean)) / (variance + norm.eps).sqrt()
    shift = state.get(f"{prefix}bias", torch.zeros_like(mean))
    return DenseLayer(dense.weight * scale[:, None], (dense.bias - mean) * scale + shift)


def _activation(layer: nn.Module | None, target: Any) -> tuple[str, float] | None:
    if type(layer) is nn.ReLU or target in (functional.relu, torch.relu, "relu"):
        return "relu", 0.0
    if type(layer) is nn.LeakyReLU and 0 < layer.negative_slope < 1:
        return "leaky", layer.negative_slope
    if type(layer) is nn.Sigmoid or target in (torch.sigmoid, functional.sigmoid, "sigmoid"):
        return "sigmoid", 0.0
    if type(layer) is nn.Tanh or target in (torch.tanh, functional.tanh, "tanh"):
        return "tanh", 0.0
    return None


def readable(model: ForwardModel) -> list[DenseLayer] | None:
    """The layers of a model whose every measurement is an entry of a dense network's signal.

    None where the generator is something else, or takes inputs by target, or where an operator
    stands behind it.
    """
    if model.required or model.operator.name != "identity":
        return None
    layers = dense_layers(model.architecture.generator.module, model.last)
    if layers is None or not all(bool(torch.isfinite(layer.weight).all()) for layer in layers):
        return None
    return layers


def layerwise(
    layers: Sequence[DenseLayer],
    y: Float[Tensor, "targets m"],
    *,
    matrix: Float[Tensor, "m outputs"] | None = None,
    counts: Bool[Tensor, "targets_or_1 m"] | None = None,
    rounds: int = 4,
) -> Float[Tensor, "targets k"]:
    """Latents whose layers, one at a time, come closest to the measurements.

    Args:
        layers: from latent to signal, as :func:`dense_layers` reads them.
        y: measurements, flattened.
        matrix: a linear operator, where the last layer has no activation; None for the identity.
        counts: which measurements say something; all where left out.
        rounds: least-squares solves a layer with ReLUs, each with the violated ones added.

    Returns:
        One latent for each target, in y's precision; finite where y is.

    Raises:
        InputError: sizes that don't fit, or a linear operator after an activation.

    >>> layers = [DenseLayer(torch.tensor([[2.0], [-2.0]]), torch.zeros(2), "relu")]
    >>> layerwise(layers, torch.tensor([[6.0, 0.0], [0.0, 4.0]])).flatten().tolist()
    [3.0, -2.0]
    """
    _check(layers, y, matrix)
    known = y.double()
    for index in range(len(layers) - 1, -1, -1):
        layer = layers[index]
        weight, bias = layer.weight.double(), layer.bias.double()
        if matrix is not None and index == len(layers) - 1:
            weight, bias = matrix.double() @ weight, matrix.double() @ bias
        wanted, on = _preactivations(layer, known)
        # The input of this layer is the output of the one before: ReLUs don't give negatives.
        floor = index > 0 and layers[index - 1].activation == "relu"
        outermost = index == len(layers) - 1
        known = _solve(weight, wanted - bias, on, counts if outermost else None, rounds=rounds)
        known = known.clamp_min(0) if floor else known
    return known.to(y.dtype)


def _check(
    layers: Sequence[DenseLayer], y: Float[Tensor, "targets m"], matrix: Tensor | None
) -> None:
    if not layers:
        raise InputError("layers: expected at least one, got none.")
    outputs = len(layers[-1].weight)
    if matrix is not None and layers[-1].activation != "linear":
        raise InputError(
            f"matrix: expected None where the last layer ends in {layers[-1].activation}; a "
            "linear operator can be undone together with a linear layer only."
        )
    if matrix is not None and matrix.shape[1] != outputs:
        raise InputError(f"matrix: expected {outputs} columns, got {matrix.shape[1]}.")
    length = outputs if matrix is None else len(matrix)
    if y.ndim != 2 or y.shape[1] != length:
        raise InputError(f"y: expected (targets, {length}), got {tuple(y.shape)}.")


def _preactivations(
    layer: DenseLayer, x: Float[Tensor, "targets outputs"]
) -> tuple[Float[Tensor, "targets outputs"], Bool[Tensor, "targets outputs"] | None]:
    """W h + b as far as x tells it, and where it does; None for everywhere."""
    if layer.activation == "relu":
        # A share of the largest: what rounding leaves of a zero is none.
        least = 1e-6 * x.abs().amax(1, keepdim=True)
        return x.clamp_min(0), x > least
    if layer.activation == "leaky":
        return torch.where(x >= 0, x, x / layer.slope), None
    if layer.activation == "sigmoid":
        # Saturated pixels tell little: single precision has no more than 1e-6 there.
        return torch.logit(x, eps=1e-6), None
    if layer.activation == "tanh":
        return torch.atanh(x.clamp(-1 + 1e-6, 1 - 1e-6)), None
    return x, None


def _solve(
    weight: Float[Tensor, "outputs inputs"],
    wanted: Float[Tensor, "targets outputs"],
    on: Bool[Tensor, "targets outputs"] | None,
    counts: Bool[Tensor, "targets_or_1 outputs"] | None,
    *,
    rounds: int,
) -> Float[Tensor, "targets inputs"]:
    """argmin ||W h - wanted|| over the outputs that are on; the others at most at `wanted`."""
    if counts is not None:
        seen = counts.expand(len(wanted), -1)
        on = seen if on is None else on & seen
    if on is None:
        normal = weight.T @ weight
        return _least_norm(normal[None], wanted @ weight)
    rows = on
    inputs = wanted.new_zeros(len(wanted), weight.shape[1])
    for _ in range(max(1, rounds)):
        weighed = rows.to(weight.dtype)
        normal = torch.einsum("to,oi,oj->tij", weighed, weight, weight)
        inputs = _least_norm(normal, (weighed * wanted) @ weight)
        excess = inputs @ weight.T - wanted
        least = 1e-9 * wanted.abs().amax(1, keepdim=True)
        violated = ~on & (excess > least)
        if counts is not None:
            violated &= counts
        if not bool((violated & ~rows).any()):
            break
        rows = on | violated
    return inputs


def _least_norm(
    normal: Float[Tensor, "targets inputs inputs"], right: Float[Tensor, "targets inputs"]
) -> Float[Tensor, "targets inputs"]:
    """The shortest solution of normal h = right; directions without information stay zero."""
    values, vectors = torch.linalg.eigh(normal)
    seen = values > 1e-11 * values[..., -1:].clamp_min(torch.finfo(values.dtype).tiny)
    inverse = torch.where(seen, 1 / values.clamp_min(torch.finfo(values.dtype).tiny), 0.0)
    turned = (vectors.mT @ right[..., None])[..., 0]
    solution: Tensor = (vectors @ (inverse * turned)[..., None])[..., 0]
    return solution

"""The Jacobian engine: G_theta(z) and its k tangents in one structured pass.

A traced module becomes a list of rules, each of which knows its value and its tangent. Against
``vmap(jvp)`` this saves what the structure gives away:

- batch norm is folded into the affine layer before it, once a checkpoint (parameters stay inputs:
  nothing is compiled, so nothing is recompiled when the checkpoint changes);
- the tangents of the first affine layer are its weight, the same for every row: no work at all;
- a ReLU's derivative is one mask for all k tangents;
- transposed convolutions run channels-last or as one product a tap, whichever is cheaper.

A module that can't be traced, or holds a layer without a rule, is left to ``torch.func``
(see :mod:`surfing.problem.forward`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from surfing.problem.affine import (
    Affine,
    Convolution,
    Dense,
    Scale,
    TransposedConvolution,
    aligned,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.generator import State

__all__ = ["BoundProgram", "Program"]

# Layers that are linear without parameters: value and tangents go through alike.
_LINEAR = (
    *(nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d, nn.PixelShuffle),
    *(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.AvgPool2d, nn.ZeroPad2d),
)
_LINEAR_FUNCTIONS: frozenset[Any] = frozenset(
    {torch.flatten, torch.reshape, operator.getitem, F.pixel_shuffle, F.interpolate, getattr}
)
_LINEAR_METHODS = frozenset({"view", "reshape", "flatten", "unflatten", "size", "contiguous"})


def _relu(x: Tensor) -> tuple[Tensor, Tensor]:
    return F.relu(x), (x > 0).to(x.dtype)


def _tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.tanh(x)
    return value, 1 - value.square()


def _sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.sigmoid(x)
    return value, value * (1 - value)


def _softplus(layer: nn.Softplus) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def rule(x: Tensor) -> tuple[Tensor, Tensor]:
        scaled = layer.beta * x
        slope = torch.where(scaled > layer.threshold, 1.0, torch.sigmoid(scaled))
        return layer(x), slope

    return rule


def _leaky(slope: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def rule(x: Tensor) -> tuple[Tensor, Tensor]:
        derivative = torch.where(x > 0, torch.ones_like(x), torch.full_like(x, slope))
        return x * derivative, derivative

    return rule


def _pointwise(target: Any) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
    """The rule of an element-wise function: x -> (value, derivative)."""
    # Exact types, here and elsewhere: a subclass may compute something else.
    kind = type(target)
    if kind is nn.LeakyReLU:
        return _leaky(target.negative_slope)
    if kind is nn.Softplus:
        return _softplus(target)
    if kind is nn.ReLU or target in (torch.relu, F.relu, "relu"):
        return _relu
    if kind is nn.Tanh or target in (torch.tanh, F.tanh, "tanh"):
        return _tanh
    if kind is nn.Sigmoid or target in (torch.sigmoid, F.sigmoid, "sigmoid"):
        return _sigmoid
    return None


@dataclass(frozen=True)
class _Node:
    """One operation: where its inputs are, and what it is."""

    kind: str  # "affine", "norm", "pointwise", "linear", "add"
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    target: Any
    name: str = ""

    @property
    def inputs(self) -> list[str]:
        """The operations that this one reads, also inside tuples and keywords."""
        names: list[str] = []
        fx.node.map_arg((self.args, self.keywords), lambda n: names.append(n.name))
        return names


class Program:
    """The rules of one architecture.

    Args:
        module: in eval mode; only its structure is used.
    """

    def __init__(self, nodes: dict[str, _Node], source: str, output: str) -> None:
        self._nodes = nodes
        self._source = source
        self._output = output

    @classmethod
    def trace(cls, module: nn.Module) -> Program | None:
        """Read the structure; None where there is control flow or a layer without a rule."""
        if not _plain(module):
            return None
        try:
            graph = fx.symbolic_trace(module).graph
        except Exception:
            # Tracing runs the user's forward on proxies: anything may come out of it, and each
            # case means the same: this architecture is not for the structured engine.
            return None
        modules = dict(module.named_modules())
        nodes: dict[str, _Node] = {}
        source = output = ""
        for node in graph.nodes:
            if node.op == "placeholder":
                if source:
                    return None
                source = node.name
            elif node.op == "output":
                if not isinstance(node.args[0], fx.Node):
                    return None
                output = node.args[0].name
            else:
                rule = _read(node, modules)
                if rule is None:
                    return None
                nodes[node.name] = rule
        return cls(_fold(nodes, output), source, output)

    def bind(
        self, state: State, *, dtype: torch.dtype | None = None, batch_invariant: bool = False
    ) -> BoundProgram:
        """Fold one checkpoint into the rules; nothing of it is recompiled at the next.

        Args:
            state: theta.
            dtype: of the computation; the checkpoint's where left out.
            batch_invariant: sum every row in the same order wherever it lies in the batch.
        """
        layers: dict[str, Affine] = {}
        for name, node in self._nodes.items():
            if node.kind == "affine":
                module, norm = node.target
                layers[name] = _affine(module, norm, node.name, state, dtype)
            elif node.kind == "norm":
                layers[name] = Scale.from_norm(node.target, node.name, state, dtype)
        if batch_invariant:
            layers = {name: aligned(layer) for name, layer in layers.items()}
        return BoundProgram(self._nodes, layers, self._source, self._output)


def _read(node: fx.Node, modules: dict[str, nn.Module]) -> _Node | None:
    args, keywords = tuple(node.args), dict(node.kwargs)
    if node.op == "call_module":
        layer = modules[str(node.target)]
        name = str(node.target)
        if len(args) != 1 or keywords or not _plain(layer):
            return None
        if type(layer) in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d):
            if getattr(layer, "padding_mode", "zeros") != "zeros":
                return None
            return _Node("affine", args, keywords, (layer, None), name)
        if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d) and layer.track_running_stats:
            return _Node("norm", args, keywords, layer, name)
        if type(layer) in _LINEAR:
            return _Node("linear", args, keywords, layer)
        rule = _pointwise(layer)
    elif node.op == "call_function":
        if node.target in (operator.add, torch.add):
            both = all(isinstance(a, fx.Node) for a in args) and len(args) == 2 and not keywords
            return _Node("add", args, keywords, torch.add) if both else None
        if node.target in _LINEAR_FUNCTIONS:
            return _Node("linear", args, keywords, node.target)
        rule = _pointwise(node.target)
    elif node.op == "call_method":
        if node.target in _LINEAR_METHODS:
            return _Node("linear", args, keywords, getattr(Tensor, str(node.target)))
        rule = _pointwise(node.target)
    else:
        return None  # get_attr: a constant of the module takes part
    if rule is None or not args or _overwrites(node, modules):
        return None
    return _Node("pointwise", args[:1], {}, rule)


def _plain(layer: nn.Module) -> bool:
    """Whether the layer's forward is all there is: no hooks, no parametrisation."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return not hooked and not hasattr(layer, "parametrizations")


def _overwrites(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a function in place may be seen by another reader of its input."""
    inplace = node.kwargs.get("inplace", False) or len(node.args) > 1
    if node.op == "call_module":
        inplace = getattr(modules[str(node.target)], "inplace", False)
    return bool(inplace) and any(len(n.users) > 1 for n in node.all_input_nodes)


def _fold(nodes: dict[str, _Node], output: str) -> dict[str, _Node]:
    """Give each batch norm to the affine layer whose only reader it is."""
    readers = _readers(nodes, output)
    folded = dict(nodes)
    for name, node in nodes.items():
        before = node.args[0].name if node.kind == "norm" else ""
        inner = folded.get(before)
        if inner is not None and inner.kind == "affine" and readers[before] == 1:
            layer, norm = inner.target
            if norm is None:
                paths = f"{inner.name}\0{node.name}"
                folded[before] = _Node(
                    "affine", inner.args, inner.keywords, (layer, node.target), paths
                )
                folded[name] = _Node("linear", node.args, {}, nn.Identity())
    return folded


def _readers(nodes: dict[str, _Node], output: str) -> dict[str, int]:
    """How many operations read each one; the output is read by the caller."""
    readers = {output: 1}
    for node in nodes.values():
        for parent in node.inputs:
            readers[parent] = readers.get(parent, 0) + 1
    return readers


def _fresh(nodes: dict[str, _Node], output: str) -> set[str]:
    """Operations whose tangent one other alone reads, in memory of its own: free to overwrite."""
    readers, fresh = _readers(nodes, output), set[str]()
    for name, node in nodes.items():
        passed_on = isinstance(node.target, nn.Identity) and node.inputs[0] in fresh
        if readers.get(name, 0) == 1 and (node.kind in ("affine", "norm") or passed_on):
            fresh.add(name)
    return fresh


def _affine(
    layer: nn.Module, norm: nn.Module | None, name: str, state: State, dtype: torch.dtype | None
) -> Affine:
    path, _, norm_path = name.partition("\0")
    scale = None if norm is None else Scale.from_norm(norm, norm_path, state, dtype)
    if isinstance(layer, nn.Linear):
        return Dense.from_layer(layer, path, state, scale, dtype)
    if isinstance(layer, nn.Conv2d):
        return Convolution.from_layer(layer, path, state, scale, dtype)
    return TransposedConvolution.from_layer(layer, path, state, scale, dtype)


class BoundProgram:
    """G_theta and its tangents. Made by :meth:`Program.bind`."""

    def __init__(
        self, nodes: dict[str, _Node], layers: dict[str, Affine], source: str, output: str
    ) -> None:
        self._nodes = nodes
        self._layers = layers
        self._source = source
        self._output = output
        self._fresh = _fresh(nodes, output)

    def __call__(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows ..."]:
        """Signals of latents; differentiable in z."""
        values: dict[str, Any] = {self._source: z}
        for name, node in self._nodes.items():
            args, keywords = _resolve(node, values)
            values[name], _ = self._apply(name, args, keywords)
        out: Tensor = values[self._output]
        return out

    def linearise(
        self, z: Float[Tensor, "rows k"]
    ) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows k ..."]]:
        """x = G(z) and dx/dz_j for j < k.

        A tangent is carried as (k, ...) while it is the same for all rows, and as
        (rows * k, ...) once a non-linearity has told the rows apart.
        """
        rows, k = z.shape
        values: dict[str, Any] = {self._source: z}
        tangents: dict[str, Any] = {self._source: torch.eye(k, dtype=z.dtype, device=z.device)}
        shared = {self._source: True}
        for name, node in self._nodes.items():
            args, keywords = _resolve(node, values)
            values[name], slope = self._apply(name, args, keywords)
            # A size, such as z.shape[0] in a view, is always that of rows * k tangents.
            common = isinstance(values[name], Tensor) and all(shared[p] for p in node.inputs)
            apart = {p: _spread(tangents[p], rows) for p in node.inputs if shared[p] and not common}
            duals, dual_keywords = _resolve(node, tangents | apart)
            if slope is not None:
                dual = duals[0] if common else duals[0].unflatten(0, (rows, k))
                fresh = not common and node.inputs[0] in self._fresh
                scaled = dual.mul_(slope.unsqueeze(1)) if fresh else slope.unsqueeze(1) * dual
                tangents[name] = scaled.flatten(0, 1)
                common = False
            elif name in self._layers:
                tangents[name] = self._layers[name].tangent(duals[0])
            else:
                tangents[name] = node.target(*duals, **dual_keywords)
            shared[name] = common
        dual = tangents[self._output]
        dual = _spread(dual, rows) if shared[self._output] else dual
        return values[self._output], dual.unflatten(0, (rows, k))

    def _apply(
        self, name: str, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[Any, Tensor | None]:
        """One operation's value and, where it is element-wise, its derivative."""
        node = self._nodes[name]
        if name in self._layers:
            return self._layers[name].value(args[0]), None
        if node.kind == "pointwise":
            value, slope = node.target(args[0])
            return value, slope
        return node.target(*args, **keywords), None


def _spread(dual: Tensor, rows: int) -> Tensor:
    """(k, ...) that all rows share, as (rows * k, ...)."""
    return dual.repeat(rows, *[1] * (dual.ndim - 1))


def _resolve(node: _Node, env: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def look(arg: Any) -> Any:
        return fx.node.map_arg(arg, lambda n: env[n.name])

    return tuple(look(a) for a in node.args), {n: look(a) for n, a in node.keywords.items()}

"""THE table of layers: what each operation of a traced module is, and how it is differentiated.

The Jacobian engine (:mod:`surfing.problem.program`) and the linear regions
(:mod:`surfing.descent.regions.piecewise`) read modules by it. What is not in it is left to
``torch.func``, or refused by the regions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from surfing.problem import pointwise
from surfing.problem.mixing import Bilinear, MaxPool, Quotient, Softmax
from surfing.problem.pointwise import Pointwise

__all__ = ["Kind", "Meaning", "plain", "read"]


class Kind(Enum):
    """How an operation's derivative is had."""

    AFFINE = "affine"
    """L x + b, from a layer with parameters."""
    SCALE = "scale"
    """A norm in eval mode with statistics of its own: affine, channel by channel."""
    MAP = "map"
    """A function f(x, weight, bias, ...), affine in x; weight and bias don't depend on z."""
    LINEAR = "linear"
    """Without parameters: value and tangents go through alike."""
    SUM = "sum"
    JOIN = "join"
    """Branches side by side."""
    POINTWISE = "pointwise"
    LEARNED = "learned"
    """A layer that becomes pointwise or mixing once its parameters are known."""
    MIXING = "mixing"
    FACT = "fact"
    """Of a tensor: its size, its dtype."""
    CONSTANT = "constant"
    """Does not depend on z."""


@dataclass(frozen=True)
class Meaning:
    """What one operation is.

    Args:
        kind: how its derivative is had.
        target: the function, the layer or the rule.
        args: what of the operation's arguments the target is called with.
        keywords: likewise.
    """

    kind: Kind
    target: Any
    args: tuple[Any, ...]
    keywords: dict[str, Any]


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_AFFINE = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_LINEAR = (
    *(nn.Flatten, nn.Unflatten, nn.Identity, nn.PixelShuffle, nn.PixelUnshuffle),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),  # of no effect
    *(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.ChannelShuffle),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d),
)
_MAPS: frozenset[Any] = frozenset(
    {F.linear, F.conv1d, F.conv2d, F.conv3d}
    | {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
)
# Names stand for methods. A function of several tensors is not here: see `_branches`.
_LINEAR_FUNCTIONS: frozenset[Any] = frozenset(
    {torch.flatten, torch.reshape, torch.unflatten, torch.permute, torch.transpose, operator.neg}
    | {torch.squeeze, torch.unsqueeze, torch.chunk, torch.split, torch.mean, torch.sum, torch.neg}
    | {F.pixel_shuffle, F.interpolate, F.avg_pool2d, F.adaptive_avg_pool2d, operator.getitem}
    | {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "contiguous", "squeeze"}
    | {"unsqueeze", "expand", "repeat", "chunk", "split", "mean", "sum", "neg", "clone"}
)
_REDUCTIONS = frozenset({torch.mean, torch.sum, "mean", "sum"})
_SUMS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((operator.add, torch.add, operator.iadd, "add"), operator.add),
    **dict.fromkeys((operator.sub, torch.sub, operator.isub, "sub"), operator.sub),
}
_PRODUCTS = (operator.mul, torch.mul, torch.multiply, operator.imul, "mul")
_MATRIX_PRODUCTS = (operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm")
_QUOTIENTS = (operator.truediv, torch.div, torch.true_divide, operator.itruediv, "div")
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)
_FACTS = frozenset({"shape", "device", "dtype", "ndim"})
_ARITHMETIC: frozenset[Any] = frozenset(
    {operator.getitem, operator.mul, operator.add, operator.sub, operator.floordiv, operator.neg}
)


def read(
    node: fx.Node, modules: dict[str, nn.Module], *, facts: frozenset[fx.Node], strict: bool = True
) -> Meaning | None:
    """What a node is; None where the table doesn't know, or something in it is out of the common.

    Args:
        node: of a traced module.
        modules: its layers by name.
        facts: nodes that are known to be facts of tensors, not tensors.
        strict: refuse subclasses and parametrised layers, which may compute something else than
            their type says; where the layer itself is called they do no harm.
    """
    if node.op == "call_module":
        return _layer(node, modules[str(node.target)], strict=strict)
    if node.op not in ("call_function", "call_method"):
        return None
    if _is_fact(node, facts):
        function = getattr(Tensor, str(node.target)) if node.op == "call_method" else node.target
        return Meaning(Kind.FACT, function, tuple(node.args), dict(node.kwargs))
    return _function(node, facts)


def plain(layer: nn.Module) -> bool:
    """Whether the layer's forward is all there is: no hooks, no parametrisation."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return not hooked and not hasattr(layer, "parametrizations")


def _layer(node: fx.Node, layer: nn.Module, *, strict: bool) -> Meaning | None:
    if len(node.args) != 1 or node.kwargs or (strict and not plain(layer)):
        return None
    base = type(layer) if strict else _known_base(layer)
    kind = _kind_of(layer, base)
    if kind is None or (strict and getattr(layer, "padding_mode", "zeros") != "zeros"):
        return None
    target: Any = layer
    if kind is Kind.POINTWISE:
        target = pointwise.ACTIVATIONS[base](layer)
    elif base is nn.Softmax and layer.dim not in (None, 0):
        target = Softmax(int(layer.dim))  # type: ignore[arg-type]
    elif base is nn.MaxPool2d:
        target = MaxPool(layer)
    if getattr(layer, "inplace", False) and _seen_by_others(node):
        return None
    return Meaning(kind, target, tuple(node.args), {})


def _kind_of(layer: Any, base: type[nn.Module]) -> Kind | None:
    if base in _AFFINE:
        return Kind.AFFINE
    if base in (*_BATCH_NORMS, *_INSTANCE_NORMS) and layer.track_running_stats:
        return Kind.SCALE
    if base in (*_INSTANCE_NORMS, nn.GroupNorm, nn.LayerNorm, nn.PReLU):
        return Kind.LEARNED
    if base in _LINEAR:
        return Kind.LINEAR
    if base in pointwise.ACTIVATIONS:
        return Kind.POINTWISE
    if base is nn.MaxPool2d or (base is nn.Softmax and layer.dim not in (None, 0)):
        return Kind.MIXING
    return None


_KNOWN = (*_AFFINE, *_BATCH_NORMS, *_LINEAR, *pointwise.ACTIVATIONS)


def _known_base(layer: nn.Module) -> type[nn.Module]:
    return next((base for base in type(layer).__mro__ if base in _KNOWN), type(layer))


def _is_fact(node: fx.Node, facts: frozenset[fx.Node]) -> bool:
    if node.target is getattr:
        return node.args[1] in _FACTS
    if node.op == "call_method":
        return node.target in ("size", "dim")
    known = node.all_input_nodes
    return node.target in _ARITHMETIC and bool(known) and all(n in facts for n in known)


def _function(node: fx.Node, facts: frozenset[fx.Node]) -> Meaning | None:
    target, args, keywords = node.target, tuple(node.args), dict(node.kwargs)
    if target in _IN_PLACE and _seen_by_others(node):
        return None
    called = getattr(Tensor, str(target)) if node.op == "call_method" else target
    if target in _MAPS:
        return Meaning(Kind.MAP, called, args, keywords)
    if target in _LINEAR_FUNCTIONS:
        if target in _REDUCTIONS and len(args) < 2 and "dim" not in keywords:
            return None  # over all rows
        return Meaning(Kind.LINEAR, called, args, keywords)
    if target in (torch.cat, torch.concat, torch.stack):
        axis = keywords.get("dim", args[1] if len(args) > 1 else 0)
        return Meaning(Kind.JOIN, called, args, keywords) if axis != 0 else None
    if target in (F.softmax, torch.softmax, "softmax"):
        axis = keywords.get("dim", args[1] if len(args) > 1 else None)
        if not isinstance(axis, int) or axis == 0:
            return None
        return Meaning(Kind.MIXING, Softmax(axis), args[:1], {})
    if target is F.dropout:
        idle = keywords.get("training", args[2] if len(args) > 2 else True) is False
        return Meaning(Kind.LINEAR, torch.clone, args[:1], {}) if idle else None
    if target in pointwise.FUNCTIONS or target is operator.pow:
        return _activation(node)
    return _branches(node, facts)


def _activation(node: fx.Node) -> Meaning | None:
    """An element-wise function with its numbers."""
    rest, keywords = node.args[1:], dict(node.kwargs)
    inplace = keywords.pop("inplace", False) or any(a is True for a in rest)
    rest = tuple(a for a in rest if not isinstance(a, bool))
    moving = any(isinstance(a, fx.Node) for a in (*rest, *keywords.values()))
    if moving or not node.args or (inplace and _seen_by_others(node)):
        return None
    key: Any = "pow" if node.target is operator.pow else node.target
    try:
        rule: Pointwise = pointwise.FUNCTIONS[key](*rest, **keywords)
    except TypeError:  # called in a way that the table doesn't foresee
        return None
    return Meaning(Kind.POINTWISE, rule, node.args[:1], {})


def _branches(node: fx.Node, facts: frozenset[fx.Node]) -> Meaning | None:
    """An operation with two sides, of which one may be a number."""
    target, args = node.target, tuple(node.args)
    if len(args) != 2 or node.kwargs:
        return None
    tensors = [isinstance(a, fx.Node) and a not in facts for a in args]
    if target in _SUMS:
        return Meaning(Kind.SUM, _SUMS[target], args, {})
    if target in _PRODUCTS:
        kind = Kind.MIXING if all(tensors) else Kind.LINEAR
        function = Bilinear(torch.mul) if all(tensors) else operator.mul
        return Meaning(kind, function, args, {})
    if target in _QUOTIENTS and tensors[0]:
        kind = Kind.MIXING if tensors[1] else Kind.LINEAR
        return Meaning(kind, Quotient() if tensors[1] else operator.truediv, args, {})
    if target in _MATRIX_PRODUCTS and all(tensors):
        return Meaning(Kind.MIXING, Bilinear(torch.matmul, matrices=True), args, {})
    return None


def _seen_by_others(node: fx.Node) -> bool:
    """Whether what is done in place may be seen by another reader of the input."""
    return any(len(n.users) > 1 for n in node.all_input_nodes)

"""From a module to the operations of the Jacobian engine: tracing, reading, folding."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call

from surfing.problem.affine import (
    Affine,
    Convolution,
    Dense,
    Scale,
    TransposedConvolution,
    aligned,
    transposed_of_upsampled,
)
from surfing.problem.layers import Kind, Meaning, plain, read
from surfing.problem.mixing import Mixing, Normalisation
from surfing.problem.pointwise import Pointwise, learned_leaky

if TYPE_CHECKING:
    from surfing.generator import State

__all__ = ["INPUT", "NotKnownError", "Traced", "traced_operations"]


INPUT = "given_"
"""What the name of an input begins with inside a program: names of layers may be the same."""


class NotKnownError(Exception):
    """The module is not for the structured engine."""


@dataclass(frozen=True)
class Traced:
    """One operation before theta is known."""

    name: str
    kind: Kind
    target: Any
    """The function, the rule, the layer, or what the module holds."""
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    moving: tuple[str, ...]
    """Which of its inputs depend on z."""
    path: str = ""
    """Of the layer, or of what the module holds."""
    norm: tuple[nn.Module, str] | None = None
    """A norm that is folded into this affine layer, and its path."""
    factor: int = 1
    """Nearest upsampling that is folded into this convolution."""

    @property
    def inputs(self) -> list[str]:
        """The operations that this one reads, also inside tuples and keywords."""
        names: list[str] = []
        fx.node.map_arg((self.args, self.keywords), lambda n: names.append(n.name))
        return names

    @property
    def idle(self) -> bool:
        """Whether it hands on what it is given."""
        return isinstance(self.target, nn.Identity)

    def rule(
        self, state: State, dtype: torch.dtype | None, *, aligned: bool = False
    ) -> tuple[Kind, Any]:
        """What it is at one theta, and what it is called with."""
        if self.kind is Kind.AFFINE:
            return self.kind, _affine(self, state, dtype, even=aligned)
        if self.kind is Kind.SCALE:
            return self.kind, Scale.from_norm(self.target, self.path, state, dtype)
        if self.kind is Kind.LEARNED:
            learned = _learned(self, state, dtype)
            return (Kind.POINTWISE if isinstance(learned, Pointwise) else Kind.MIXING), learned
        if self.kind is Kind.CONSTANT and isinstance(self.target, nn.Module):
            own = _under(self.path, state, dtype)
            return self.kind, partial(_call_layer, self.target, own)
        if self.kind is Kind.CONSTANT and self.path:
            held = _cast(state.get(self.path, self.target), dtype)
            return self.kind, lambda: held
        return self.kind, self.target


def traced_operations(module: nn.Module, inputs: tuple[str, ...]) -> tuple[list[Traced], str, str]:
    """The operations of a module, the name of its latents and that of its output.

    Raises:
        NotKnownError: it can't be traced, or the table of layers doesn't know all of it.
    """
    if not plain(module):
        raise NotKnownError
    try:
        graph = _Tracer(inputs).trace(module)
    except Exception as error:
        # Tracing runs the user's forward on proxies: anything may come out of it, and each case
        # means the same: this architecture is not for the structured engine.
        raise NotKnownError from error
    reader = _Reader(module)
    operations = [made for node in graph.nodes if (made := reader.read(node)) is not None]
    operations = _fold_norms(operations, reader.output)
    return _fold_upsampling(operations, reader.output), reader.source, reader.output


class _Tracer(fx.Tracer):
    """Traces forward(z, **inputs); the module's other arguments are what they are by default."""

    def __init__(self, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self._inputs = inputs

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The latents and the named inputs as placeholders."""
        names = self._inputs
        inside = ("given", *(INPUT + name for name in names))
        proxies = [self.create_proxy("placeholder", name, (), {}) for name in inside]

        def called(root: nn.Module, z: Any, *given: Any) -> Any:
            return root_fn(root, z, **dict(zip(names, given, strict=True)))

        return called, [self.root, *proxies]


class _Reader:
    """Reads a graph node by node, and keeps which nodes depend on z."""

    def __init__(self, module: nn.Module) -> None:
        self.source = self.output = ""
        self._module = module
        self._layers = dict(module.named_modules())
        self._active: set[fx.Node] = set()
        self._facts: set[fx.Node] = set()

    def read(self, node: fx.Node) -> Traced | None:
        """An operation; None for what is none.

        Raises:
            NotKnownError: there is no rule for it.
        """
        if node.op == "placeholder":
            if node.name != node.target:  # another node has the name: a layer may be called so
                raise NotKnownError
            if not self.source:
                self.source = node.name
                self._active.add(node)
            return None
        if node.op == "output":
            (out,) = node.args
            if not isinstance(out, fx.Node) or out not in self._active:
                raise NotKnownError
            self.output = out.name
            return None
        return self._operation(node)

    def _operation(self, node: fx.Node) -> Traced:
        meaning = read(node, self._layers, facts=frozenset(self._facts))
        path = str(node.target) if node.op in ("call_module", "get_attr") else ""
        if meaning is not None and meaning.kind is Kind.FACT:
            self._facts.add(node)
        elif not any(n in self._active for n in node.all_input_nodes):
            args = () if node.op == "get_attr" else tuple(node.args)
            return Traced(
                node.name, Kind.CONSTANT, self._constant(node), args, dict(node.kwargs), (), path
            )
        else:
            self._active.add(node)
        if meaning is None:
            raise NotKnownError
        moving = [n for n in dict.fromkeys(node.all_input_nodes) if n in self._active]
        if meaning.kind is not Kind.FACT and not set(moving) <= set(_may_move(meaning)):
            raise NotKnownError  # z enters where the rule expects a constant
        names = tuple(n.name for n in moving)
        return Traced(
            node.name, meaning.kind, meaning.target, meaning.args, meaning.keywords, names, path
        )

    def _constant(self, node: fx.Node) -> Any:
        """What is called for something that does not depend on z, as it stands."""
        name = str(node.target)
        if node.op == "call_module":
            return self._layers[name]
        if node.op == "get_attr":
            if "_tensor_constant" in name:  # made while tracing, perhaps at random
                raise NotKnownError
            return operator.attrgetter(name)(self._module)
        if node.op == "call_method":
            if name.endswith("_") and not name.endswith("__"):  # writes into a tensor
                raise NotKnownError
            return getattr(Tensor, name)
        return node.target


def _may_move(meaning: Meaning) -> list[fx.Node]:
    """The arguments that may depend on z."""
    places: Any = meaning.args[:1]
    if meaning.kind is Kind.JOIN:
        places = meaning.args[0] if meaning.args else ()
    elif meaning.kind in (Kind.SUM, Kind.MIXING):
        places = meaning.args
    elif meaning.kind is Kind.LINEAR:  # one of them, as in 2 * x
        moving = [a for a in meaning.args if isinstance(a, fx.Node)]
        places = moving if len(moving) == 1 else places
    return [a for a in places if isinstance(a, fx.Node)]


def _affine(op: Traced, state: State, dtype: torch.dtype | None, *, even: bool) -> Affine:
    layer, path = op.target, op.path
    scale = None if op.norm is None else Scale.from_norm(*op.norm, state, dtype)
    made: Affine
    if isinstance(layer, nn.Linear):
        made = Dense.from_layer(layer, path, state, scale, dtype)
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        convolution = Convolution.from_layer(layer, path, state, scale, dtype)
        folded = op.factor > 1
        made = transposed_of_upsampled(convolution, op.factor) if folded else convolution
    else:
        made = TransposedConvolution.from_layer(layer, path, state, scale, dtype)
    return aligned(made) if even else made


def _learned(op: Traced, state: State, dtype: torch.dtype | None) -> Pointwise | Mixing:
    if isinstance(op.target, nn.PReLU):
        name = f"{op.path}.weight" if op.path else "weight"
        return learned_leaky(_cast(state[name], dtype))
    return Normalisation.from_layer(op.target, op.path, state, dtype)


def _under(path: str, state: State, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The tensors of one layer, by their names in it."""
    start = f"{path}."
    return {n.removeprefix(start): _cast(t, dtype) for n, t in state.items() if n.startswith(start)}


def _call_layer(layer: nn.Module, own: dict[str, Tensor], *args: Any, **keywords: Any) -> Any:
    return functional_call(layer, own, args, keywords, tie_weights=False)


def _cast(held: Any, dtype: torch.dtype | None) -> Any:
    floating = isinstance(held, Tensor) and held.is_floating_point()
    return held.to(dtype) if floating and dtype is not None else held


def _readers(operations: list[Traced], output: str) -> dict[str, int]:
    """How many operations read each one; the output is read by the caller."""
    readers = {output: 1}
    for op in operations:
        for parent in op.inputs:
            readers[parent] = readers.get(parent, 0) + 1
    return readers


def _fold_norms(operations: list[Traced], output: str) -> list[Traced]:
    """Give each norm with statistics of its own to the affine layer whose only reader it is."""
    readers = _readers(operations, output)
    folded = {op.name: op for op in operations}
    for op in operations:
        inner = folded.get(op.args[0].name) if op.kind is Kind.SCALE else None
        if inner is None or inner.kind is not Kind.AFFINE or inner.norm is not None:
            continue
        if readers[inner.name] == 1:
            folded[inner.name] = replace(inner, norm=(op.target, op.path))
            folded[op.name] = replace(op, kind=Kind.LINEAR, target=nn.Identity())
    return list(folded.values())


def _fold_upsampling(operations: list[Traced], output: str) -> list[Traced]:
    """Give each nearest upsampling to the convolution whose only source it is."""
    readers = _readers(operations, output)
    folded = {op.name: op for op in operations}
    for op in operations:
        before = folded.get(op.args[0].name) if _keeps_size(op) else None
        factor = 1 if before is None else _nearest_factor(before)
        if before is not None and factor > 1 and readers[before.name] == 1:
            folded[op.name] = replace(folded[op.name], factor=factor)
            folded[before.name] = replace(
                before, target=nn.Identity(), args=before.args[:1], keywords={}
            )
    return list(folded.values())


def _keeps_size(op: Traced) -> bool:
    """A convolution whose output is as large as its input, in one group."""
    c = op.target
    if op.kind is not Kind.AFFINE or not isinstance(c, nn.Conv2d) or c.groups != 1:
        return False
    taps, other = c.kernel_size
    padding = ((taps - 1) // 2,) * 2
    even = taps == other and taps % 2 == 1 and c.padding in (padding, "same")
    return even and set(c.stride) == {1} and set(c.dilation) == {1}


def _nearest_factor(op: Traced) -> int:
    """By how much an operation repeats each pixel; 1 where that is not what it does."""
    if type(op.target) in (nn.Upsample, nn.UpsamplingNearest2d):
        factor, mode, size = op.target.scale_factor, op.target.mode, op.target.size
    elif op.target is F.interpolate and len(op.args) == 1:
        known = {"scale_factor": None, "mode": "nearest", "size": None} | op.keywords
        factor, mode, size = known["scale_factor"], known["mode"], known["size"]
    else:
        return 1
    sides = set(factor) if isinstance(factor, tuple) else {factor}
    whole = len(sides) == 1 and isinstance(factor := sides.pop(), int | float)
    if not whole or mode != "nearest" or size is not None or factor != int(factor):
        return 1
    return int(factor)

"""The Jacobian engine: G_theta(z) and its k tangents in one structured pass.

A traced module becomes a list of operations, each of which knows its value and its tangent.
Against ``vmap(jvp)`` this saves what the structure gives away:

- batch norm is folded into the affine layer before it, once per checkpoint (parameters stay inputs:
  nothing is compiled, so nothing is recompiled when the checkpoint changes);
- the tangents of the first affine layer are its weight, the same for every row: no work at all;
- a ReLU's derivative is one mask for all k tangents;
- transposed convolutions run channels-last or as one product a tap, whichever is cheaper;
- nearest upsampling is folded into the convolution behind it;
- what does not depend on z (labels, masks, constants of the module) has no tangents.

A module that can't be traced, or holds a layer that the table (:mod:`surfing.problem.layers`)
does not know, is left to ``torch.func`` (see :mod:`surfing.problem.forward`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from surfing.problem.affine import channels_last
from surfing.problem.layers import Kind
from surfing.problem.reading import INPUT, NotKnownError, Traced, traced_operations

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn

    from surfing.generator import State

__all__ = ["BoundProgram", "Program"]


class Program:
    """The operations of one architecture, before theta is known. Made by :meth:`trace`."""

    def __init__(
        self, operations: list[Traced], source: str, output: str, inputs: frozenset[str]
    ) -> None:
        self._inputs = inputs
        self._operations = operations
        self._source = source
        self._output = output

    @classmethod
    def trace(cls, module: nn.Module, inputs: tuple[str, ...] = ()) -> Program | None:
        """Read the structure; None where there is control flow or a layer without a rule.

        Args:
            module: in eval mode; only its structure is used.
            inputs: names of the keyword arguments that rows bring with them.
        """
        try:
            return cls(*traced_operations(module, inputs), frozenset(inputs))
        except NotKnownError:
            return None

    def bind(
        self, state: State, *, dtype: torch.dtype | None = None, batch_invariant: bool = False
    ) -> BoundProgram:
        """Fold one checkpoint into the operations; nothing of it is recompiled at the next.

        Args:
            state: theta.
            dtype: of the computation; the checkpoint's where left out.
            batch_invariant: sum every row in the same order wherever it lies in the batch.
        """
        operations = [
            _Operation(t.name, *t.rule(state, dtype, aligned=batch_invariant), t)
            for t in self._operations
        ]
        return BoundProgram(operations, self._source, self._output, self._inputs)


@dataclass(frozen=True)
class _Operation:
    """One operation at one theta."""

    name: str
    kind: Kind
    rule: Any
    traced: Traced

    def value(self, env: Mapping[str, Any]) -> Any:
        """What it makes of the values so far."""
        args, keywords = _look_up(self.traced.args, env), _look_up(self.traced.keywords, env)
        if self.kind in (Kind.AFFINE, Kind.SCALE, Kind.POINTWISE, Kind.MIXING):
            return self.rule.value(*args)
        if self.kind is Kind.MAP:
            return self.rule(channels_last(args[0]), *args[1:], **keywords)
        return self.rule(*args, **keywords)


@dataclass(frozen=True)
class _Dual:
    """Tangents: (k, ...) where all rows share them, else (rows * k, ...)."""

    tangent: Any
    shared: bool = False

    def apart(self, rows: int) -> Any:
        """As (rows * k, ...)."""
        if not self.shared:
            return self.tangent
        return self.tangent.repeat(rows, *[1] * (self.tangent.ndim - 1))

    def sized(self, rows: int) -> Any:
        """Something of the size that the tangents have apart; a fact of them, where it is one."""
        if not self.shared:
            return self.tangent
        k, *rest = self.tangent.shape
        return self.tangent[:1].expand(rows * k, *rest)

    def by_row(self, rows: int) -> Tensor:
        """As (rows, k, ...), or (1, k, ...) where they are shared."""
        whole: Tensor = self.tangent
        return whole.unsqueeze(0) if self.shared else _by_row(whole, rows)


def _by_row(tangent: Tensor, rows: int) -> Tensor:
    return tangent.view(rows, -1, *tangent.shape[1:])


def _from_rows(tangent: Tensor) -> _Dual:
    """From (rows, k, ...)."""
    return _Dual(tangent[0], True) if len(tangent) == 1 else _Dual(tangent.flatten(0, 1))


class BoundProgram:
    """G_theta and its tangents. Made by :meth:`Program.bind`."""

    def __init__(
        self, operations: list[_Operation], source: str, output: str, inputs: frozenset[str]
    ) -> None:
        self._inputs = inputs
        self._source = source
        self._output = output
        self._fixed: dict[str, Any] = {}
        self._operations: list[_Operation] = []
        for op in operations:
            constant = op.kind is Kind.CONSTANT
            if constant and all(n in self._fixed for n in op.traced.inputs):
                self._fixed[op.name] = op.value(self._fixed)
            else:
                self._operations.append(op)
        self._last = self._last_reads()
        self._fresh = self._overwritable()

    def __call__(
        self, z: Float[Tensor, "rows k"], inputs: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "rows ..."]:
        """Signals of latents; differentiable in z."""
        values = self._start(z, inputs)
        for op in self._operations:
            values[op.name] = op.value(values)
            for name in self._last[op.name]:
                del values[name]
        out: Tensor = values[self._output]
        return out

    def linearise(
        self,
        z: Float[Tensor, "rows k"],
        inputs: Mapping[str, Tensor] | None = None,
        columns: slice = slice(None),
    ) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows k ..."]]:
        """x = G(z) and dx/dz_j for j < k.

        A tangent is carried as (k, ...) while it is the same for all rows, and as
        (rows * k, ...) once a non-linearity has told the rows apart.

        Args:
            z: latents.
            inputs: what the module's forward is given beside z, by name.
            columns: the j wanted.
        """
        rows, k = z.shape
        basis = torch.eye(k, dtype=z.dtype, device=z.device)
        values = self._start(z, inputs)
        duals = {self._source: _Dual(basis[columns], True)}
        for op in self._operations:
            value = values[op.name] = op.value(values)
            if op.traced.moving or op.kind is Kind.FACT:
                duals[op.name] = self._dual(op, value, values, duals, rows)
            for name in self._last[op.name]:
                del values[name]
                duals.pop(name, None)
        dual = duals[self._output].apart(rows)
        return values[self._output], _by_row(dual, rows)

    @property
    def inputs(self) -> frozenset[str]:
        """Names of what it is given beside z."""
        return self._inputs

    def widest(self, z: Float[Tensor, "rows k"], inputs: Mapping[str, Tensor] | None = None) -> int:
        """Numbers of one row in the largest value on the way."""
        values, most = self._start(z, inputs), 0
        for op in self._operations:
            value = values[op.name] = op.value(values)
            if isinstance(value, Tensor) and op.traced.moving:
                most = max(most, value.numel() // len(z))
        return most

    def _start(self, z: Tensor, inputs: Mapping[str, Tensor] | None) -> dict[str, Any]:
        given = {INPUT + name: t for name, t in (inputs or {}).items()}
        return {**self._fixed, **given, self._source: z}

    def _dual(
        self,
        op: _Operation,
        value: Any,
        values: dict[str, Any],
        duals: dict[str, _Dual],
        rows: int,
    ) -> _Dual:
        args = op.traced.args
        first = duals.get(op.traced.moving[0]) if op.traced.moving else None
        if op.kind is Kind.POINTWISE and first is not None:
            slope = op.rule.slope(values[args[0].name], value).unsqueeze(1)
            tangent = first.by_row(rows)
            fresh = not first.shared and args[0].name in self._fresh
            return _Dual((tangent.mul_(slope) if fresh else slope * tangent).flatten(0, 1))
        if op.kind in (Kind.AFFINE, Kind.SCALE) and first is not None:
            return _Dual(op.rule.tangent(first.tangent), first.shared)
        if op.kind is Kind.MAP and first is not None:
            return _Dual(_map_tangent(op, values, first.tangent), first.shared)
        if op.kind is Kind.MIXING:
            given = _look_up(args, values)
            tangents = [
                duals[a.name].by_row(rows)
                if isinstance(a, fx.Node) and a.name in op.traced.moving
                else None
                for a in args
            ]
            return _from_rows(op.rule.push(value, given, tangents))
        if op.kind is Kind.SUM:
            return _sum_tangent(op, value, values, duals, rows)
        if op.kind is Kind.JOIN:
            return _join_tangent(op, values, duals, rows)
        return _linear_tangent(op, values, duals, rows)

    def _last_reads(self) -> dict[str, list[str]]:
        """What is not needed any more after each operation."""
        last = {self._source: ""}
        for op in self._operations:
            last |= dict.fromkeys(op.traced.inputs, op.name)
        last |= dict.fromkeys((*self._fixed, self._output), "")
        made = {self._source, *(op.name for op in self._operations)}
        ended: dict[str, list[str]] = {op.name: [] for op in self._operations}
        for name, reader in last.items():
            if reader and name in made:
                ended[reader].append(name)
        return ended

    def _overwritable(self) -> set[str]:
        """Operations whose tangent one other alone reads, in memory of its own."""
        readers = {self._output: 1}
        for op in self._operations:
            for parent in op.traced.inputs:
                readers[parent] = readers.get(parent, 0) + 1
        fresh = set[str]()
        for op in self._operations:
            moving = op.traced.moving
            passed_on = op.traced.idle and bool(moving) and moving[0] in fresh
            if readers.get(op.name, 0) == 1 and (
                op.kind in (Kind.AFFINE, Kind.SCALE, Kind.MAP, Kind.MIXING) or passed_on
            ):
                fresh.add(op.name)
        return fresh


def _map_tangent(op: _Operation, values: Mapping[str, Any], tangent: Tensor) -> Tensor:
    """The function of a tangent, its bias left out."""
    args = list(_look_up(op.traced.args, values))
    keywords = _look_up(op.traced.keywords, values) | {"bias": None}
    if len(args) > 2:
        args[2] = keywords.pop("bias")
    image: Tensor = op.rule(channels_last(tangent), *args[1:], **keywords)
    return image


def _sum_tangent(
    op: _Operation,
    value: Tensor,
    values: Mapping[str, Any],
    duals: Mapping[str, _Dual],
    rows: int,
) -> _Dual:
    moving = [
        duals[a.name] if isinstance(a, fx.Node) and a.name in op.traced.moving else None
        for a in op.traced.args
    ]
    shared = all(d.shared for d in moving if d is not None)
    terms = [d if d is None else d.tangent if shared else d.apart(rows) for d in moving]
    a, b = terms
    if a is not None and b is not None:
        total = op.rule(a, b)
    elif b is None:
        total = a
    else:
        total = op.rule(0, b)
    if total.ndim != value.ndim:
        raise ValueError("the rows of a sum are not along its first axis")
    return _Dual(total.expand(-1, *value.shape[1:]), shared)


def _join_tangent(
    op: _Operation, values: Mapping[str, Any], duals: Mapping[str, _Dual], rows: int
) -> _Dual:
    parts = op.traced.args[0]
    moving = {n: duals[n] for n in op.traced.moving}
    shared = all(d.shared for d in moving.values())
    terms = {n: d.tangent if shared else d.apart(rows) for n, d in moving.items()}
    count = len(next(iter(terms.values())))
    for part in parts:
        if part.name not in terms:
            still = values[part.name]
            terms[part.name] = still.new_zeros(count, *still.shape[1:])
    rest = _look_up(op.traced.args[1:], values)
    keywords = _look_up(op.traced.keywords, values)
    return _Dual(op.rule([terms[p.name] for p in parts], *rest, **keywords), shared)


def _linear_tangent(
    op: _Operation, values: Mapping[str, Any], duals: Mapping[str, _Dual], rows: int
) -> _Dual:
    env: dict[str, Any] = dict(values)
    known = {name: duals[name] for name in op.traced.inputs if name in duals}
    if op.kind is Kind.FACT:
        env |= {name: dual.sized(rows) for name, dual in known.items()}
    # A size, such as z.shape[0] in a view, is always that of rows * k tangents.
    shared = op.kind is not Kind.FACT and all(dual.shared for dual in known.values())
    if op.kind is not Kind.FACT:
        env |= {n: dual.tangent if shared else dual.apart(rows) for n, dual in known.items()}
    args, keywords = _look_up(op.traced.args, env), _look_up(op.traced.keywords, env)
    return _Dual(op.rule(*args, **keywords), shared)


def _look_up(given: Any, env: Mapping[str, Any]) -> Any:
    return fx.node.map_arg(given, lambda n: env[n.name])

"""The forward map z -> A G_theta(z), and its derivatives by the cheapest means there is."""

from __future__ import annotations

import functools
import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp, vmap

from surfing.generator import BoundGenerator, Generator, cast
from surfing.problem.inputs import RowInputs
from surfing.problem.operators import Operator
from surfing.problem.products import products_of
from surfing.problem.program import BoundProgram, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jaxtyping import Float

    from surfing.generator import State

__all__ = ["BLOCK", "Architecture", "Blocks", "ForwardMap"]

# Tangents of one chunk, in bytes, so that memory doesn't grow with the number of rows. On a CPU
# they should stay in the last cache: 64 rows of a small convolutional generator at k = 10 took
# 13-24% less time a row than 256, and 12-41% less than 16. The accelerator's figure is a guess.
_CHUNK_BYTES = 48 * 2**20
_ACCELERATOR_CHUNK_BYTES = 2**30
_LEAST_PASSES = 3
_LEAST_COLUMNS = 16  # tangents of one row at a time: with fewer, layers were slower by a tenth
_CHECKED = 128  # latents up to which every tangent of the example is compared

BLOCK = 32
"""Rows of every evaluation, where results must not depend on the batch.

Two vectors of 16 numbers: whatever the size of a signal, element-wise kernels meet no remainder,
which they would compute otherwise. With 16 rows the surf of one target on a convolutional
generator at k = 10 took 1.8 times as long as without blocks, with 32 2.4 times; that of 200
targets took as long as without in both cases.
"""


@functools.cache
def _prepare_forward_mode() -> None:
    """Let torch load its forward-mode rules, once per process.

    It scripts them, which it has itself deprecated: nothing that a caller could do about.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".torch\.jit\.script.* is deprecated")
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))  # type: ignore[no-untyped-call]


class Blocks(NamedTuple):
    """Rows of every evaluation, where results must not depend on the batch."""

    forward: int
    reverse: int
    """Where a reverse pass is part of it."""


class Architecture:
    """A generator and an operator, before theta is known.

    Args:
        generator: the architecture of G.
        operator: A.
        signal_shape: of one signal G(z).
        batch_invariant: evaluate blocks of one size only, so that the bits of a row don't depend
            on the others.
        inputs: names of what rows bring with them for the generator, beside z.
    """

    def __init__(
        self,
        generator: Generator,
        operator: Operator,
        signal_shape: tuple[int, ...],
        *,
        batch_invariant: bool = False,
        inputs: Iterable[str] = (),
    ) -> None:
        self.generator = generator
        self.operator = operator
        self.signal_shape = signal_shape
        self.blocks: Blocks | None = Blocks(BLOCK, BLOCK) if batch_invariant else None
        self._program = Program.trace(generator.module, tuple(inputs))
        self.widest: int = 24 * max(1, math.prod(signal_shape))
        """Numbers of one row in its largest layer: a guess until :meth:`check` has seen it."""
        self.reverse_only = False
        """No forward mode was found: derivatives are taken in reverse."""
        self.notes: list[str] = []
        """What was done in another way than one would expect; words alone, nothing reads them."""

    def check(
        self,
        state: State,
        z: Float[Tensor, "rows k"],
        x: Float[Tensor, "rows ..."],
        inputs: RowInputs | None = None,
    ) -> None:
        """See on one example, x = G_theta(z), that the structured engine reads the module right.

        Where it does not, it is left aside: a layer may mean something else than its type says.
        """
        if self._program is None:
            return
        bound, beside = self.generator.at(state), {} if inputs is None else inputs.generator
        try:
            program = self._program.bind(bound.state)
            right = _same_derivative(program, bound, z, x, beside)
            self.widest = max(self.widest, program.widest(z, beside))
        except Exception:  # an odd module; whatever is wrong with it, torch.func will say
            right = False
        if not right:
            self._program = None

    @property
    def batch_invariant(self) -> bool:
        """Whether the bits of a row must not depend on the others."""
        return self.blocks is not None

    def signals(
        self,
        state: State,
        z: Float[Tensor, "rows k"],
        inputs: RowInputs | None = None,
        *,
        block: int | None = None,
    ) -> Float[Tensor, "rows ..."]:
        """G_theta(z) in the precision of z, each chunk put in place: joining would need as much.

        Args:
            state: theta.
            z: latents.
            inputs: one entry for each row.
            block: rows worked on at a time at most, where they are to be those of other calls.
        """
        forward = self.at(state, dtype=z.dtype if z.dtype is torch.float64 else None)
        x = z.new_empty(len(z), *self.signal_shape)
        size = block or max(1, len(z))
        with torch.no_grad():
            for low in range(0, len(z), size):
                part = slice(low, low + size)
                forward.fill(
                    (x[part],),
                    lambda at, beside: (forward.signals(at, beside),),
                    z[part],
                    None if inputs is None else inputs[part],
                    passes=1,
                )
        return x

    def products(self, state: State, z: Float[Tensor, "1 k"]) -> tuple[float, float]:
        """Multiplications of one signal, and how often it uses each weight: once, if dense.

        Infinite where they can't be counted.
        """
        bound = self.generator.at(state)
        weights = sum(t.numel() for t in bound.state.values())
        try:
            products = products_of(lambda: bound(z))
        except Exception:  # an odd module; nothing depends on it but a default
            return math.inf, math.inf
        if products == 0:  # made of operations that the counter does not know
            return math.inf, math.inf
        return products, products / max(1, weights)

    @property
    def structured(self) -> bool:
        """Whether the structured Jacobian engine applies."""
        return self._program is not None

    def at(self, state: State, *, dtype: torch.dtype | None = None) -> ForwardMap:
        """Bind one theta.

        Raises:
            GeneratorError: the checkpoint doesn't fit.
        """
        bound = self.generator.at(state)
        if dtype is not None:
            bound = BoundGenerator(self.generator.module, cast(state, dtype))
        if self.batch_invariant:  # where weights lie in memory may change the order of sums
            aligned = {name: t.clone() for name, t in bound.state.items()}
            bound = BoundGenerator(self.generator.module, aligned)
        operator = self.operator.double() if dtype is torch.float64 else self.operator
        program = None
        if self._program is not None:
            program = self._program.bind(bound.state, batch_invariant=self.batch_invariant)
        return ForwardMap(program, self, bound, operator=operator)


class ForwardMap:
    """z -> A G_theta(z), flattened to (rows, m). Made by :meth:`Architecture.at`."""

    def __init__(
        self,
        program: BoundProgram | None,
        architecture: Architecture,
        bound: BoundGenerator,
        *,
        operator: Operator,
    ) -> None:
        self.bound = bound
        """The module and theta, for descents that look inside G."""
        self.operator = operator
        """A."""
        self._architecture = architecture
        self._structured = program

    def __call__(
        self, z: Float[Tensor, "rows k"], inputs: RowInputs | None = None
    ) -> Float[Tensor, "rows m"]:
        """Measurements of latents; differentiable in z."""
        return self._measured(self.signals(z, inputs), inputs)

    def signals(
        self, z: Float[Tensor, "rows k"], inputs: RowInputs | None = None
    ) -> Float[Tensor, "rows ..."]:
        """Signals of latents; differentiable in z."""
        beside = {} if inputs is None else inputs.generator
        program = self._program(inputs)
        return self.bound(z, **beside) if program is None else program(z, beside)

    def _program(self, inputs: RowInputs | None) -> BoundProgram | None:
        """The structured engine, where it was made for these inputs."""
        names = frozenset() if inputs is None else frozenset(inputs.generator)
        program = self._structured
        return program if program is not None and program.inputs == names else None

    def _measured(
        self, x: Float[Tensor, "rows ..."], inputs: RowInputs | None
    ) -> Float[Tensor, "rows m"]:
        """A(x), flattened, in the precision of x: an operator may compute in another."""
        beside = {} if inputs is None else inputs.operator
        return self.operator(x, **beside).flatten(1).to(x.dtype)

    def tangent_passes(self, k: int, m: int) -> int:
        """What :meth:`linearise` costs beyond its forward, in forward-equivalents per row."""
        return 2 * m if self._reverse else k

    @property
    def _reverse(self) -> bool:
        return self._architecture.reverse_only

    @property
    def product_passes(self) -> int:
        """What :meth:`curvature_product` costs, in forward-equivalents per row."""
        return 7 if self._reverse else 4

    def curvature_product(
        self,
        z: Float[Tensor, "rows k"],
        v: Float[Tensor, "rows k"],
        inputs: RowInputs | None = None,
        *,
        square_weights: Float[Tensor, "rows m"] | None = None,
    ) -> Float[Tensor, "rows k"]:
        """J'J v without J: one pass forward with its tangent, one in reverse.

        With `square_weights` w^2 it is J' diag(w^2) J v. Where there is no forward mode, J v is the
        derivative of u -> J'u, and a note says so.
        """
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            value, image = self._with_tangent(leaf, v, inputs)
            if not value.requires_grad:  # A G is constant
                return torch.zeros_like(z)
            if square_weights is not None:
                image = image * square_weights
            (product,) = torch.autograd.grad(value, leaf, image, materialize_grads=True)
        return product

    def _with_tangent(
        self, leaf: Tensor, v: Tensor, inputs: RowInputs | None
    ) -> tuple[Tensor, Tensor]:
        if not self._reverse:
            _prepare_forward_mode()
            try:
                with forward_ad.dual_level():
                    dual = forward_ad.make_dual(leaf, v)  # type: ignore[no-untyped-call]
                    told = self(dual, inputs)
                    value, image = forward_ad.unpack_dual(told)  # type: ignore[no-untyped-call]
                    # No tangent at all: A G is constant.
                    return value, torch.zeros_like(value) if image is None else image.detach()
            except (NotImplementedError, RuntimeError) as error:
                self._fall_back(error, "7 passes a product instead of 4")
        value = self(leaf, inputs)
        u = torch.zeros_like(value, requires_grad=True)
        if not value.requires_grad:
            return value, u.detach()
        (pulled,) = torch.autograd.grad(value, leaf, u, create_graph=True, materialize_grads=True)
        (image,) = torch.autograd.grad(pulled, u, v, retain_graph=True, materialize_grads=True)
        return value, image.detach()

    def _fall_back(self, error: Exception, price: str) -> None:
        """Note that there is no forward mode; raise what is another error."""
        if isinstance(error, torch.cuda.OutOfMemoryError) or not _no_forward_mode(error):
            raise error
        self._architecture.reverse_only = True
        self._architecture.notes.append(
            f"{self.operator.name}: no forward-mode derivative; reverse mode was used, which "
            f"costs {price}."
        )

    def linearise(
        self, z: Float[Tensor, "rows k"], inputs: RowInputs | None = None
    ) -> tuple[Float[Tensor, "rows m"], Float[Tensor, "rows m k"]]:
        """A G(z) and its Jacobian.

        Forward mode; reverse mode, with a note, where the operator or G has no forward mode.
        """
        if not self._reverse:
            try:
                return self._forward_mode(z, inputs)
            except (NotImplementedError, RuntimeError) as error:
                self._fall_back(error, "2 m passes instead of k")
        return self._reverse_mode(z, inputs)

    def _forward_mode(self, z: Tensor, inputs: RowInputs | None) -> tuple[Tensor, Tensor]:
        program = self._program(inputs)
        if program is None or not self.operator.linear:
            _prepare_forward_mode()
        if program is not None:
            return self._in_structure(program, z, inputs)
        rows, k = z.shape
        basis = torch.eye(k, dtype=z.dtype, device=z.device)
        # torch's annotations know neither a tuple of axes nor None in one.
        axes: Any = (None, 2)

        def along(e: Tensor) -> Any:
            return jvp(lambda at: self(at, inputs), (z,), (e.expand(rows, k),))

        # All columns at once, but where they are many: memory does not grow with k.
        parts = [
            vmap(along, out_dims=axes)(b) for b in torch.split(basis, self._columns(rows, k) or k)
        ]
        value, columns = parts[0]
        return value, columns if len(parts) == 1 else torch.cat([c for _, c in parts], 2)

    def _in_structure(
        self, program: BoundProgram, z: Tensor, inputs: RowInputs | None
    ) -> tuple[Tensor, Tensor]:
        (rows, k), beside = z.shape, {} if inputs is None else inputs.generator
        step = self._columns(rows, k) or k
        value, parts = torch.empty(0), []
        for low in range(0, k, step):
            x, tangents = program.linearise(z, beside, slice(low, low + step))
            value = self._measured(x, inputs) if low == 0 else value
            parts.append(self._columns_of(x, tangents, inputs))
        return value, parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def _columns(self, rows: int, k: int) -> int | None:
        """Tangents that are taken at a time, where not all at once: of one row alone."""
        if rows > 1 or self._architecture.blocks is not None:
            return None
        size = max(_LEAST_COLUMNS, self._budget() // (4 * self._architecture.widest))
        return size if size < k else None

    def _columns_of(
        self, x: Tensor, tangents: Float[Tensor, "rows k ..."], inputs: RowInputs | None
    ) -> Float[Tensor, "rows m k"]:
        """What the operator makes of tangents at x."""
        rows, k = tangents.shape[:2]
        if self.operator.linear:
            beside = None if inputs is None else inputs.repeated(k)
            image = self._measured(tangents.flatten(0, 1), beside)  # (rows * k, m)
            return image.reshape(rows, k, -1).mT

        def measured(at: Tensor) -> Tensor:
            return self._measured(at, inputs)

        columns: Tensor = vmap(lambda t: jvp(measured, (x,), (t,))[1], in_dims=1, out_dims=2)(
            tangents
        )
        return columns

    def _reverse_mode(self, z: Tensor, inputs: RowInputs | None) -> tuple[Tensor, Tensor]:
        # Plain reverse passes, one a measurement for all rows: any operator with a backward will
        # do, where torch.func wants rules for vmap as well.
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            value = self(leaf, inputs)
            if not value.requires_grad:  # A G is constant
                return value, z.new_zeros(*value.shape, z.shape[1])
            columns = [
                torch.autograd.grad(f, leaf, retain_graph=True, materialize_grads=True)[0]
                for f in value.sum(0)
            ]
        return value.detach(), torch.stack(columns, 1)

    def fill(
        self,
        out: Sequence[Float[Tensor, "rows ..."]],
        apply: Callable[..., Sequence[Tensor]],
        *rows: Any,
        passes: int,
        reverse: bool = False,
    ) -> None:
        """Put `apply(*rows)` into `out`, chunk by chunk: memory does not grow with the rows.

        With batch invariance all chunks have one size, the last filled up by copies of its last
        row: the same kernels then run whatever the number of rows.

        Args:
            out: a tensor for each result.
            apply: from some rows to their results; rows don't mix.
            rows: its arguments, each a tensor or RowInputs with one entry for each row, or None.
            passes: of one row (tangents, or forward and reverse), for the size of the chunks.
            reverse: whether one of them is in reverse.
        """
        size = self.chunk(passes, reverse=reverse)
        for low in range(0, len(rows[0]), size):
            parts: list[Any] = [None if t is None else t[low : low + size] for t in rows]
            count = len(parts[0])
            if self.batch_invariant:
                parts = [None if t is None else _filled_up(t, size) for t in parts]
            for whole, part in zip(out, apply(*parts), strict=True):
                whole[low : low + count] = part[:count]

    @property
    def batch_invariant(self) -> bool:
        """Whether rows must not depend on the others."""
        return self._architecture.batch_invariant

    def _budget(self) -> int:
        """Bytes of one layer's tangents."""
        on_cpu = all(t.device.type == "cpu" for t in self.bound.state.values())
        return _CHUNK_BYTES if on_cpu else _ACCELERATOR_CHUNK_BYTES

    def chunk(self, passes: int, *, reverse: bool = False) -> int:
        """Rows whose `passes` (tangents, or forward and reverse) fit the memory budget."""
        # Each op holds its input and output; the widest layer stands for all of them.
        budget = self._budget()
        if self.batch_invariant:
            passes = max(passes, _LEAST_PASSES)  # no larger blocks than those that were tried
        rows = max(1, budget // (4 * max(1, passes) * self._architecture.widest))
        if self._architecture.blocks is None:
            return rows
        return min(self._architecture.blocks[reverse], 1 << (rows.bit_length() - 1))


def _filled_up(part: Any, size: int) -> Any:
    """`size` rows, the last repeated; always a copy, which begins at an aligned address."""
    return part[torch.arange(size, device=part.device).clamp(max=len(part) - 1)]


def _same_derivative(
    program: BoundProgram,
    bound: BoundGenerator,
    z: Tensor,
    x: Tensor,
    beside: Mapping[str, Tensor],
) -> bool:
    """Whether a program gives x = G(z), and for one measure of x the slope of the reverse mode."""
    value = program(z, beside)
    weights = torch.cos(torch.arange(x.numel(), device=x.device).to(x.dtype)).view_as(x)
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad((weights * bound(leaf, **beside)).sum(), leaf)
    if not _close(value, x, 1e-3):
        return False
    # The same slope from tangents, a few at a time; of many latents the first and the last do.
    k = z.shape[1]
    lows = range(0, k, _LEAST_COLUMNS) if k <= _CHECKED else (0, k // 2, k - _LEAST_COLUMNS)
    parts = [slice(low, low + _LEAST_COLUMNS) for low in lows]
    found = [_slopes(program, z, weights, beside, part) for part in parts]
    allowed = [slope[:, part] for part in parts]
    return _close(torch.cat(found, 1), torch.cat(allowed, 1), 1e-2)


def _slopes(
    program: BoundProgram, z: Tensor, weights: Tensor, beside: Mapping[str, Tensor], part: slice
) -> Tensor:
    _, tangents = program.linearise(z, beside, part)
    return (weights.unsqueeze(1) * tangents).flatten(2).sum(2)


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    allowed = tolerance * float(expected.abs().max())
    return torch.allclose(found, expected, rtol=0, atol=allowed)


def _no_forward_mode(error: Exception) -> bool:
    text = str(error).lower()
    words = ("forward ad", "forward-mode", "vmap", "jvp", "functorch")
    return isinstance(error, NotImplementedError) or any(word in text for word in words)

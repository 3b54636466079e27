"""Operations that mix the entries of a row, or two branches: each knows how a tangent passes.

A tangent has the shape (rows, k, ...), with the value's shape after the two; rows may be 1 where
it is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from surfing.generator import State

__all__ = ["Bilinear", "MaxPool", "Mixing", "Normalisation", "Quotient", "Softmax"]


class Mixing(Protocol):
    """An operation and its derivative."""

    def value(self, *args: Any) -> Tensor:
        """The operation itself."""
        ...

    def push(self, value: Tensor, args: Sequence[Any], tangents: Sequence[Tensor | None]) -> Tensor:
        """The tangent of the value, from the tangents of the arguments; None for a constant."""
        ...


@dataclass(frozen=True)
class Bilinear:
    """A product of two branches, element-wise or of matrices."""

    function: Callable[[Any, Any], Any]
    matrices: bool = False

    def value(self, *args: Any) -> Tensor:
        """B(a, b)."""
        product: Tensor = self.function(*args)
        return product

    def push(self, value: Tensor, args: Sequence[Any], tangents: Sequence[Tensor | None]) -> Tensor:
        """B(da, b) + B(a, db)."""
        (a, b), (da, db) = args, tangents
        terms: list[Tensor] = []
        if da is not None:
            terms.append(self.function(da, self._beside(b, value)))
        if db is not None:
            terms.append(self.function(self._beside(a, value), db))
        total: Tensor = terms[0] if len(terms) == 1 else terms[0] + terms[1]
        return total

    def _beside(self, factor: Any, value: Tensor) -> Any:
        """A factor shaped so that it meets a tangent of the other."""
        if self.matrices and factor.ndim <= 2:
            return factor
        return _beside(factor, value)


@dataclass(frozen=True)
class Quotient:
    """A branch over another."""

    def value(self, *args: Any) -> Tensor:
        """A / b."""
        quotient: Tensor = torch.div(*args)
        return quotient

    def push(self, value: Tensor, args: Sequence[Any], tangents: Sequence[Tensor | None]) -> Tensor:
        """(da - a/b db) / b."""
        da, db = tangents
        below, quotient = _beside(args[1], value), value.unsqueeze(1)
        if da is None:
            assert db is not None  # one of the two moves
            fall: Tensor = -quotient * db / below
            return fall
        rise: Tensor = (da if db is None else da - quotient * db) / below
        return rise


@dataclass(frozen=True)
class Softmax:
    """exp(x) / sum exp(x) along one axis."""

    axis: int

    def value(self, *args: Any) -> Tensor:
        """Of one tensor."""
        return torch.softmax(args[0], self.axis)

    def push(self, value: Tensor, args: Sequence[Any], tangents: Sequence[Tensor | None]) -> Tensor:
        """p (dx - sum p dx)."""
        (t,), p = tangents, value.unsqueeze(1)
        assert t is not None
        axis = self.axis + 1 if self.axis > 0 else self.axis
        return p * (t - (p * t).sum(axis, keepdim=True))


@dataclass(frozen=True)
class Normalisation:
    """Mean and variance taken off group by group: layer, group and instance norm.

    Args:
        groups: of one row, each with a mean and a variance of its own; 0 for one a channel.
        trailing: axes at the end that form one group; 0 where groups are made of channels.
        eps: added to the variance.
        weight: gain, shaped so that it broadcasts against one row.
        bias: likewise.
    """

    groups: int
    trailing: int
    eps: float
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def from_layer(
        cls, layer: Any, path: str, state: State, dtype: torch.dtype | None
    ) -> Normalisation:
        """Of one checkpoint."""
        shape = getattr(layer, "normalized_shape", None)
        affine = layer.affine if shape is None else layer.elementwise_affine

        def read(name: str) -> Tensor | None:
            if not affine or getattr(layer, name) is None:
                return None
            found = state[f"{path}.{name}" if path else name]
            return found if dtype is None else found.to(dtype)

        groups = int(getattr(layer, "num_groups", 0))
        return cls(groups, len(shape or ()), layer.eps, read("weight"), read("bias"))

    def value(self, *args: Any) -> Tensor:
        """Gain (x - mean) / deviation + bias."""
        (x,) = args
        if self.trailing:
            return F.layer_norm(x, x.shape[-self.trailing :], self.weight, self.bias, self.eps)
        return F.group_norm(x, self.groups or x.shape[1], self.weight, self.bias, self.eps)

    def push(self, value: Tensor, args: Sequence[Any], tangents: Sequence[Tensor | None]) -> Tensor:
        """Gain / deviation (dx - mean(dx) - u mean(u dx)), u = (x - mean) / deviation."""
        (x,), (t,) = args, tangents
        assert t is not None
        grouped = self._grouped(x, 1)
        over = tuple(range(-self.trailing, 0) if self.trailing else range(2, grouped.ndim))
        variance, mean = torch.var_mean(grouped, over, correction=0, keepdim=True)
        inverse = (variance + self.eps).rsqrt().unsqueeze(1)
        u = (grouped - mean).unsqueeze(1) * inverse
        t = self._grouped(t, 2)
        over = tuple(axis + 1 if axis > 0 else axis for axis in over)
        taken = torch.addcmul(t.mean(over, True), u, (u * t).mean(over, True))
        # In the memory of what is taken off: tangents are large.
        left = torch.sub(t, taken, out=taken).mul_(inverse)
        left = left if self.trailing else left.flatten(2, 3)
        if self.weight is None:
            return left
        channels = self.weight if self.trailing else self.weight.view(-1, *[1] * (x.ndim - 2))
        return left.mul_(channels)

    def _grouped(self, t: Tensor, channel: int) -> Tensor:
        """With an axis for the groups, where channels are grouped; layouts stay what they are."""
        if self.trailing:
            return t
        return torch.unflatten(t, channel, (self.groups or t.shape[channel], -1))


@dataclass(frozen=True)
class MaxPool:
    """The largest of each window."""

    pool: Any

    def value(self, *args: Any) -> Tensor:
        """Of one tensor."""
        largest: Tensor = self._pooled(args[0])[0]
        return largest

    def push(self, value: Tensor, args: Sequence[Any], tangents: Sequence[Tensor | None]) -> Tensor:
        """The tangent of the entry that was largest."""
        (x,), (t,) = args, tangents
        assert t is not None
        places = self._pooled(x)[1].flatten(2).unsqueeze(1)
        flat = t.flatten(3).expand(len(x), -1, -1, -1)
        return flat.gather(-1, places.expand(*flat.shape[:2], -1, -1)).reshape(
            *flat.shape[:2], *value.shape[1:]
        )

    def _pooled(self, x: Tensor) -> Any:
        p = self.pool
        return F.max_pool2d(
            x, p.kernel_size, p.stride, p.padding, p.dilation, p.ceil_mode, return_indices=True
        )


def _beside(factor: Any, value: Tensor) -> Any:
    """A factor with an axis for the tangents, where it has one for the rows."""
    if isinstance(factor, Tensor) and factor.ndim == value.ndim:
        return factor.unsqueeze(1)
    return factor

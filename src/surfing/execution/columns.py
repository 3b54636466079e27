"""Columns of Arrow tables as measurements that are read as they are needed."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surfing.errors import MeasurementError

__all__ = ["Pieces", "as_array", "column_name"]

_COLUMN = "y"
_EXTENSION = b"ARROW:extension:metadata"


@dataclass(frozen=True)
class Pieces(ABC):
    """Rows, one a target, that lie in pieces; a piece is read when rows of it are asked for.

    Args:
        name: of the column.
        row_shape: of one row.
        starts: position of the first row of each piece, and the number of rows at the end.
    """

    name: str
    row_shape: tuple[int, ...]
    starts: tuple[int, ...]

    @abstractmethod
    def _piece(self, number: int, low: int, high: int) -> np.ndarray:
        """Some rows of one piece, counted from its first."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole: (targets, ...)."""
        return (len(self), *self.row_shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self[0:1].dtype

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        low, high, _ = rows.indices(len(self))
        parts = []
        while low < high:
            number = bisect_right(self.starts, low) - 1
            begin, end = self.starts[number], min(self.starts[number + 1], high)
            parts.append(self._piece(number, low - begin, end - begin))
            low = end
        if parts:
            return np.concatenate(parts)
        return self[0:1][:0] if len(self) else np.zeros((0, *self.row_shape), np.float32)


def column_name(names: Sequence[str], where: object) -> str:
    """``y``, or the only one.

    Raises:
        MeasurementError: neither.
    """
    if _COLUMN in names:
        return _COLUMN
    if len(names) != 1:
        raise MeasurementError(
            f"expected one column, or one called {_COLUMN}, in {where}; found "
            f"{', '.join(sorted(names)) or 'none'}."
        )
    return names[0]


def as_array(table: Any) -> np.ndarray:
    """The only column of an Arrow table: lists of numbers, nested or not, or tensors.

    Raises:
        ValueError: rows that differ in length, gaps, or no numbers.
    """
    field, column = table.schema.field(0), table.column(0).combine_chunks()
    shape, axes = _tensor_layout(field)
    while hasattr(column, "storage"):
        column = column.storage
    lengths = [len(column)]
    while "list" in str(column.type).partition("<")[0]:
        if column.null_count:
            raise ValueError(f"{column.null_count} rows are missing")
        inner = column.flatten()
        lengths.append(len(inner) // max(1, len(column)))
        if len(inner) != lengths[-1] * len(column) or not _even(column, lengths[-1]):
            raise ValueError("their lengths differ")
        column = inner
    if column.null_count:
        raise ValueError(f"{column.null_count} numbers are missing")
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"they are of type {field.type!s:.80}")
    rows = values.reshape(lengths[0], *(lengths[1:] if shape is None else shape))
    return rows if axes is None else rows.transpose(0, *(axis + 1 for axis in axes))


def _even(column: Any, length: int) -> bool:
    return all(n == length for n in column.value_lengths().to_pylist())


def _tensor_layout(field: Any) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Shape of a row as it is stored, and the order of its axes, where the file says them.

    Arrow's and Ray's tensors are stored as flat lists. Axis i of a row is stored as axis order[i].
    """
    if hasattr(field.type, "shape"):
        order = getattr(field.type, "permutation", None)
        return tuple(field.type.shape), None if order is None else tuple(order)
    said = (field.metadata or {}).get(_EXTENSION)
    if said is None:
        return None, None
    described = json.loads(said)
    if not isinstance(described, dict):
        return tuple(described), None
    order = described.get("permutation")
    return tuple(described["shape"]), None if order is None else tuple(order)

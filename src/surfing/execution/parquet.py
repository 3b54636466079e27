"""Columns of parquet files as measurements, and solutions as parquet files."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surfing.errors import MeasurementError, require
from surfing.solution import Status

if TYPE_CHECKING:
    from torch import Tensor

    from surfing.solution import Solution

__all__ = ["Column", "write_solution"]

_COLUMN = "y"
_EXTENSION = b"ARROW:extension:metadata"


@dataclass(frozen=True)
class Column:
    """One column of one or more parquet files, a row a target; read as it is needed.

    Rows are lists of numbers, nested or not, or tensors as Ray Data and Arrow write them.

    Args:
        files: in order.
        name: of the column.
        row_shape: of one row.
        starts: position of the first row of each row group, and their number at the end.
        groups: (file, row group) of each.
    """

    files: tuple[Path, ...]
    name: str
    row_shape: tuple[int, ...]
    starts: tuple[int, ...]
    groups: tuple[tuple[int, int], ...]

    @classmethod
    def open(cls, path: Path) -> Column:
        """The column ``y``, or the only one, of a file or of all files in a folder.

        Raises:
            MeasurementError: no such column, or rows that differ in length.
            MissingExtraError: pyarrow is not installed.
        """
        reader = require("pyarrow.parquet", "ray")
        files = tuple(sorted(path.glob("*.parquet"))) if path.is_dir() else (path,)
        if not files:
            raise MeasurementError(f"expected .parquet files in {path}, found none.")
        starts, groups = [0], []
        for number, file in enumerate(files):
            with reader.ParquetFile(file) as opened:
                for group in range(opened.num_row_groups):
                    groups.append((number, group))
                    starts.append(starts[-1] + opened.metadata.row_group(group).num_rows)
                names = opened.schema_arrow.names
        name = _COLUMN if _COLUMN in names else names[0]
        if name != _COLUMN and len(names) != 1:
            raise MeasurementError(
                f"expected one column, or one called {_COLUMN}, in {path}; found "
                f"{', '.join(sorted(names))}."
            )
        empty = cls(files, name, (), tuple(starts), tuple(groups))
        first = empty._group(0)[:1] if groups else np.zeros((0, 0), np.float32)
        return cls(files, name, first.shape[1:], tuple(starts), tuple(groups))

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
        parts = (
            [self._group(0)[:0]] if self.groups else [np.zeros((0, *self.row_shape), np.float32)]
        )
        while low < high:
            number = bisect_right(self.starts, low) - 1
            begin, end = self.starts[number], min(self.starts[number + 1], high)
            parts.append(self._group(number)[low - begin : end - begin])
            low = end
        return np.concatenate(parts)

    def _group(self, number: int) -> np.ndarray:
        file, group = self.groups[number]
        opened = require("pyarrow.parquet", "ray").ParquetFile(self.files[file])
        with opened:
            table = opened.read_row_group(group, columns=[self.name])
        try:
            return _as_array(table)
        except (ValueError, TypeError) as error:
            raise MeasurementError(
                f"{self.files[file]}: expected rows of one shape, numbers without gaps ({error})."
            ) from error


def _as_array(table: Any) -> np.ndarray:
    field, column = table.schema.field(0), table.column(0).combine_chunks()
    shape = _tensor_shape(field)
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
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    if column.null_count:
        raise ValueError(f"{column.null_count} numbers are missing")
    return values.reshape(lengths[0], *(shape or lengths[1:]))


def _even(column: Any, length: int) -> bool:
    return all(n == length for n in column.value_lengths().to_pylist())


def _tensor_shape(field: Any) -> tuple[int, ...] | None:
    """Of a row, where the file says it: Arrow's and Ray's tensors are stored as flat lists."""
    if hasattr(field.type, "shape"):
        return tuple(field.type.shape)
    said = (field.metadata or {}).get(_EXTENSION)
    if said is None:
        return None
    described = json.loads(said)
    return tuple(described["shape"] if isinstance(described, dict) else described)


def write_solution(path: Path, ids: range, solution: Solution) -> None:
    """One shard as a parquet file: id, z, x, residual, cost, status; whole or not at all.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow, writer = require("pyarrow", "ray"), require("pyarrow.parquet", "ray")
    table = arrow.table(
        {
            "id": arrow.array(list(ids), arrow.int64()),
            "z": _tensors(arrow, solution.z),
            "x": _tensors(arrow, solution.x),
            "residual": arrow.array((2 * solution.risk).sqrt().cpu().numpy()),
            "cost": arrow.array(solution.cost.cpu().numpy()),
            "status": arrow.array([Status(int(s)).name.lower() for s in solution.status]),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer.write_table(table, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _tensors(arrow: Any, values: Tensor) -> Any:
    return arrow.FixedShapeTensorArray.from_numpy_ndarray(
        np.ascontiguousarray(values.detach().cpu().numpy())
    )

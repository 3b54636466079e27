"""Columns of parquet files as measurements, and solutions as parquet files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surfing import files
from surfing.errors import MeasurementError, require
from surfing.execution.columns import Pieces, as_array, column_name
from surfing.solution import Status

if TYPE_CHECKING:
    from torch import Tensor

    from surfing.solution import Solution

__all__ = ["Column", "write_solution"]


@dataclass(frozen=True)
class Column(Pieces):
    """One column of one or more parquet files, one row per target; a row group is a piece.

    Rows are lists of numbers, nested or not, or tensors as Ray Data and Arrow write them.

    Args:
        files: in order.
        groups: (file, row group) of each piece.
    """

    files: tuple[Path, ...]
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
        found = cls(column_name(names, path), (), tuple(starts), files, tuple(groups))
        first = found._piece(0, 0, 1) if groups else np.zeros((0, 0), np.float32)
        return replace(found, row_shape=first.shape[1:])

    def _piece(self, number: int, low: int, high: int) -> np.ndarray:
        file, group = self.groups[number]
        opened = require("pyarrow.parquet", "ray").ParquetFile(self.files[file])
        with opened:
            table = opened.read_row_group(group, columns=[self.name])
        try:
            return as_array(table)[low:high]
        except (ValueError, TypeError) as error:
            raise MeasurementError(
                f"{self.files[file]}: expected rows of one shape, numbers without gaps ({error})."
            ) from error


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
    with files.replacing(path) as temporary:
        writer.write_table(table, temporary)


def _tensors(arrow: Any, values: Tensor) -> Any:
    """Without a permutation of axes, which `from_numpy_ndarray` notes and Ray can't sort."""
    rows = np.ascontiguousarray(values.detach().cpu().numpy())
    flat = arrow.array(rows.reshape(-1))
    storage = arrow.FixedSizeListArray.from_arrays(flat, math.prod(rows.shape[1:]))
    kind = arrow.fixed_shape_tensor(flat.type, rows.shape[1:])
    return arrow.ExtensionArray.from_storage(kind, storage)

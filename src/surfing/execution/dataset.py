"""A Ray Dataset as measurements: its blocks stay on the cluster until their rows are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from surfing.errors import MeasurementError, SurfingError
from surfing.execution.columns import Pieces, as_array, column_name

__all__ = ["Blocks", "opened"]


def opened(y: Any) -> Any:
    """A Ray Dataset as rows that are fetched as they are asked for; anything else as it is.

    Raises:
        MeasurementError: the dataset can't be read, or its rows are not measurements.
    """
    data = sys.modules.get("ray.data")  # whoever has a Dataset has imported it
    return Blocks.open(y) if data is not None and isinstance(y, data.Dataset) else y


@dataclass(frozen=True)
class Blocks(Pieces):
    """One column of a Ray Dataset, a row a target; a block is a piece.

    Args:
        tables: references to the blocks, in the dataset's order.
    """

    tables: tuple[Any, ...]

    @classmethod
    def open(cls, dataset: Any) -> Blocks:
        """The column ``y``, or the only one, of a dataset; its blocks are checked where they lie.

        The dataset is carried out once, its blocks in the cluster's object store, which spills to
        the disk; in the order of its files and rows, whichever of its tasks ends first.

        Args:
            dataset: a ``ray.data.Dataset``.

        Raises:
            MeasurementError: no such column, no rows, rows that differ in shape, gaps, what is
                not finite floating point numbers; or the dataset's own steps fail.
        """
        import ray

        try:
            with _in_order(dataset):
                names = dataset.columns() or []
                name = column_name(names, "the dataset") if names else ""
                chosen = dataset.select_columns([name]) if len(names) > 1 else dataset
                tables = chosen.materialize().to_arrow_refs()
                told = ray.get([ray.remote(_told).remote(table) for table in tables])
        except SurfingError as error:
            raise MeasurementError(f"y: {error}") from error
        except Exception as error:  # whatever the dataset's own steps raise, here or on a worker
            raise MeasurementError(
                f"y: the dataset could not be read ({_reason(error)})."
            ) from error
        there = [(table, facts) for table, facts in zip(tables, told) if facts.rows]
        starts = tuple(accumulate((facts.rows for _, facts in there), initial=0))
        _check([facts for _, facts in there], starts)
        return cls(name, there[0][1].shape, starts, tuple(table for table, _ in there))

    def _piece(self, number: int, low: int, high: int) -> np.ndarray:
        import ray

        # On one node this is a view of the store's memory, and only these rows are read.
        return as_array(ray.get(self.tables[number]).slice(low, high - low))


@contextmanager
def _in_order(dataset: Any) -> Iterator[None]:
    """Blocks come as the rows lie, rather than as their tasks end."""
    options = dataset.context.execution_options
    before = options.preserve_order
    options.preserve_order = True
    try:
        yield
    finally:
        options.preserve_order = before


class _Told(NamedTuple):
    """What a worker says of a block."""

    rows: int
    shape: tuple[int, ...] = ()
    dtype: str = ""
    lost: tuple[int, ...] = ()
    """Number of rows that are not finite, and the first of them."""
    wrong: str = ""


def _told(table: Any) -> _Told:
    """Look at a block, on a worker."""
    if len(table) == 0:  # perhaps without a column even
        return _Told(0)
    try:
        values = as_array(table)
    except (ValueError, TypeError) as error:
        return _Told(len(table), wrong=str(error))
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    lost = (len(bad), int(bad[0])) if len(bad) else ()
    return _Told(len(values), values.shape[1:], str(values.dtype), lost)


def _check(told: list[_Told], starts: tuple[int, ...]) -> None:
    """One sentence about whatever is wrong.

    Raises:
        MeasurementError: something is.
    """
    if not told:
        raise MeasurementError("y: the dataset has no rows; expected one a target.")
    for facts, low in zip(told, starts):
        where = f"rows {low} to {low + facts.rows - 1} of the dataset"
        if facts.wrong:
            raise MeasurementError(
                f"y: expected rows of one shape, numbers without gaps; of {where}: {facts.wrong}."
            )
        if facts.shape != told[0].shape:
            raise MeasurementError(
                f"y: expected rows of one shape; the first is {told[0].shape}, {where} are "
                f"{facts.shape}."
            )
        if facts.dtype not in ("float16", "float32", "float64"):
            raise MeasurementError(
                f"y: expected floating point measurements, got {facts.dtype} in {where}; convert "
                "them."
            )
    _check_finite(told, starts)


def _check_finite(told: list[_Told], starts: tuple[int, ...]) -> None:
    lost = [(facts.lost[0], low + facts.lost[1]) for facts, low in zip(told, starts) if facts.lost]
    if lost:
        raise MeasurementError(
            f"y: {sum(number for number, _ in lost)} of {starts[-1]} targets hold NaN or infinity, "
            f"the first is target {lost[0][1]}; drop or mask them."
        )


def _reason(error: BaseException) -> str:
    """The line that says what went wrong: a worker's traceback comes as text, the cause first."""
    first, _, _ = str(error).partition("\n\nThe above exception")
    lines = first.strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__

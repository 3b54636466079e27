"""A Ray Dataset as measurements: its blocks stay on the cluster until their rows are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from surfing.errors import MeasurementError, SurfingError, WorkerLostError
from surfing.execution.columns import Pieces, as_array, column_name

__all__ = ["Blocks", "is_elsewhere", "opened"]


def opened(y: Any) -> Any:
    """A Ray Dataset as rows that are fetched as they are asked for; anything else as it is.

    Raises:
        MeasurementError: the dataset can't be read, or its rows are not measurements.
    """
    return Blocks.open(y) if _is_dataset(y) else y


def is_elsewhere(y: Any) -> bool:
    """Whether measurements are not in memory, or not even there yet."""
    return isinstance(y, Pieces) or _is_dataset(y)


def _is_dataset(y: Any) -> bool:
    data = sys.modules.get("ray.data")  # whoever has a Dataset has imported it
    return data is not None and isinstance(y, data.Dataset)


@dataclass(frozen=True)
class Blocks(Pieces):
    """One column of a Ray Dataset, one row per target; a block is a piece.

    Args:
        tables: references to the blocks, in the dataset's order.
    """

    tables: tuple[Any, ...]

    @classmethod
    def open(cls, dataset: Any) -> Blocks:
        """The column ``y``, or the only one, of a dataset; its blocks are checked where they lie.

        The dataset's steps run once, its blocks in the cluster's object store, which spills to the
        disk; in the order of its files and rows, whichever of its tasks ends first.

        Args:
            dataset: a ``ray.data.Dataset``.

        Raises:
            MeasurementError: no such column, or another one in some block; no rows, rows that
                differ in shape or type, gaps, what is not finite floating point numbers; or the
                dataset's own steps fail.
        """
        import ray

        try:
            with _in_order(dataset):
                tables = _narrow(dataset).materialize().to_arrow_refs()
                look = ray.remote(num_returns=2)(_told)
                looked = [look.remote(table) for table in tables]
                told = ray.get([facts for facts, _ in looked])
        except SurfingError as error:
            raise MeasurementError(f"y: {error}") from error
        except Exception as error:  # whatever the dataset's own steps raise, here or on a worker
            raise MeasurementError(
                f"y: the dataset could not be read ({_reason(error)})."
            ) from error
        columns = [
            column if facts.parted else table
            for table, (_, column), facts in zip(tables, looked, told)
        ]
        there = [(column, facts) for column, facts in zip(columns, told) if facts.rows]
        starts = tuple(accumulate((facts.rows for _, facts in there), initial=0))
        _check([facts for _, facts in there], starts)
        first = there[0][1]
        return cls(first.name, first.shape, starts, tuple(column for column, _ in there))

    def _piece(self, number: int, low: int, high: int) -> np.ndarray:
        import ray

        try:  # on one node this is a view of the store's memory, and only these rows are read
            table = ray.get(self.tables[number])
        except ray.exceptions.RayError as error:
            first = self.starts[number]
            raise WorkerLostError(
                f"y: rows {first + low} to {first + high - 1} of the dataset were lost with the "
                f"process or node that held them ({type(error).__name__}). What was finished is "
                "kept; read the dataset again."
            ) from error
        return as_array(table.slice(low, high - low))


def _narrow(dataset: Any) -> Any:
    """Only one column is read of files. After other steps columns are known of blocks alone."""
    schema = dataset.schema(fetch_if_missing=False)
    names = [] if schema is None else list(schema.names)
    if len(names) < 2:
        return dataset
    return dataset.select_columns([column_name(names, "the dataset")])


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
    name: str = ""
    parted: bool = False
    """Whether the block has other columns, from which this one was taken."""


def _told(table: Any) -> tuple[_Told, Any]:
    """Look at a block, on a worker; its column on its own, where the block has others."""
    if len(table) == 0:  # perhaps without a column even
        return _Told(0), None
    try:
        name = column_name(table.column_names, "each block")
        column = table.select([name])
        values = as_array(column)
    except (MeasurementError, ValueError, TypeError) as error:
        return _Told(len(table), wrong=str(error).removesuffix(".")), None
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    lost = (len(bad), int(bad[0])) if len(bad) else ()
    parted = table.num_columns > 1
    facts = _Told(len(values), values.shape[1:], str(values.dtype), lost, "", name, parted)
    return facts, column if parted else None


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
        if facts.name != told[0].name:
            raise MeasurementError(
                f"y: expected one column in all blocks; the first calls it {told[0].name}, {where} "
                f"{facts.name}."
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
        if facts.dtype != told[0].dtype:
            raise MeasurementError(
                f"y: expected rows of one type; the first is {told[0].dtype}, {where} are "
                f"{facts.dtype}; convert them."
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

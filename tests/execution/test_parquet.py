"""Measurements from parquet files, and solutions as parquet files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from surfing.errors import MeasurementError
from surfing.execution.parquet import Column, write_solution
from surfing.solution import Solution, Status

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

VALUES = np.arange(42, dtype=np.float32).reshape(7, 6)


def lists(values: np.ndarray) -> object:
    return pa.array(values.tolist(), pa.list_(pa.float32()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven rows in two files, in row groups of two."""
    pq.write_table(pa.table({"y": lists(VALUES[:4])}), tmp_path / "a.parquet", row_group_size=2)
    more = {"y": lists(VALUES[4:]), "label": pa.array([1, 2, 3])}
    pq.write_table(pa.table(more), tmp_path / "b.parquet", row_group_size=2)
    (tmp_path / "readme.txt").write_text("not data")
    return tmp_path


def test_a_folder_is_one_column_in_the_order_of_its_files(folder: Path) -> None:
    column = Column.open(folder)
    assert column.shape == VALUES.shape
    assert column.ndim == 2
    assert column.dtype == np.float32
    assert len(column.groups) == 4


@pytest.mark.parametrize("low", range(8))
def test_any_slice_is_that_of_the_array(folder: Path, low: int) -> None:
    column = Column.open(folder)
    for high in range(low, 9):
        assert np.array_equal(column[low:high], VALUES[low:high])


@pytest.mark.parametrize(
    "values",
    [
        pa.array(VALUES.reshape(7, 2, 3).tolist(), pa.list_(pa.list_(pa.float32()))),
        pa.array(VALUES.reshape(7, 2, 3).tolist(), pa.list_(pa.list_(pa.float32(), 3), 2)),
        pa.array(VALUES.reshape(7, 2, 3).tolist(), pa.large_list(pa.large_list(pa.float32()))),
        pa.FixedShapeTensorArray.from_numpy_ndarray(VALUES.reshape(7, 2, 3)),
        pa.FixedShapeTensorArray.from_numpy_ndarray(
            VALUES.reshape(7, 2, 3).swapaxes(1, 2).copy().swapaxes(1, 2)
        ),
    ],
    ids=["lists", "fixed lists", "large lists", "tensors", "axes in another order"],
)
def test_rows_keep_their_shape(values: object, tmp_path: Path) -> None:
    path = tmp_path / "y.parquet"
    pq.write_table(pa.table({"anything": values}), path, row_group_size=3)
    column = Column.open(path)
    assert column.shape == (7, 2, 3)
    assert np.array_equal(column[0:7], VALUES.reshape(7, 2, 3))


def test_float64_stays_float64(tmp_path: Path) -> None:
    pq.write_table(pa.table({"y": VALUES.astype(float).tolist()}), tmp_path / "y.parquet")
    assert Column.open(tmp_path / "y.parquet").dtype == np.float64


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [[1.0]], "b": [[2.0]]}, "expected one column, or one called y"),
        ({"y": [[1.0, 2.0], [3.0]]}, "lengths differ"),
        ({"y": [[1.0], [2.0, 3.0, 4.0], [5.0, 6.0]]}, "lengths differ"),
        ({"y": [[1.0], None]}, "1 rows are missing"),
        ({"y": [[1.0], [None]]}, "1 numbers are missing"),
    ],
    ids=["two columns", "ragged", "ragged by chance even", "a missing row", "a missing number"],
)
def test_bad_columns_are_refused(columns: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "y.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(MeasurementError, match=said):
        Column.open(path)[0:9]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"expected \.parquet files"):
        Column.open(tmp_path)


def test_a_solution_reads_back(tmp_path: Path) -> None:
    solution = Solution(
        z=torch.arange(6.0).reshape(2, 3),
        x=torch.arange(8.0).reshape(2, 1, 2, 2),
        risk=torch.tensor([0.5, 2.0]),
        status=torch.tensor([int(Status.SOLVED), int(Status.BUDGET_SPENT)]),
        cost=torch.tensor([3.0, 4.0]),
    )
    path = tmp_path / "parquet" / "shard.parquet"
    write_solution(path, range(10, 12), solution)
    table = pq.read_table(path)
    assert table["id"].to_pylist() == [10, 11]
    assert table["residual"].to_pylist() == [1.0, 2.0]
    assert table["cost"].to_pylist() == [3.0, 4.0]
    assert table["status"].to_pylist() == ["solved", "budget_spent"]
    x = table["x"].combine_chunks().to_numpy_ndarray()
    assert np.array_equal(x, solution.x.numpy())
    assert [file.name for file in path.parent.iterdir()] == ["shard.parquet"]
    # Its own signals can be measurements again.
    pq.write_table(table.select(["x"]), path)
    assert np.array_equal(Column.open(path)[0:2], solution.x.numpy())


def test_tensors_as_ray_data_writes_them(tmp_path: Path) -> None:
    field = pa.field(
        "y",
        pa.list_(pa.float32()),
        metadata={
            b"ARROW:extension:name": b"ray.data.arrow_tensor_v2",
            b"ARROW:extension:metadata": json.dumps([2, 3]).encode(),
        },
    )
    pq.write_table(pa.table([lists(VALUES)], pa.schema([field])), tmp_path / "y.parquet")
    assert np.array_equal(Column.open(tmp_path)[0:7], VALUES.reshape(7, 2, 3))

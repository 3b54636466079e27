"""A Ray Dataset as measurements, on a real cluster: the same answers as of an array."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.execution.conftest import same
from tests.problems import bind
from torch import Tensor, nn

import surfing
from surfing.architectures import generator_from_manifest
from surfing.errors import InputError, MeasurementError, OutputExistsError, WorkerLostError
from surfing.execution import Local, Ray, Shards, solve_all
from surfing.execution.dataset import Blocks
from surfing.execution.parquet import Column

ray = pytest.importorskip("ray")
data = pytest.importorskip("ray.data")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

pytestmark = [
    pytest.mark.usefixtures("two_workers", "one_thread", "quiet"),
    pytest.mark.filterwarnings("ignore:unclosed (file|socket):ResourceWarning"),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*"),
]
SIZES = [30, 1, 7, 0, 19]
VALUES = np.random.default_rng(0).normal(size=(sum(SIZES), 6)).astype(np.float32)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Ray Data draws bars."""
    context = data.DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    yield
    context.enable_progress_bars = before


def write(folder: Path, values: np.ndarray, sizes: list[int]) -> Path:
    """Files of unequal sizes, small row groups, and a column that nobody asked for."""
    low = 0
    folder.mkdir()
    for number, size in enumerate(sizes):
        part = values[low : low + size]
        columns = {
            "label": pa.array(range(low, low + size), pa.int64()),
            "y": pa.array(part.tolist(), pa.list_(pa.float32())),
        }
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=4)
        low += size
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "y", VALUES, SIZES)


def items(*rows: object, **more: list[object]) -> Any:
    return data.from_items(
        [{"y": row} | {k: v[i] for k, v in more.items()} for i, row in enumerate(rows)]
    )


def test_rows_are_those_of_the_files_in_order(folder: Path) -> None:
    dataset = data.read_parquet(str(folder))
    blocks = Blocks.open(dataset)
    assert blocks.shape == VALUES.shape
    assert blocks.dtype == np.float32
    assert np.array_equal(blocks[0 : len(VALUES)], Column.open(folder)[0 : len(VALUES)])
    assert dataset.context.execution_options.preserve_order is False


def test_a_slice_is_that_of_the_array_however_many_blocks_it_spans() -> None:
    parts = np.split(VALUES, np.cumsum(SIZES)[:-1])
    blocks = Blocks.open(data.from_numpy(parts))
    assert blocks.starts == (0, 30, 31, 38, 57)  # the empty one is left out
    for low, high in [(0, 0), (29, 33), (30, 31), (5, 57), (50, 99), (57, 60)]:
        assert np.array_equal(blocks[low:high], VALUES[low:high])


@pytest.mark.slow
def test_the_order_does_not_depend_on_which_task_ends_first() -> None:
    def later_ones_end_first(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import time

        time.sleep(1.0 if batch["id"][0] == 0 else 0.0)
        return {"y": batch["id"][:, None].astype(np.float32)}

    dataset = data.range(40, override_num_blocks=8).map_batches(later_ones_end_first)
    assert Blocks.open(dataset)[0:40].ravel().tolist() == list(range(40))


@pytest.mark.parametrize(
    "make",
    [
        lambda: data.from_numpy(VALUES.reshape(57, 2, 3)),
        lambda: data.from_arrow(
            pa.table({"y": pa.FixedShapeTensorArray.from_numpy_ndarray(VALUES.reshape(57, 2, 3))})
        ),
        lambda: data.from_arrow(
            pa.table(
                {
                    "y": pa.FixedShapeTensorArray.from_numpy_ndarray(
                        VALUES.reshape(57, 2, 3).transpose(0, 2, 1).copy().transpose(0, 2, 1)
                    )
                }
            )
        ),
        lambda: data.from_items([{"y": row.reshape(2, 3)} for row in VALUES]),
    ],
    ids=["numpy", "arrow", "axes in another order", "items"],
)
def test_tensors_keep_their_shape(make: Callable[[], Any]) -> None:
    blocks = Blocks.open(make())
    assert blocks.shape == (57, 2, 3)
    assert np.array_equal(blocks[0:57], VALUES.reshape(57, 2, 3))


def blocks_with(columns: Callable[[np.ndarray], dict[str, np.ndarray]], mark: Path) -> Any:
    """Four blocks of one row each, whose columns are known when their tasks run alone."""

    def block(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import uuid

        (mark / uuid.uuid4().hex).touch()
        return columns(batch["id"][:, None].astype(np.float32))

    return data.range(4, override_num_blocks=4).map_batches(block)


def test_each_block_gives_the_same_column_and_its_task_runs_once(tmp_path: Path) -> None:
    blocks = Blocks.open(blocks_with(lambda y: {"a": -y, "y": y} if y[0] else {"y": y}, tmp_path))
    assert blocks[0:4].ravel().tolist() == [0, 1, 2, 3]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (lambda y: {"b" if y[0] else "a": y}, "the first calls it a, rows 1 to 1 .* b"),
        (lambda y: {"a": y, "b": y}, "expected one column, .* in each block; found a, b"),
        (lambda y: {"y": y.astype(float) if y[0] else y}, "the first is float32, rows 1 to 1"),
    ],
    ids=["another name", "two columns", "another type"],
)
def test_blocks_that_do_not_belong_together_are_refused(
    columns: Callable[[np.ndarray], dict[str, np.ndarray]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(MeasurementError, match=f"^y: .*{said}"):
        Blocks.open(blocks_with(columns, tmp_path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: items([1.0, 2.0], [1.0]), r"the first is \(2,\), rows 1 to 1 .* are \(1,\)"),
        (lambda: items([1.0, 2.0], None), "rows 1 to 1 of the dataset: 1 rows|1 numbers"),
        (lambda: items([1.0, 2.0], [1.0, None]), "rows 1 to 1 .*: 1 numbers are missing"),
        (lambda: items([1, 2], [3, 4]), "expected floating point measurements, got int64"),
        (lambda: items("a", "b"), "they are of type string"),
        (lambda: items(np.zeros((2, 2)), np.zeros((3, 2))), r"are \(3, 2\)"),
        (lambda: items([1.0], [np.nan], [np.inf]), "2 of 3 targets hold NaN .* is target 1;"),
        (
            lambda: data.from_items([{"a": [1.0], "b": [1.0]}]),
            "expected one column, .*; found a, b",
        ),
        (lambda: data.from_items([]), "has no rows"),
        (lambda: data.range(4).filter(lambda row: False), "has no rows"),
        (lambda: data.range(4).map(lambda row: 1 / 0), "could not be read .ZeroDivisionError"),
    ],
    ids=[
        *("ragged", "a missing row", "a missing number", "integers", "text", "two shapes", "nan"),
        *("two columns", "empty", "nothing left", "its own step fails"),
    ],
)
def test_what_is_no_measurement_is_refused_before_any_work(
    make: Callable[[], Any], said: str, path: surfing.Trajectory
) -> None:
    with pytest.raises(MeasurementError, match=f"^y: .*(?:{said})"):
        surfing.recover(path, make(), executor="ray")


def test_rows_of_another_shape_than_the_operator_returns_are_refused(
    path: surfing.Trajectory,
) -> None:
    dataset = data.from_numpy(VALUES)
    with pytest.raises(MeasurementError, match=r"^y: expected .*got \(57, 6\)"):
        surfing.recover(path, dataset, executor="ray")
    with pytest.raises(InputError, match=r"^ids: expected 57, one for each target, got 2"):
        surfing.recover(path, dataset, ids=[1, 2])


def test_rows_that_were_lost_with_their_owner_are_named() -> None:
    class Owner:
        def give(self) -> list[Any]:
            return [ray.put(pa.table({"y": [[1.0], [2.0]]}))]

    owner = ray.remote(num_cpus=0)(Owner).remote()
    (table,) = ray.get(owner.give.remote())
    blocks = Blocks("y", (1,), (0, 2), (table,))
    ray.kill(owner)
    time.sleep(2)  # its death takes a moment to be known
    with pytest.raises(WorkerLostError, match=r"^y: rows 1 to 1 of the dataset were lost"):
        blocks[1:2]


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"budget": -1},
            {"seconds": 0},
            {"noise": "a"},
            {"portfolio": "x"},
            {"executor": "spark"},
        ),
        *({"operator": "nosuch:3"}, {"latent": 3}, {"executor": Ray(workers=99)}),
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_no_step_of_a_dataset_runs_for_wrong_arguments(
    wrong: dict[str, Any], path: surfing.Trajectory, tmp_path: Path
) -> None:
    dataset = blocks_with(lambda y: {"y": y}, tmp_path)
    with pytest.raises(InputError):
        surfing.recover(path, dataset, **wrong)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def many(y: Tensor) -> Tensor:
    return y.repeat(26, 1, 1, 1)  # 312 targets: more than one block


@pytest.fixture
def lying(many: Tensor) -> Any:
    """The same numbers in three blocks, none as long as a shard."""
    return data.from_numpy([many[:100].numpy(), many[100:101].numpy(), many[101:].numpy()])


@pytest.mark.parametrize(
    "executor",
    [
        Ray(workers=2),
        pytest.param("local", marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
    ids=["ray", "local", "none"],
)
def test_recover_from_a_dataset_is_recover_from_its_numbers(
    executor: Any, path: surfing.Trajectory, net: nn.Module, many: Tensor, lying: Any
) -> None:
    options = {"generator": net, "budget": 60}
    plain = surfing.recover(path, many, **options)
    ticks: list[tuple[int, int]] = []
    found = surfing.recover(
        path, lying, executor=executor, progress=lambda *tick: ticks.append(tick), **options
    )
    assert same(plain, found)
    assert ticks[-1] == (312, 312)
    assert found.info == plain.info


@pytest.mark.slow
def test_it_does_not_matter_where_the_numbers_lie(path: surfing.Trajectory, y: Tensor) -> None:
    options = {"budget": 60, "ids": range(100, 112)}
    plain = surfing.recover(path, y, **options)
    found = surfing.recover(path, data.from_numpy(y.numpy()), executor=Ray(workers=1), **options)
    assert same(plain, found)
    assert found.info == plain.info


@pytest.mark.slow
def test_a_folder_of_shards_from_a_dataset_to_a_dataset(
    path: surfing.Trajectory, y: Tensor, tmp_path: Path
) -> None:
    solve = partial(surfing.recover, path, budget=60)
    dataset = data.from_numpy(np.split(y.numpy(), 4))
    once = solve_all(solve, y, Local(), shard=5, ids=range(len(y)))
    with Shards.open(out := tmp_path / "out", {}, targets=12, size=5, overwrite=False) as shards:
        with pytest.raises(MeasurementError, match=r"^y: expected 12 targets, got 11"):
            shards.run(solve, dataset.limit(11), Ray(workers=2))
        assert shards.run(solve, dataset, Ray(workers=2)) == 0
        assert shards.run(solve, dataset, Local()) == 3
        shards.gather(parquet=True)
    results = data.read_parquet(str(out / "parquet"))
    read = {name: [] for name in ("id", "z", "x", "residual", "cost", "status")}
    for batch in results.iter_batches(batch_size=4, batch_format="numpy"):
        for name in read:
            read[name].append(batch[name])
    order = np.argsort(np.concatenate(read["id"]))
    joined = {name: np.concatenate(parts)[order] for name, parts in read.items()}
    assert joined["id"].tolist() == list(range(12))
    assert np.array_equal(joined["z"], once.z.numpy())
    assert np.array_equal(joined["x"], once.x.numpy())
    assert np.array_equal(joined["cost"], once.cost.numpy())
    # Signals that were found are measurements again.
    again = Blocks.open(data.read_parquet(str(out / "parquet")).select_columns(["x"]))
    assert np.array_equal(again[0:12], once.x.numpy())


@pytest.mark.slow
def test_the_page_on_scale_says_what_runs(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "scale.md"
    trajectory = surfing.zoo.packaged()
    net = generator_from_manifest(trajectory.architecture, trajectory[-1].state)
    problem = bind(
        trajectory,
        np.zeros((6, 50), np.float32),
        generator=net,
        operator="gaussian:50",
        latent=None,
        operator_seed=0,
    )
    z = trajectory.latent.sample(range(6), 1, seed=3)[:, 0]
    measured = problem.architecture.at(trajectory[-1].state)(z).detach().numpy()
    data.from_numpy(measured).write_parquet(str(tmp_path / "y"))
    text = page.read_text(encoding="utf-8").replace('"/data"', repr(str(tmp_path)))
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(snippets) == 2
    known: dict[str, Any] = {"__name__": "page"}
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), known)
    data.from_numpy(measured[::-1].copy()).write_parquet(str(tmp_path / "y"), mode="overwrite")
    with pytest.raises(OutputExistsError, match="are not those of before"):
        exec(compile(snippets[1], str(page), "exec"), known)
    found = sorted(known["results"].take_all(), key=lambda row: row["id"])
    assert np.array_equal(np.stack([row["z"] for row in found]), known["solution"].z.numpy())


@pytest.mark.slow
def test_the_driver_does_not_hold_the_dataset() -> None:
    def make(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": np.ones((len(batch["id"]), 2000), np.float32) * batch["id"][:, None]}

    blocks = Blocks.open(data.range(16_000, override_num_blocks=8).map_batches(make))
    before, sums = own_memory(), 0.0
    for low in range(0, len(blocks), 256):
        sums += float(blocks[low : low + 256][:, 0].sum())
    assert sums == sum(range(16_000))
    assert own_memory() - before < 0.2 * 16_000 * 2000 * 4


def own_memory() -> int:
    """Bytes of this process alone; the object store's memory is the node's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

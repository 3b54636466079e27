"""Shards on a real cluster of two workers, which are killed while they work."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.execution.conftest import same
from torch import Tensor, nn

import surfing
from surfing.cli import main
from surfing.errors import InputError, WorkerLostError
from surfing.execution import Local, Ray, Shards, Solve, solve_all
from surfing.execution.packing import pack, unpack
from surfing.execution.ray import _check_answers
from surfing.solution import Solution

ray = pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")

# Ray leaves pipes and log files of the processes that it started to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed (file|socket):ResourceWarning"),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]
TWO = Ray(workers=2)


@pytest.fixture(scope="module", autouse=True)
def cluster(two_workers: None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as a worker has: sums are rounded alike
    # This file lies on no worker's path.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def solve(path: surfing.Trajectory, net: nn.Module) -> Solve:
    return partial(surfing.recover, path, generator=net, budget=60)


@pytest.fixture(scope="module")
def once(solve: Solve, y: Tensor) -> Solution:
    """What this process makes of it, in shards of 2."""
    return solve_all(solve, y, Local(), shard=2, ids=range(len(y)))


@dataclass(frozen=True)
class Deadly:
    """A solve that kills its own process on one target, a number of times."""

    solve: Solve
    victim: int
    folder: Path
    deaths: int

    def __call__(self, y: Tensor, *, ids: Sequence[int], progress: object = None) -> Solution:
        (self.folder / f"{ids[0]}-{time.monotonic_ns()}-begun").touch()
        if self.victim in ids and self.count("death") < self.deaths:
            (self.folder / f"{time.monotonic_ns()}-death").touch()
            time.sleep(1.0)  # the shard before has been answered: its loss would be its own
            os.kill(os.getpid(), signal.SIGKILL)
        return self.solve(y, ids=ids)

    def count(self, what: str) -> int:
        return len(list(self.folder.glob(f"*{what}")))


def refuse(y: Tensor, *, ids: Sequence[int], progress: object = None) -> Solution:
    raise InputError(f"target {ids[0]} is not to my taste.")


class Unreadable:
    """Can be sent, but not put together again."""

    def __call__(self, y: Tensor, *, ids: Sequence[int], progress: object = None) -> Solution:
        raise AssertionError

    def __reduce__(self) -> object:
        return int, ("not a number",)


def test_recover_on_a_cluster_is_recover(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    many = y.repeat(26, 1, 1, 1)  # 312 targets: more than one block
    options = {"generator": net, "budget": 60}
    plain = surfing.recover(path, many, **options)
    ticks: list[tuple[int, int]] = []
    spread = surfing.recover(
        path, many, executor=TWO, progress=lambda *tick: ticks.append(tick), **options
    )
    assert same(plain, spread)
    assert ticks[-1] == (312, 312)
    assert spread.info["solved_by"] == plain.info["solved_by"]


def test_the_shard_of_a_killed_worker_is_done_again_and_order_does_not_matter(
    solve: Solve, y: Tensor, once: Solution, tmp_path: Path
) -> None:
    deadly = Deadly(solve, victim=5, folder=tmp_path, deaths=1)
    shards = [range(low, low + 2) for low in range(0, len(y), 2)]
    found = dict(TWO.run(deadly, shards[::-1], lambda part: slice_of(y, part), ids=range(len(y))))
    assert same(Solution.joined([found[part] for part in shards]), once)
    assert deadly.count("death") == 1


def test_a_shard_that_kills_every_worker_is_blamed_and_the_run_goes_on_later(
    solve: Solve, y: Tensor, once: Solution, tmp_path: Path
) -> None:
    folder = tmp_path / "marks"
    folder.mkdir()
    deadly = Deadly(solve, victim=5, folder=folder, deaths=100)
    by = Ray(workers=1, attempts=2)  # the others wait behind the deadly one, in the same worker
    with Shards.open(tmp_path / "out", {}, targets=len(y), size=2, overwrite=False) as shards:
        with pytest.raises(WorkerLostError, match="targets 4 to 5 lost their worker 2 times"):
            shards.run(deadly, y, by)
        assert deadly.count("death") == 2
        assert deadly.count("begun") == 4
        assert [shards.done(part) for part in shards.ranges()] == [True] * 2 + [False] * 4
        assert shards.run(solve, y, Local()) == 2
        found = [solution for _, solution in shards.solutions()]
    assert same(Solution.joined(found), once)


def test_what_a_worker_raises_is_raised_here(y: Tensor) -> None:
    with pytest.raises(InputError, match=r"^target 0 is not to my taste"):
        solve_all(refuse, y, Ray(workers=1), shard=2, ids=range(len(y)))


def test_what_no_worker_can_read_is_refused_at_once(y: Tensor) -> None:
    with pytest.raises(InputError, match=r"^executor: a worker could not read .*not a number"):
        solve_all(Unreadable(), y, Ray(workers=1), shard=2, ids=range(len(y)))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Ray(workers=3), "workers"),
        (Ray(threads=3), "threads"),
        (Ray(workers=2, threads=2), "workers"),
        (Ray(gpus=1), "gpus"),
    ],
    ids=str,
)
def test_more_than_the_cluster_hosts_is_refused(
    settings: Ray, name: str, solve: Solve, y: Tensor
) -> None:
    if name == "gpus" and ray.cluster_resources().get("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match=f"^{name}: the cluster hosts "):
        solve_all(solve, y, settings, shard=2, ids=range(len(y)))


def test_the_command_on_a_cluster_from_parquet_to_parquet(
    path: surfing.Trajectory, y: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.save(run := tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray Data's own
        ray.data.from_numpy(y.numpy()).write_parquet(str(tmp_path / "y"))
    line = ["recover", run, "--budget", "60", "--shard", "6", "--device", "cpu", "--json"]
    line += ["--measurements", tmp_path / "y", "--out", tmp_path / "out", "--executor", "ray"]
    assert main([str(a) for a in [*line, "--workers", "3"]]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: --workers: the cluster")
    assert main([str(a) for a in [*line, "--workers", "2", "--parquet"]]) == 0
    result = json.loads(capsys.readouterr().out)
    line[line.index("ray")], line[line.index(tmp_path / "out")] = "local", tmp_path / "here"
    assert main([str(a) for a in line]) == 0
    assert result["met"] == json.loads(capsys.readouterr().out)["met"]
    z, x = (np.load(tmp_path / "here" / f"{name}.npy") for name in "zx")
    assert np.array_equal(np.load(tmp_path / "out" / "z.npy"), z)
    assert np.array_equal(np.load(tmp_path / "out" / "x.npy"), x)
    files = sorted((tmp_path / "out" / "parquet").iterdir())
    written = np.concatenate(
        [pq.read_table(f)["x"].combine_chunks().to_numpy_ndarray() for f in files]
    )
    assert np.array_equal(written, x)


@contextmanager
def held(cpus: int) -> Iterator[None]:
    """Somebody else's work on the cluster."""

    class Other:
        def begun(self) -> None:
            pass

    others = [ray.remote(num_cpus=1)(Other).remote() for _ in range(cpus)]
    ray.get([other.begun.remote() for other in others])
    yield
    for other in others:
        ray.kill(other)


def test_who_finds_a_place_does_all_where_others_hold_the_cluster(
    solve: Solve, y: Tensor, once: Solution
) -> None:
    with held(1):
        assert same(solve_all(solve, y, TWO, shard=2, ids=range(len(y))), once)


def test_that_no_worker_can_be_had_is_said(
    solve: Solve, y: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    said = "^executor: no worker began within 1 s: 0 of 2 CPUs of the cluster are free"
    with held(2), pytest.raises(WorkerLostError, match=said):
        solve_all(solve, y, Ray(patience=1), shard=2, ids=range(len(y)))
    assert "no worker has begun yet" in caplog.text


def test_another_cluster_than_the_one_that_is_connected_to_is_refused() -> None:
    with pytest.raises(InputError, match=r"^address: this process is connected to"):
        Ray(address="127.0.0.1:1").ready().__enter__()


@pytest.mark.parametrize("name", ["address", "RAY_ADDRESS"])
@pytest.mark.parametrize("place", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_nothing_answers_is_refused(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", place)
    with pytest.raises(InputError, match=f"^{name}: expected a Ray cluster at 127.0.0.1:"):
        _check_answers(place if name == "address" else None)


def test_packing_is_the_identity(path: surfing.Trajectory, net: nn.Module) -> None:
    values = {
        "half": torch.arange(3, dtype=torch.float16),
        "view": torch.arange(12.0).reshape(3, 4).T,
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
        "array": np.arange(4),
        "function": lambda value: value + 1,
        "state": path[-1].state,
        "module": net,
    }
    again = unpack(pack(values))
    for name in ("half", "view", "scalar", "empty", "flags"):
        assert again[name].dtype == values[name].dtype  # type: ignore[union-attr]
        assert torch.equal(again[name], values[name])  # type: ignore[arg-type]
    assert again["array"].tolist() == [0, 1, 2, 3]
    assert again["function"](1) == 2
    for name, weights in path[-1].state.items():
        assert torch.equal(again["state"][name], weights)
    for ours, theirs in zip(net.parameters(), again["module"].parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert theirs.requires_grad


def test_tensors_are_sent_once_however_often_they_are_named() -> None:
    big = torch.zeros(1000)
    assert pack([big, big, big]).size < 2 * pack([big]).size


def test_what_cannot_be_sent_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(InputError, match=r"^executor: "):
        pack({"open": file})


def slice_of(y: Tensor, part: range) -> Tensor:
    return y[part.start : part.stop].clone()

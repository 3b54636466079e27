"""A limit in seconds: every block has its share of it, on whatever machine it is worked on."""

from __future__ import annotations

import itertools
import pickle
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import surfing
from surfing.execution.local import Local
from surfing.execution.pool import Pool
from surfing.execution.targets import Targets, followed
from surfing.portfolio.limits import share_of
from surfing.portfolio.solver import BlockSolver, solver_of
from surfing.problem.model import as_model


@pytest.fixture
def job(path: surfing.Trajectory) -> BlockSolver:
    return solver_of(as_model(path, {}), until=time.perf_counter() + 1000)


def test_blocks_of_one_size_have_equal_shares_of_what_is_left() -> None:
    now, total = time.perf_counter(), 10
    until = now + 500.0
    first = share_of(until, 2, behind=total - 2)
    assert first == pytest.approx(now + 100, abs=1)
    assert share_of(until, 2, behind=0) == pytest.approx(until, abs=1e-6)
    assert share_of(None, 2, behind=8) is None
    assert share_of(now - 1, 2, behind=8) <= time.perf_counter()


def test_the_first_block_leaves_the_others_their_time(
    job: BlockSolver, y: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = []
    end = job.until

    def run(self: BlockSolver, *_: object) -> None:
        shares.append((self.until - time.perf_counter()) / (end - time.perf_counter()))

    monkeypatch.setattr(BlockSolver, "block", 4)
    monkeypatch.setattr(BlockSolver, "_run", run)
    job(Targets(y), ids=range(len(y)))
    assert shares == pytest.approx([4 / 12, 4 / 8, 1.0], rel=1e-3)
    job(Targets(y, behind=len(y)), ids=range(len(y)))  # a shard of a longer run
    assert shares[3] == pytest.approx(4 / 24, rel=1e-3)


def _behind(executor: Any, shards: list[range], y: torch.Tensor) -> list[int]:
    """What each shard is told of those behind it, in the order of the shards."""

    def solve(rows: Targets, *, ids: object, progress: object = None) -> int:
        return rows.behind

    found = dict(executor(solve, shards, Targets(y).rows, range(len(y))))
    return [found[part] for part in shards]


def _here(solve: Any, shards: list[range], measured: Any, ids: range) -> Any:
    return Local().run(solve, shards, measured, ids=ids)


def _workers(number: int) -> Any:
    """A cluster's pool of workers, all of them in this process."""

    def run(solve: Any, shards: list[range], measured: Any, ids: range) -> Any:
        def call(function: Any) -> SimpleNamespace:
            return SimpleNamespace(remote=function)

        def hire(*_: object) -> SimpleNamespace:
            work = call(lambda rows, mine: (next(tickets), solve(rows, ids=mine)))
            return SimpleNamespace(ready=call(lambda: (next(tickets), None)), solve=work)

        tickets = itertools.count()
        ray = SimpleNamespace(
            put=lambda packed: packed,
            remote=lambda kind: SimpleNamespace(options=lambda **_: call(hire)),
            wait=lambda refs, **_: ([min(refs)], []),
            get=lambda ref: ref[1],
            kill=lambda worker: None,
            exceptions=SimpleNamespace(RayTaskError=KeyError, RayActorError=KeyError,
                                       ObjectLostError=KeyError, OutOfMemoryError=KeyError),
        )  # fmt: skip
        pool = Pool(ray, None, size=number, threads=1, gpus=0, attempts=1, patience=1)  # type: ignore[arg-type]
        return pool.run(shards, measured, ids)

    return run


def test_what_is_behind_is_what_the_same_worker_has_yet_to_do(y: torch.Tensor) -> None:
    twos = [range(low, low + 2) for low in range(0, 12, 2)]
    assert _behind(_here, twos, y) == [10, 8, 6, 4, 2, 0]
    assert _behind(_here, twos[1:2], y) == [0]  # the rest was done before
    assert _behind(_workers(6), twos, y) == [0] * 6
    assert _behind(_workers(3), twos, y) == [2, 2, 2, 0, 0, 0]
    assert _behind(_workers(1), twos, y) == [10, 8, 6, 4, 2, 0]


def test_rows_that_know_nothing_of_others_are_left_alone(y: torch.Tensor) -> None:
    assert followed(y, 3) is y
    assert followed(Targets(y, behind=4), 3).behind == 7


def test_a_limit_is_the_same_moment_where_the_clock_began_at_another_time(
    job: BlockSolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pickle.dumps(job)
    clock = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 5000)
    there = pickle.loads(sent)
    assert there.until - time.perf_counter() == pytest.approx(1000, abs=5)
    assert there.model.latent == job.model.latent

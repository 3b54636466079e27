"""A limit in seconds: every block has its share of it, on whatever machine it is worked on."""

from __future__ import annotations

import pickle
import time
from functools import partial

import pytest
import torch

import surfing
from surfing.execution.ray import _beside
from surfing.execution.targets import Targets
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


def test_workers_side_by_side_share_what_is_behind_them(y: torch.Tensor) -> None:
    measured = _beside(Targets(y).rows, 4, range(2))
    assert (len(measured), measured.behind) == (2, 2)
    assert torch.equal(_beside(partial(torch.mul, y[0]), 4, 1), y[0])


def test_a_limit_is_the_same_moment_where_the_clock_began_at_another_time(
    job: BlockSolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pickle.dumps(job)
    clock = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 5000)
    there = pickle.loads(sent)
    assert there.until - time.perf_counter() == pytest.approx(1000, abs=5)
    assert there.model.latent == job.model.latent

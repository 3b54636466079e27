"""One real cluster of two workers for the modules that need one, and what they compare."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from surfing.solution import Solution


@pytest.fixture(scope="package")
def two_workers() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # while Ray itself starts and ends
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as a worker has: sums that several threads share are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(one: Solution, other: Solution) -> bool:
    """Bit for bit, but for the time."""
    ours, theirs = one._tensors(), other._tensors()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].nan_to_num(7e7), theirs[name].nan_to_num(7e7)) for name in ours
    )

"""The driver: all targets, shard by shard, by whichever executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from surfing.execution.dataset import opened
from surfing.execution.executor import Executor, Progress, Solve
from surfing.execution.local import Local
from surfing.execution.targets import Targets, rows_of
from surfing.solution import Solution

__all__ = ["shards_of", "solve_all"]


def shards_of(targets: int, size: int) -> list[range]:
    """Positions of the targets of each shard; all but the last have `size`.

    >>> shards_of(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(low, min(low + size, targets)) for low in range(0, targets, size)]


def solve_all(
    solve: Solve,
    y: Any,
    executor: Executor,
    *,
    shard: int,
    ids: Sequence[int],
    place: torch.device | None = None,
    progress: Progress | None = None,
) -> Solution:
    """All targets, shard by shard, their solutions joined in memory.

    Args:
        solve: what to do with a shard.
        y: one line per target; a Ray Dataset too.
        executor: who does it.
        shard: targets in each shard but the last.
        ids: of the targets, for their random numbers.
        place: the device that measurements are moved to.
        progress: called with (targets done, targets in all).
    """
    y = y if isinstance(y, Targets) else opened(y)
    shards = shards_of(len(y), shard)
    if not shards:  # an empty one, so that what comes out has the shapes of a solution
        shards, executor = [range(0)], Local()
    found: dict[range, Solution] = {}
    for part, solution in executor.run(
        solve, shards, lambda part: rows_of(y, part).to(place), ids=ids, progress=progress
    ):
        found[part] = solution
    return Solution.joined([found[part] for part in shards])

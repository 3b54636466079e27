"""What is done with a shard, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.execution.dataset import opened
from surfing.execution.local import Local
from surfing.execution.ray import Ray
from surfing.execution.targets import Targets
from surfing.solution import Solution

__all__ = ["Executor", "Measurements", "Solve", "as_executor", "ready", "rows_of", "solve_all"]

Progress = Callable[[int, int], None]


class Measurements(Protocol):
    """Rows that may lie on the disk: what :class:`numpy.memmap` and tensors have in common."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


class Solve(Protocol):
    """Measurements of some targets in, their solution out; sent to workers, so it can be pickled.

    ``partial(surfing.recover, model)`` is one.
    """

    def __call__(
        self, y: Tensor, *, ids: Sequence[int], progress: Progress | None = None
    ) -> Solution:
        """Recover the targets of one shard.

        Args:
            y: their measurements.
            ids: of the targets, for their random numbers.
            progress: called with (done, in all) of this shard.
        """
        ...


@runtime_checkable
class Executor(Protocol):
    """Who solves shards."""

    def run(
        self,
        solve: Solve,
        shards: Sequence[range],
        measured: Callable[[range], Tensor],
        *,
        ids: Sequence[int],
        progress: Progress | None = None,
    ) -> Iterator[tuple[range, Solution]]:
        """Solve shards, in whatever order they are ready.

        Args:
            solve: what to do with one.
            shards: positions of the targets of each.
            measured: their measurements; asked for when a shard is begun.
            ids: of all targets, by position.
            progress: called with (targets done, targets in all), all shards together.
        """
        ...


def as_executor(executor: Executor | str | None) -> Executor:
    """An executor of what the caller gave: one, or the name ``"local"`` or ``"ray"``.

    Raises:
        InputError: anything else.
    """
    if executor is None or executor == "local":
        return Local()
    if executor == "ray":
        return Ray()
    if isinstance(executor, Executor) and not isinstance(executor, type):
        return executor
    raise InputError(
        f'executor: expected None, "local", "ray" or an object like surfing.execution.Ray(workers='
        f"4), got {executor!r}."
    )


def ready(executor: Executor | None) -> AbstractContextManager[None]:
    """While it lasts an executor is there; what it lacks is said before any work.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: the cluster can't be reached, or can't host the workers.
    """
    prepare = getattr(executor, "ready", None)
    return nullcontext() if prepare is None else prepare()


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
    shards = [range(low, min(low + shard, len(y))) for low in range(0, len(y), shard)]
    found: dict[range, Solution] = {}
    for part, solution in executor.run(
        solve, shards, lambda part: rows_of(y, part).to(place), ids=ids, progress=progress
    ):
        found[part] = solution
    return Solution.joined([found[part] for part in shards])


def rows_of(y: Any, part: range) -> Any:
    """Some rows in memory, in this machine's byte order, with what belongs to each target."""
    if isinstance(y, Targets):
        return y.rows(part)
    rows = y[part.start : part.stop]
    if isinstance(rows, Tensor):
        return rows.clone()  # a view would take the whole along to a worker
    copied = np.array(rows, dtype=rows.dtype.newbyteorder("="))
    return torch.from_numpy(copied)

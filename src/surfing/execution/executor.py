"""What is done with a shard, and by whom: the words that all executors share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from surfing.solution import Solution

__all__ = ["Executor", "Measurements", "Progress", "Solve"]

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


class Measurements(Protocol):
    """Rows that may lie on the disk: what :class:`numpy.memmap` and tensors have in common."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


class Solve(Protocol):
    """Measurements of some targets in, their solution out; sent to workers, so it can be pickled.

    ``partial(surfing.recover, model)`` is one.
    """

    def __call__(self, y: Any, *, ids: Sequence[int], progress: Progress | None = None) -> Solution:
        """Recover the targets of one shard.

        Args:
            y: their measurements.
            ids: of the targets, for their random numbers.
            progress: called with (done, in all) of this shard.
        """
        ...


class Executor(ABC):
    """Who solves shards. Subclass it, or pass any object with such a `run`."""

    @abstractmethod
    def run(
        self,
        solve: Solve,
        shards: Sequence[range],
        measured: Callable[[range], Any],
        *,
        ids: Sequence[int],
        progress: Progress | None = None,
    ) -> Iterator[tuple[range, Solution]]:
        """Solve shards, in whatever order they are ready.

        Args:
            solve: what to do with one.
            shards: positions of the targets of each.
            measured: their measurements; asked for when a shard is begun. Each shard may use all
                of a limit in seconds that is left, but of rows that
                :func:`surfing.execution.targets.followed` returns, which leave those behind them
                their share.
            ids: of all targets, by position.
            progress: called with (targets done, targets in all), all shards together.
        """

    def ready(self) -> AbstractContextManager[None]:
        """While it lasts the executor is there; what it lacks is said before any work.

        Nothing is needed by default. An executor of workers connects to them here.

        Raises:
            SurfingError: it can't work.
        """
        return nullcontext()

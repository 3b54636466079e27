"""Shards in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from surfing.execution.executor import Executor, Progress, Solve
from surfing.execution.targets import followed
from surfing.solution import Solution

__all__ = ["Local"]


@dataclass(frozen=True)
class Local(Executor):
    """This process."""

    def run(
        self,
        solve: Solve,
        shards: Sequence[range],
        measured: Callable[[range], Any],
        *,
        ids: Sequence[int],
        progress: Progress | None = None,
    ) -> Iterator[tuple[range, Solution]]:
        """See :class:`surfing.execution.Executor`."""
        total, done = sum(map(len, shards)), 0
        for part in shards:
            yield (
                part,
                solve(
                    followed(measured(part), total - done - len(part)),
                    ids=ids[part.start : part.stop],
                    progress=_share(progress, done, len(part), total),
                ),
            )
            done += len(part)


def _share(progress: Progress | None, before: int, size: int, total: int) -> Progress | None:
    """A shard's own progress, told in targets of all shards."""
    if progress is None:
        return None

    def tick(done: int, of: int) -> None:
        progress(before + size * done // max(of, 1), total)

    return tick

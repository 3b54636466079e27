"""An executor of what the caller gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from surfing.errors import InputError
from surfing.execution.executor import Executor, Progress, Solve
from surfing.execution.local import Local
from surfing.execution.ray import Ray
from surfing.solution import Solution

__all__ = ["as_executor"]


def as_executor(executor: object) -> Executor:
    """An executor of what the caller gave.

    Args:
        executor: None or ``"local"`` for this process, ``"ray"`` for a cluster with the settings
            that it has by default, an :class:`Executor`, or any object with its `run`.

    Raises:
        InputError: anything else.
    """
    if executor is None or executor == "local":
        return Local()
    if executor == "ray":
        return Ray()
    if isinstance(executor, Executor):
        return executor
    if callable(getattr(executor, "run", None)) and not isinstance(executor, type):
        return _Foreign(executor)
    raise InputError(
        f'executor: expected None, "local", "ray" or an object like surfing.execution.Ray(workers='
        f"4), got {executor!r}.",
        argument="executor",
    )


@dataclass(frozen=True)
class _Foreign(Executor):
    """An object with `run`, and perhaps with `ready`, that is no subclass."""

    by: Any

    def run(
        self,
        solve: Solve,
        shards: Sequence[range],
        measured: Callable[[range], Any],
        *,
        ids: Sequence[int],
        progress: Progress | None = None,
    ) -> Iterator[tuple[range, Solution]]:
        found: Iterator[tuple[range, Solution]]
        found = self.by.run(solve, shards, measured, ids=ids, progress=progress)
        return found

    def ready(self) -> AbstractContextManager[None]:
        own: Callable[[], AbstractContextManager[None]] = getattr(self.by, "ready", super().ready)
        return own()

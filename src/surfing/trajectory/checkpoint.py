"""One checkpoint, read when it is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from surfing.errors import CorruptTrajectoryError
from surfing.generator import State
from surfing.trajectory.manifest import StoredFile
from surfing.trajectory.store import Stamp, read_state
from surfing.trajectory.tensors import signature

__all__ = ["Checkpoint", "Directory", "InFile", "InMemory", "Source"]

CACHED = 8
"""How many checkpoints of one directory are held in memory."""


class Source(Protocol):
    """Where a checkpoint's tensors come from."""

    def load(self) -> State:
        """The tensors by name."""
        ...


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The generator at one moment of its training.

    Attributes:
        step: generator steps taken.
        drift: RMS distance in function space from the checkpoint before it in the trajectory, as
            it was recorded; None where that is unknown.
    """

    step: int
    source: Source = field(repr=False)
    drift: float | None = None

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers by name. The tensors are shared: don't write into them.

        Raises:
            CorruptTrajectoryError: the file is damaged, missing, or of another shape than others.
        """
        return dict(self.source.load())


@dataclass(frozen=True)
class InMemory:
    """Tensors that are there already."""

    state: State

    def load(self) -> State:
        """The tensors by name."""
        return self.state


class Directory:
    """The files of one trajectory: the last few that were read stay in memory; threads may share.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._forget()

    def _forget(self) -> None:
        self._recent: OrderedDict[str, State] = OrderedDict()
        self._shapes: tuple[str, dict[str, tuple[int, ...]]] | None = None
        self._checked: dict[str, Stamp] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}  # sent to another process, it reads the files there

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.path = state["path"]
        self._forget()

    def read(self, file: StoredFile) -> State:
        """One checkpoint's tensors, checked when they come from the disk.

        A file is hashed when it is first read, and again where it was written since.
        """
        with self._lock:
            if file.name in self._recent:
                self._recent.move_to_end(file.name)
                return self._recent[file.name]
        state = read_state(self.path, file, checked=self._checked)
        with self._lock:
            self._check_shapes(file, state)
            self._recent[file.name] = state
            while len(self._recent) > CACHED:
                self._recent.popitem(last=False)
        return state

    def _check_shapes(self, file: StoredFile, state: State) -> None:
        found = signature(state)
        if self._shapes is None:
            self._shapes = (file.name, found)
        first, expected = self._shapes
        if found != expected:
            differing = sorted(found.items() ^ expected.items())[0][0]
            raise CorruptTrajectoryError(
                f"{self.path}: {file.name} and {first} are no checkpoints of one generator: they "
                f"differ in name or shape at {differing!r}. Import or record the trajectory again."
            )


@dataclass(frozen=True)
class InFile:
    """Tensors in a file of a directory."""

    directory: Directory
    file: StoredFile

    def load(self) -> State:
        """The tensors by name."""
        return self.directory.read(self.file)

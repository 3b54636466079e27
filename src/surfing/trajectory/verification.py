"""Is a trajectory whole? And what to do where it is not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from surfing.errors import CorruptTrajectoryError
from surfing.generator import State
from surfing.trajectory.checkpoint import Directory
from surfing.trajectory.lock import DirectoryLock
from surfing.trajectory.manifest import Entry
from surfing.trajectory.store import Store, read_manifest, read_state
from surfing.trajectory.tensors import signature

__all__ = ["Verification", "repair", "verify_directory", "verify_states"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verification:
    """What was read and found whole.

    Attributes:
        checkpoints: how many.
        files: how many files they are in; 0 in memory.
        bytes: the files' size in all.
        tensors: parameters and buffers in each checkpoint.
        not_finite: steps of checkpoints that hold NaN or infinity: whole, but of no use.
    """

    checkpoints: int
    files: int
    bytes: int
    tensors: int
    not_finite: tuple[int, ...]

    def __str__(self) -> str:
        text = f"{self.checkpoints} checkpoints, {self.files} files, {self.bytes} bytes: all whole"
        if self.not_finite:
            text += f"; not finite at steps {', '.join(map(str, self.not_finite))}"
        return text


def verify_directory(path: Path) -> Verification:
    """Read and hash every file that the manifest on disk names.

    Raises:
        CorruptTrajectoryError: naming the first damaged file.
    """
    manifest = read_manifest(path)
    directory = Directory(path)
    tensors, bad = 0, []
    for entry in manifest.entries:
        states = [directory.read(file) for file in entry.files]
        tensors = len(states[0])
        if not all(_is_finite(state) for state in states):
            bad.append(entry.step)
    size = sum(file.bytes for file in manifest.files)
    return Verification(len(manifest.entries), len(manifest.files), size, tensors, tuple(bad))


def verify_states(states: Iterable[tuple[int, State]]) -> Verification:
    """The same for checkpoints in memory, which have no files to be damaged."""
    count, tensors, bad = 0, 0, []
    for step, state in states:
        count, tensors = count + 1, len(state)
        if not _is_finite(state):
            bad.append(step)
    return Verification(count, 0, 0, tensors, tuple(bad))


def repair(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Drop the damaged checkpoints of a directory and go on with the rest.

    The files of dropped checkpoints are deleted. A damaged manifest can't be repaired: the hashes
    are in it.

    Returns:
        The steps that were dropped.

    Raises:
        NotATrajectoryError: there is no manifest.
        CorruptTrajectoryError: the manifest itself is damaged.
        LockedTrajectoryError: a recorder is writing there.
    """
    directory = Path(path)
    manifest = read_manifest(directory, check_files=False)
    lock = DirectoryLock(directory)
    try:
        kept: list[Entry] = []
        dropped: list[int] = []
        shapes: dict[str, tuple[int, ...]] | None = None
        for entry in manifest.entries:
            found = _shapes_if_whole(directory, entry)
            shapes = shapes or found
            if found is None or found != shapes:
                dropped.append(entry.step)
                continue
            lost = dropped and (not kept or kept[-1].step < dropped[-1])
            kept.append(replace(entry, drift=None) if lost else entry)
        if dropped:
            Store(directory, manifest).commit(kept)
            _log.warning("%s: dropped the damaged checkpoints of steps %s", directory, dropped)
        return tuple(dropped)
    finally:
        lock.release()


def _shapes_if_whole(directory: Path, entry: Entry) -> dict[str, tuple[int, ...]] | None:
    try:
        shapes = [signature(read_state(directory, file)) for file in entry.files]
    except CorruptTrajectoryError:
        return None
    return shapes[0] if shapes[0] == shapes[-1] else None


def _is_finite(state: State) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in state.values())

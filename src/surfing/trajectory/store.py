"""The directory format: ``manifest.json`` and one safetensors file per checkpoint.

Every file appears under its name complete or not at all: it is written to a temporary name in the
same directory, synced, renamed, and the directory synced. A checkpoint's file comes first, then
the manifest that names it; files are deleted only once no manifest names them. So whatever moment
a writer is killed at, the manifest on disk names complete files only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shlex
import stat
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import torch

from surfing import files
from surfing.errors import (
    CorruptTrajectoryError,
    InputError,
    NotATrajectoryError,
    OutputExistsError,
    TrajectoryError,
)
from surfing.generator import State
from surfing.trajectory.manifest import MAX_BYTES, Entry, Manifest, StoredFile, decode, encode
from surfing.trajectory.tensors import state_from_bytes, state_to_bytes

__all__ = [
    "MANIFEST_NAME",
    "Stamp",
    "Store",
    "make_directory",
    "open_for_writing",
    "physical_memory",
    "read_manifest",
    "read_stamped",
    "read_state",
    "versions",
]

MANIFEST_NAME = "manifest.json"
_OURS = re.compile(r"step-\d{9,16}(\.average)?\.safetensors", re.ASCII)
_SETTLED_NS = 2 * 10**9
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

Stamp = tuple[int, ...]


def read_manifest(directory: Path, *, check_files: bool = True) -> Manifest:
    """Read the manifest, and see that the files it names are there with the size it says.

    Raises:
        NotATrajectoryError: there is no manifest.
        CorruptTrajectoryError: the manifest, or a file that it names, is not what it should be.
    """
    path = directory / MANIFEST_NAME
    try:
        text, _ = _read_regular(path, MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotATrajectoryError(
            f"{directory}: expected a trajectory, found no {MANIFEST_NAME} there. Give the "
            "directory that a Recorder wrote; for a folder of checkpoint files that something "
            "else saved, use surfing.import_checkpoints, or `surfing import`, first."
        ) from error
    except OSError as error:
        raise CorruptTrajectoryError(f"{path}: can't be read: {_reason(error)}.") from error
    manifest = decode(text, str(path))
    if check_files:
        for file in manifest.files:
            _check_size(directory, file)
    return manifest


def read_state(
    directory: Path, file: StoredFile, *, checked: dict[str, Stamp] | None = None
) -> State:
    """Read one checkpoint: its size and hash are checked before anything is parsed.

    Args:
        directory: of the trajectory.
        file: what the manifest says of it.
        checked: when each file that was read before was last written; one that was not written
            since is not hashed again. Changed in place.

    Raises:
        CorruptTrajectoryError: it is missing, damaged, or not what the manifest says.
    """
    path = directory / file.name
    try:
        _check_size(directory, file)
        _check_memory(path, file.bytes)
        data, stamp = _read_regular(path, file.bytes + 1)
    except OSError as error:
        raise _damaged(path, f"can't be read: {_reason(error)}") from error
    known = checked is not None and stamp is not None and checked.get(file.name) == stamp
    if len(data) != file.bytes or not (known or hashlib.sha256(data).hexdigest() == file.sha256):
        raise _damaged(path, "was altered or damaged: its contents don't match its hash")
    if checked is not None and stamp is not None:
        checked[file.name] = stamp
    try:
        return state_from_bytes(data)
    except ValueError as error:
        raise _damaged(path, f"is no readable safetensors file: {error}") from error


def make_directory(directory: Path) -> None:
    """Make the directory and those above it, if they are not there.

    Raises:
        InputError: the path is a file.
        TrajectoryError: it can't be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"path: expected a directory, {directory} is a file.") from error
    except OSError as error:
        raise TrajectoryError(f"{directory}: can't be made: {_reason(error)}.") from error


def open_for_writing(directory: Path, blank: Manifest, *, resume: bool, overwrite: bool) -> Store:
    """The store of a directory whose lock the caller holds; what a killed writer left is deleted.

    Args:
        directory: where.
        blank: the manifest of a new trajectory, without entries.
        resume: go on with the trajectory that is there, if there is one.
        overwrite: delete it instead.

    Raises:
        OutputExistsError: there is one, and neither was asked for.
        InputError: there is one of another latent law, architecture, dtype or average.
    """
    try:
        found = read_manifest(directory, check_files=not overwrite)
    except NotATrajectoryError:
        found = None
    if found is not None and found.entries and not (resume or overwrite):
        raise OutputExistsError(
            f"{directory} holds a trajectory of {len(found.entries)} checkpoints already. Name "
            "another directory; a Recorder continues it by resume=True, and overwrite=True "
            "deletes it."
        )
    if found is None or overwrite or not found.entries:
        store = Store(directory, found or Manifest())
        store.update(blank)
    else:
        _check_same(directory, found, blank)
        store = Store(directory, found)
        probes, metadata = found.probes or blank.probes, {**found.metadata, **blank.metadata}
        store.update(replace(found, probes=probes, metadata=metadata))
    store.clean()
    return store


def versions() -> dict[str, Any]:
    """What goes into every manifest's metadata: with what it was recorded."""
    from surfing._version import __version__

    return {"versions": {"surfing": __version__, "torch": str(torch.__version__)}}


class Store:
    """The writing side of one directory; the caller holds its lock.

    Attributes:
        directory: where.
        manifest: what is on disk, always: it is replaced here only after it was there.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest: Manifest = manifest

    def put(self, state: State, step: int, *, average: bool = False) -> StoredFile:
        """Write one checkpoint's file; no manifest names it yet.

        Raises:
            TrajectoryError: the file can't be written.
        """
        name = f"step-{step:09d}{'.average' if average else ''}.safetensors"
        data = state_to_bytes(state, self.manifest.dtype)
        self._write(name, data)
        return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())

    def commit(self, entries: Iterable[Entry]) -> None:
        """Replace the entries, then delete the files that are no longer named.

        Raises:
            TrajectoryError: the manifest can't be written; the old one stands.
        """
        self.update(replace(self.manifest, entries=tuple(entries)))

    def update(self, manifest: Manifest) -> None:
        """Replace the whole manifest, then delete the files that are no longer named."""
        self._write(MANIFEST_NAME, encode(manifest))
        dropped = {f.name for f in self.manifest.files} - {f.name for f in manifest.files}
        self.manifest = manifest
        for name in dropped:
            self._delete(name)

    def clean(self) -> None:
        """Delete what a killed writer left: temporary files, and files that no manifest names."""
        named = {file.name for file in self.manifest.files}
        for name in os.listdir(self.directory):
            if name.startswith(files.TEMPORARY) or (_OURS.fullmatch(name) and name not in named):
                self._delete(name)

    def settle(self) -> None:
        """After a failed write: what is on disk is what counts; files it does not name go.

        The rename of the manifest may have happened before the error did.
        """
        with contextlib.suppress(TrajectoryError, OSError):
            self.manifest = read_manifest(self.directory, check_files=False)
            self.clean()

    def abandon(self) -> None:
        """Leave no trace of a trajectory that was never committed."""
        self.clean()
        if not self.manifest.entries:
            self._delete(MANIFEST_NAME)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.directory / name)

    def _write(self, name: str, data: bytes) -> None:
        try:
            files.write(self.directory / name, data)
        except OSError as error:
            raise TrajectoryError(
                f"{self.directory / name}: can't be written: {_reason(error)}. What was recorded "
                f"before is kept: {_held(self.manifest)}."
            ) from error


def _check_same(directory: Path, found: Manifest, blank: Manifest) -> None:
    for name in ("latent", "architecture", "dtype", "average", "probes"):
        old, new = getattr(found, name), getattr(blank, name)
        if name == "probes" and (old is None or new is None):
            continue  # nothing was measured yet, or nothing is any more
        if old != json.loads(json.dumps(new)):  # as it would read back: tuples are lists
            raise InputError(
                f"{name}: {directory} was recorded with {old!r}, got {new!r}. Resume with the "
                "arguments of the first run, or record into another directory."
            )


def _held(manifest: Manifest) -> str:
    steps = [entry.step for entry in manifest.entries]
    return f"{len(steps)} checkpoints up to step {steps[-1]}" if steps else "no checkpoint yet"


def _read_regular(path: Path, limit: int) -> tuple[bytes, Stamp | None]:
    """At most ``limit`` bytes of a regular file: not of a link, a pipe or a device."""
    descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "expected a regular file")
        return read_stamped(stream, limit)


def read_stamped(stream: BinaryIO, limit: int) -> tuple[bytes, Stamp | None]:
    """At most ``limit`` bytes, and the stamp of the file that they are of.

    The stamp is of the open file, whatever its name may stand for by now; there is none where the
    file was written to meanwhile.
    """
    before = _stamp(stream)
    data = stream.read(limit)
    return data, before if _stamp(stream) == before else None


def _stamp(stream: BinaryIO) -> Stamp | None:
    """Which file it is and when it was last written; None where that was just now.

    Within a tick of the file system's clock, a file can be written twice at the same time.
    """
    found = os.fstat(stream.fileno())
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED_NS:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_size(directory: Path, file: StoredFile) -> None:
    path = directory / file.name
    try:
        found = os.lstat(path)
    except OSError as error:
        raise _damaged(path, f"can't be read: {_reason(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise _damaged(path, "is a link or a special file, not a regular one")
    if found.st_size != file.bytes:
        raise _damaged(path, f"has {found.st_size} bytes, the manifest says {file.bytes}")


def _check_memory(path: Path, size: int) -> None:
    """A sparse file takes no room on the disk, whatever size it claims."""
    there = physical_memory()
    if size > there // 2:
        raise _damaged(path, f"of {size} bytes does not fit this machine's memory of {there} bytes")


def physical_memory() -> int:
    """Bytes of memory that this machine has; where it doesn't tell, more than any has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # pragma: no cover - not on Linux or macOS
        return 1 << 62


def _damaged(path: Path, what: str) -> CorruptTrajectoryError:
    return CorruptTrajectoryError(
        f"{path} {what}. Restore it from a copy, or drop the damaged checkpoints with: "
        f"surfing inspect {shlex.quote(str(path.parent))} --repair"
    )


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a link, expected a regular file"
    return error.strerror or str(error)

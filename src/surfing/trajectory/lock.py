"""One writer at a time: an advisory lock that the system releases when its process dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
import weakref
from pathlib import Path

from surfing.errors import LockedTrajectoryError, TrajectoryError

if sys.platform != "win32":
    import fcntl

__all__ = ["LOCK_NAME", "DirectoryLock"]

LOCK_NAME = ".surfing-lock"

_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class DirectoryLock:
    """An exclusive ``flock`` on a file in the directory.

    Raises:
        LockedTrajectoryError: another recorder holds it.
        TrajectoryError: the directory can't be written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._descriptor: int | None = None
        while not self._try(directory):
            pass
        _held.add(self)

    def _try(self, directory: Path) -> bool:
        """Lock the file; False where its owner deleted it between our opening and locking it."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            self._descriptor = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise TrajectoryError(f"{directory}: can't be written: {error.strerror}.") from error
        try:
            _acquire(self._descriptor, directory)
            if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
                return True
        except FileNotFoundError:
            pass
        except BaseException:
            self._close()
            raise
        self._close()
        return False

    def release(self) -> None:
        """Delete the file and let go; harmless when called twice."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # while it is locked, so that nobody else's is deleted
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: the lock is the parent's alone."""
        self._close()

    __del__ = _close


def _acquire(descriptor: int, directory: Path) -> None:
    if sys.platform == "win32":  # pragma: no cover - no flock there
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise LockedTrajectoryError(
                f"{directory}: another recorder is writing to this trajectory. Let it end, give "
                "another directory, or, in distributed training, record on rank 0 only."
            ) from error
        warnings.warn(
            f"{directory}: this file system can't lock files, so nothing keeps a second recorder "
            "from writing there too.",
            stacklevel=4,
        )


_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A forked worker (a data loader's) must not keep the lock of a parent that was killed."""
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)

"""One writer at a time: an advisory lock that the system releases when its process dies."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from surfing.errors import LockedTrajectoryError, TrajectoryError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["LOCK_NAME", "DirectoryLock"]

LOCK_NAME = ".surfing-lock"

_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
_PATIENCE = 0.1


class DirectoryLock:
    """An exclusive lock on a file in the directory.

    A forked child (a data loader's worker) holds nothing: filelock closes its copy at the fork, so
    that the lock of a parent that was killed is free although the child lives.

    Raises:
        LockedTrajectoryError: another recorder holds it.
        TrajectoryError: the directory can't be written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._lock = _acquired(self._path, directory)

    def release(self) -> None:
        """Delete the file and let go; harmless when called twice, and in a forked child."""
        if self._lock is not None and self._lock.is_locked:
            # While it is locked, so that nobody else's is deleted; Windows does it when it is not.
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._lock.release()


def _acquired(path: Path, directory: Path) -> BaseFileLock | None:
    """The lock; None where the file system has none."""
    from filelock import FileLock, Timeout  # only who records pays for the import

    lock = FileLock(path, mode=0o644, thread_local=False)
    try:
        # Not at once: an owner that lets go may delete the file between our opening and locking it.
        lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 5)
    except Timeout as error:
        raise LockedTrajectoryError(
            f"{directory}: another recorder is writing to this trajectory. Let it end, give "
            "another directory, or, in distributed training, record on rank 0 only."
        ) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise TrajectoryError(f"{directory}: can't be written: {error.strerror}.") from error
        warnings.warn(
            f"{directory}: this file system can't lock files, so nothing keeps a second recorder "
            "from writing there too.",
            stacklevel=4,
        )
        return None
    return lock

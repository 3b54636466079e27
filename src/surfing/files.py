"""Files that appear under their name whole or not at all, whatever moment the writer dies at."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["TEMPORARY", "publish", "replacing", "write"]

TEMPORARY = ".surfing-tmp-"
"""How the name of an unfinished file begins; a killed writer leaves it beside the target."""


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """The path to write to: it takes the target's place where the block ends, or is deleted.

    Raises:
        OSError: the file can't be written; the old one stands.
    """
    # The ending stays last: some writers go by it.
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{target.name}")
    try:
        yield temporary
        publish(temporary, target)
    finally:
        with contextlib.suppress(OSError):  # the error that led here says more
            temporary.unlink()


def write(target: Path, content: bytes | str) -> None:
    """Write a whole file; text as UTF-8, with the line ends that it has."""
    data = content.encode() if isinstance(content, str) else content
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with replacing(target) as temporary, open(os.open(temporary, flags, 0o666), "wb") as stream:
        stream.write(data)


def publish(temporary: Path, target: Path) -> None:
    """Rename a finished file, on the disk before its name is, and the name after it."""
    with open(temporary, "rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, target)
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":  # pragma: no cover - a directory can't be opened elsewhere
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't sync a directory; the rename is as safe as they make it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)

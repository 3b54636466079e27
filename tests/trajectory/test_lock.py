"""One writer at a time, whatever becomes of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from surfing.errors import LockedTrajectoryError, TrajectoryError
from surfing.trajectory.lock import LOCK_NAME, DirectoryLock

HOLDER = """
import sys, pathlib
from surfing.trajectory.lock import DirectoryLock
lock = DirectoryLock(pathlib.Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def is_free(folder: Path) -> bool:
    try:
        DirectoryLock(folder).release()
    except LockedTrajectoryError:
        return False
    return True


def test_the_lock_is_exclusive_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for _ in range(2):
        lock = DirectoryLock(tmp_path)
        with pytest.raises(LockedTrajectoryError, match=r"another recorder.*rank 0"):
            DirectoryLock(tmp_path)
        lock.release()
        lock.release()
        assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_dropped_is_free(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    del lock
    assert is_free(tmp_path)


def test_any_thread_may_release_it(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert is_free(tmp_path)


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_another_process_keeps_it_as_long_as_it_lives(tmp_path: Path, end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert not is_free(tmp_path)
        if end == "killed":
            holder.kill()
        holder.communicate()
    assert is_free(tmp_path)


@posix
def test_a_forked_child_neither_holds_nor_releases_it(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    (wait, end), (ready, tell) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        lock.release()
        del lock
        os.write(tell, b"x")
        os.read(wait, 1)
        os._exit(0)
    os.read(ready, 1)
    assert (tmp_path / LOCK_NAME).exists()
    assert not is_free(tmp_path)
    lock.release()
    assert is_free(tmp_path)  # though the child is alive
    os.close(end)
    os.waitpid(child, 0)
    for descriptor in (wait, ready, tell):
        os.close(descriptor)


@posix
def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrajectoryError, match="can't be written"):
        DirectoryLock(tmp_path / "run")
    assert not (tmp_path / "elsewhere").exists()


@posix
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="can't lock files"):
        lock = DirectoryLock(tmp_path)
    lock.release()

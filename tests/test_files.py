"""Files are written whole or not at all, and in one place."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import surfing
from surfing import files
from surfing.execution.manifest import write_json

SOURCE = Path(surfing.__file__).parent
CALLS = ["open", "fsync", "replace"]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_at(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, refuse)


@pytest.mark.parametrize("content", ["", "ä\r\n\n", b"\x00\r\n", b"x" * (1 << 20)])
def test_what_is_written_is_read_back(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "a.txt"
    for _ in range(2):  # the second time over the first
        files.write(path, content)
        expected = content.encode() if isinstance(content, str) else content
        assert path.read_bytes() == expected
        assert left(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", CALLS)
def test_a_failed_call_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.json"
    files.write(path, "old")
    fail_at(monkeypatch, call)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert left(tmp_path) == ["a.json"]


def write_half(path: Path, error: type[BaseException]) -> None:
    with files.replacing(path) as temporary:
        temporary.write_text("ne")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_half_way_leaves_the_old_file_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.json"
    files.write(path, "old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert left(tmp_path) == ["a.json"]


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
def test_a_kill_half_way_leaves_the_old_file_and_one_that_is_known_as_unfinished(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    files.write(path, "old")
    program = (
        "import os, signal, pathlib; from surfing import files\n"
        f"with files.replacing(pathlib.Path({str(path)!r})) as temporary:\n"
        "    temporary.write_text('ne'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (rest,) = (name for name in left(tmp_path) if name != "a.json")
    assert rest.startswith(files.TEMPORARY)


@pytest.mark.skipif(os.name != "posix", reason="a folder can't be synced")
def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    sync, replace = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def noted_replace(*paths: Any) -> None:
        order.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    files.write(tmp_path / "a", "new")
    assert order == ["file", "name", "folder"]


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are followed here")
def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("theirs")
    (tmp_path / f"{files.TEMPORARY}{os.getpid()}-a").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        files.write(tmp_path / "a", "mine")
    assert (tmp_path / "victim").read_text() == "theirs"
    files.write(tmp_path / "a", "mine")  # the link went with the failure


@pytest.mark.parametrize("call", CALLS[1:])
def test_a_solution_that_can_not_be_saved_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.safetensors"
    one, two = (a_solution(value) for value in (1.0, 2.0))
    one.save(path)
    fail_at(monkeypatch, call)
    with pytest.raises(OSError, match="No space"):
        two.save(path, overwrite=True)
    monkeypatch.undo()
    assert torch.equal(surfing.Solution.load(path).z, one.z)
    assert left(tmp_path) == ["a.safetensors"]


def a_solution(value: float) -> surfing.Solution:
    z = torch.full((2, 3), value)
    zero = torch.zeros(2, dtype=torch.float64)
    return surfing.Solution(
        z=z, x=z, risk=zero, status=torch.zeros(2, dtype=torch.int64), cost=zero, method="none"
    )


def test_json_that_can_not_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_every_writer_goes_through_this_module() -> None:
    renames = re.compile(r"\bos\.(replace|rename|renames)\(|shutil\.move\(|\bos\.fsync\(")
    assert those_with(renames, SOURCE) == ["files.py"]


def test_nothing_is_written_where_its_reader_looks_for_it() -> None:
    """But for what is renamed once it is whole, the name of which says so."""
    writes = re.compile(r"(?<!temporary)\.write_(text|bytes)\(|\.(savefig|imsave)\((?!temporary)")
    assert those_with(writes, SOURCE) == []
    assert those_with(writes, SOURCE.parents[1] / "paper") in ([], ["ground/running.py"])


def those_with(pattern: re.Pattern[str], folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*.py"))
        if pattern.search(path.read_text(encoding="utf-8"))
    ]

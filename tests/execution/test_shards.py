"""The folder of a run: one process at a time, each shard once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from surfing.errors import InputError, OutputExistsError
from surfing.execution import Local, Shards
from surfing.solution import Solution, Status


def double(y: Tensor, *, ids: Sequence[int], progress: object = None) -> Solution:
    return Solution(
        z=2 * y,
        x=y[:, None],
        risk=y[:, 0] ** 2,
        status=torch.full((len(y),), int(Status.SOLVED)),
        cost=torch.tensor(list(ids), dtype=torch.float32),
    )


def begun(out: Path, *, size: int = 2, overwrite: bool = False, **facts: int) -> Shards:
    return Shards.open(out, facts, targets=5, size=size, overwrite=overwrite)


Y = np.arange(10, dtype=np.float32).reshape(5, 2)


def test_a_run_is_gathered_in_order_and_done_once(tmp_path: Path) -> None:
    with begun(tmp_path / "out", a=1) as shards:
        assert shards.run(double, Y, Local()) == 0
        result = shards.gather()
    assert np.array_equal(np.load(tmp_path / "out" / "z.npy"), 2 * Y)
    assert result["cost"] == [0, 1, 2, 3, 4]
    assert result["met"] == result["targets"] == 5
    with begun(tmp_path / "out", a=1, size=4) as again:
        assert again.size == 2
        assert again.run(double, Y, Local()) == 3


def test_another_run_is_refused_and_only_its_results_are_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with begun(out, a=1) as shards:
        shards.run(double, Y, Local())
    (out / "mine.txt").write_text("dear")
    with pytest.raises(OutputExistsError, match=r"^out: .* another a\."):
        begun(out, a=2)
    with begun(out, a=2, overwrite=True) as shards:
        assert not any(map(shards.done, shards.ranges()))
    assert (out / "mine.txt").read_text() == "dear"


def test_a_folder_is_written_by_one_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with begun(out, a=1):
        with pytest.raises(OutputExistsError, match="another process is writing"):
            begun(out, a=1)
        with pytest.raises(OutputExistsError, match="another process is writing"):
            begun(out, a=2, overwrite=True)
    with begun(out, a=1) as shards:
        assert shards.run(double, Y, Local()) == 0
    assert not list(out.glob(".surfing-lock"))


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from surfing.execution import Shards\n"
        "kept = Shards.open(Path(sys.argv[1]), {}, targets=5, size=2, overwrite=False)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    out = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", script, out], check=False)
    assert ended.returncode < 0
    assert (out / ".surfing-lock").exists()
    with begun(out) as shards:
        assert shards.run(double, Y, Local()) == 0


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refusal_lets_go_of_the_folder(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(OutputExistsError, match="holds no run"):
        begun(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(OutputExistsError, match="is a file"):
        begun(tmp_path / "mine.txt")
    with pytest.raises(InputError, match=r"^shard: "):
        begun(tmp_path / "new", size=0)
    assert not (tmp_path / "new").exists()

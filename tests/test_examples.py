"""Every example runs, is short, and says something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_and_is_short(example: Path, tmp_path: Path) -> None:
    longest = 95 if example.stem == "first_minutes" else 60
    assert len(example.read_text(encoding="utf-8").splitlines()) < longest
    environment = os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(example)]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()


def test_there_are_five() -> None:
    names = {path.stem for path in EXAMPLES}
    assert names >= {"quickstart", "own_generator", "own_operator", "noise_level", "sensing_curve"}

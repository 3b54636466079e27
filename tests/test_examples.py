"""Every example runs, is short, and says something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
LONG = ("crosshole_tomography", "first_minutes")
"""These take a quarter of a minute each."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_short(example: Path) -> None:
    longest = 95 if example.stem == "first_minutes" else 60
    assert len(example.read_text(encoding="utf-8").splitlines()) < longest


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in LONG else ())
        for path in EXAMPLES
    ],
)
def test_it_runs(example: Path, tmp_path: Path) -> None:
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

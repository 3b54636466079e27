"""The command asks that waiting threads sleep; the library leaves its process alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

MODULE = Path(__file__).parent.parent / "src" / "surfing" / "_threads.py"
NAME = "OMP_WAIT_POLICY"


@pytest.mark.parametrize(
    ("program", "before", "after"),
    [
        ("/usr/bin/surfing", None, "PASSIVE"),
        ("C:/Scripts/surfing.exe", None, "PASSIVE"),
        ("/usr/bin/surfing", "ACTIVE", "ACTIVE"),
        ("train_surfing.py", None, None),
        ("-c", None, None),
        ("", None, None),
    ],
)
def test_only_the_command_chooses_and_only_where_nobody_did(
    program: str, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setenv(NAME, "to be undone")
    monkeypatch.delenv(NAME)
    if before is not None:
        monkeypatch.setenv(NAME, before)
    exec(MODULE.read_text(encoding="utf-8"), {"__name__": "surfing._threads"})
    assert os.environ.get(NAME) == after


def test_it_comes_before_anything_that_imports_torch() -> None:
    lines = (MODULE.parent / "__init__.py").read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if "surfing" in line and "import" in line)
    assert first.startswith("import surfing._threads")

"""The page about uncertainty says what runs, and its tables are those of the record."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surfing.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "uncertainty.md"


def blocks(kind: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_example_runs_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"__name__": "page"}
    for code in blocks("python"):
        exec(compile(code, str(PAGE), "exec"), known)
    said = capsys.readouterr().out
    assert "3 targets, 100 draws each" in said
    assert known["held"] > 0.7
    assert known["inside"].double().mean() > 0.7
    assert "target 2:" in said
    np.save("y.npy", known["y"])
    (command,) = blocks("bash")
    few = command.replace("--draws 100", "--draws 5")
    assert main([*shlex.split(few)[1:], "--quiet"]) == 0
    assert np.load("draws/z.npy").shape == (3, 5, 10)


def test_the_tables_and_the_figure_are_those_of_the_record() -> None:
    from benchmarks.calibration_page import cell_table, figure, mode_table, rival_table

    record = json.loads((ROOT / "docs" / "records" / "calibration.json").read_text())
    written = (ROOT / "docs" / "records" / "calibration.md").read_text(encoding="utf-8")
    for table in (cell_table(record), mode_table(record), rival_table(record)):
        if table.rows:
            assert table.markdown() in written
    assert len(figure(record).axes) == 2

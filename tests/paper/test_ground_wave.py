"""Who stays on the wave: losses are told as such, and nothing where nothing was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paper.ground.tasks import RIDE
from paper.ground.wave import draw, wave


def ride(method: str, found: int, **more: Any) -> dict[str, Any]:
    errors = [[1e-4]] * found + [[1.0]] * (20 - found)
    return {"task": "why", "model": "dcgan-k10", "method": method, "m": 20, "targets": 20,
            "error": errors, "residual": errors, "cost": [[100.0]] * 20, "starts": 1,
            "on_the_wave": [0.0, 0.0, 0.1, 0.2, found / 20], "median_move": [0.5, 0.1],
            **more}  # fmt: skip


def record(other: int) -> dict[str, Any]:
    adam = ride(RIDE, 12, rate=0.02, stage_steps=10, momentum=0.9, averaged=1)
    return {"cells": [adam, ride("LM, 2 steps a network", other)],
            "tracks": [{"median_drift": [0.7, 0.3, 0.2]}]}  # fmt: skip


@pytest.mark.parametrize(
    ("other", "told"),
    [(2, "LM, 2 steps a network (behind)"), (20, "LM, 2 steps a network (ahead)"),
     (13, "none of them")],
)  # fmt: skip
def test_the_paired_test_falls_either_way(other: int, told: str) -> None:
    assert f"by the paired test at 0.05: {told}." in wave(record(other))


def test_nothing_measured_nothing_said(tmp_path: Path) -> None:
    empty = {"cells": [], "tracks": []}
    assert wave(empty) == ""
    assert draw(empty, tmp_path / "a.png") is None
    assert not (tmp_path / "a.png").exists()


def test_a_picture_of_what_is_there(tmp_path: Path) -> None:
    drawn = draw(record(5), tmp_path / "a.png")
    assert drawn is not None
    assert drawn.read_bytes().startswith(b"\x89PNG")

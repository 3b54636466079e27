from pathlib import Path

import pytest

from surfing.cli import main


def test_view_writes_a_page_and_refuses_to_replace_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    command = ["view", "packaged", "--targets", "3", "--featured", "1", "--out", str(page)]
    assert main([*command, "--device", "cpu", "--quiet"]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main([*command, "--device", "cpu", "--quiet"]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_comparison_that_is_not_there_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    command = ["view", "packaged", "--comparison", str(tmp_path / "none.json")]
    assert main([*command, "--out", str(page)]) == 2
    assert "--comparison" in capsys.readouterr().err
    assert not page.exists()


def test_a_solution_needs_its_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "packaged", "--solution", "s.safetensors"]) == 2
    assert "--measurements" in capsys.readouterr().err

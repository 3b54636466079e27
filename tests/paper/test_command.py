"""``python -m paper``: what it makes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paper.command import main
from paper.registry import EXPERIMENTS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nothing --out {}", "ablations"),
        ("theory --quick --out {} --cells vae-k5", "--cells: theory has none"),
        ("table1 --quick --out {} --targets 0", "--targets"),
        ("table1 --quick --out {} --workers 0", "--workers"),
        ("table1 --quick --out {} --cells nobody-k5", "none of nobody-k5 is trained"),
        ("zoo --quick --out {} --cells vae", "vae-k5"),
        ("zoo --quick --out {} --cells gan-k5", "dcgan, vae, wgan, wgan-gp"),
        ("table1 --quikc", "--quikc"),
    ],
)
def test_bad_input_is_one_line(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.format(tmp_path / "made").split()) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_for_what_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert main(["theory", "--quick", "--out", str(taken)]) == 2
    assert "--out" in capsys.readouterr().err
    assert taken.read_text() == "mine"


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(EXPERIMENTS)
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in EXPERIMENTS)


def test_record_tables_and_pictures_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["budget", "--quick", "--targets", "2", "--seed", "3", "--out", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    record = json.loads((tmp_path / "budget.json").read_text())
    assert told["record"] == record
    assert record["seed"] == record["config"]["seed"] == 3
    assert record["config"]["targets"] == 2
    assert "|" in (tmp_path / "budget.md").read_text()
    assert [Path(p).is_file() for p in told["pictures"]] == [True]
    # Finished parts are not measured again: even their seconds are the same.
    assert main([*command, "--quiet"]) == 0
    assert json.loads((tmp_path / "budget.json").read_text()) == record

"""Bounded forms of the long runs: determinism, load, soak; and the page that is made of them."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pytest
from benchmarks.reliability import determinism, load, soak
from benchmarks.reliability.commands import make_trajectory
from benchmarks.reliability.page import render

from surfing.cli import main
from surfing.trajectory import Trajectory

ROOT = Path(__file__).parents[2]
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@pytest.fixture(autouse=True)
def torch_warns_of_its_own():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*")
        yield


@pytest.mark.parametrize("method", determinism.METHODS.values(), ids=determinism.METHODS)
def test_the_same_bits_again_and_the_same_latents_in_any_batch(tmp_path: Path, method) -> None:
    trajectory = make_trajectory(tmp_path / "run")
    found = determinism.across_batches(trajectory, method, None, targets=4, seed=0)
    assert found["solved"] > 0
    assert found["apart"] <= determinism.SAME
    assert found["invariant"] == 3 * 4  # one by one, in threes, all


@pytest.mark.slow
@only_linux
def test_memory_is_flat_in_the_number_of_targets() -> None:
    found = load.run(targets=4000, seed=0)
    assert [line["targets"] for line in found["recover"]] == [400, 4000]


@pytest.mark.slow
@only_linux
def test_a_short_soak_leaves_nothing_behind() -> None:
    found = soak.run(minutes=1, seed=0)
    assert found["rounds"] >= 8
    assert found["threads"] >= 1


def test_inspect_repairs_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = tmp_path / "run"
    steps = make_trajectory(run).steps
    victim = run / f"step-{steps[1]:09d}.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1])
    assert main(["inspect", str(run)]) == 2
    remedy = capsys.readouterr().err
    assert victim.name in remedy
    assert f"surfing inspect {run} --repair" in remedy
    assert main(["inspect", str(run), "--repair", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dropped"] == [steps[1]]
    assert Trajectory.open(run).steps == (steps[0], *steps[2:])
    assert main(["inspect", str(run), "--repair", "--verify"]) == 0
    said = capsys.readouterr().out
    assert "Every checkpoint is whole; nothing was dropped." in said
    assert f"No drift is known to steps {steps[2]}: the checkpoints before them were" in said
    assert "law or probes were not known" not in said
    assert main(["inspect", "packaged", "--repair"]) == 2
    assert "--repair" in capsys.readouterr().err


def test_the_page_is_made_of_the_record() -> None:
    record = json.loads((ROOT / "docs/records/reliability.json").read_text())
    assert (ROOT / "docs/reliability.md").read_text(encoding="utf-8") == render(record)

"""A real training process killed with SIGKILL at random moments, also inside a write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.reliability import crash
from benchmarks.reliability.processes import Victims, victims

from surfing.trajectory import Trajectory


@pytest.fixture(scope="module")
def server() -> Iterator[Victims]:
    with victims() as running:
        yield running


def test_a_training_killed_at_random_moments_opens_and_resumes(
    server: Victims, tmp_path: Path
) -> None:
    count = crash.killed_trainings(server, tmp_path, kills=10, seed=0)
    assert count["kills"] >= 10
    assert count["after_a_recording"] > 2
    assert count["inside_a_write"] > 0


@pytest.mark.slow
def test_a_training_killed_two_hundred_times(server: Victims, tmp_path: Path) -> None:
    count = crash.killed_trainings(server, tmp_path, kills=200, seed=1)
    assert count["after_a_recording"] > 100
    assert count["inside_a_write"] > 20


def test_a_killed_recorder_lets_go_of_its_lock(server: Victims, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    order = {"training": [str(run), str(log), -1, crash.FOREVER], "seed": 0}
    server.run(order, after=0.2)
    assert (run / ".surfing-lock").exists()
    assert server.run({"training": [str(run), str(log), 0, 3], "seed": 0}) == 0
    assert Trajectory.open(run).steps == (0, 2, 3)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no namespaces to mount disks in")
def test_a_full_disk_and_a_read_only_one_are_said_and_survived() -> None:
    said = crash.disks()
    if None in said.values():
        pytest.skip("this system mounts no disk for us")
    assert "No space left on device" in said["full"]
    assert "What was recorded before is kept" in said["full"]
    assert "Read-only file system" in said["read-only"]

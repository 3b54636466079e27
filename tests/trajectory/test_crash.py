"""A real training process killed with SIGKILL at random moments, also inside a write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from surfing.errors import EmptyTrajectoryError, NotATrajectoryError
from surfing.trajectory import Trajectory

PROGRAM = Path(__file__).with_name("training_to_kill.py")


@pytest.fixture(scope="module")
def trainer() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def run(
    trainer: subprocess.Popen[str], order: tuple[object, ...], *, kill_after: float | None
) -> int:
    """Start a training; kill it after so many seconds, or let it end. Its wait status."""
    assert trainer.stdin is not None
    assert trainer.stdout is not None
    trainer.stdin.write(" ".join(map(str, order)) + "\n")
    trainer.stdin.flush()
    child = int(trainer.stdout.readline())
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)  # not yet waited for, so the number is still the child's
    return int(trainer.stdout.readline())


def completed(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def check(path: Path, done: list[int], before: tuple[int, ...] = ()) -> tuple[int, ...]:
    """What a killed training left: everything completed, at most one more, all of it whole.

    Steps that were there before may be there still, where the resumed recorder had no time yet to
    drop them.
    """
    try:
        trajectory = Trajectory.open(path)
    except (NotATrajectoryError, EmptyTrajectoryError):
        assert not done  # killed before stage 0 was there
        return ()
    report = trajectory.verify()
    assert report.checkpoints * 2 == report.files
    assert set(done) <= set(trajectory.steps)
    assert len(set(trajectory.steps) - set(done) - set(before) - {0}) <= 1
    for average in (False, True):
        for checkpoint in Trajectory.open(path, average=average):
            assert int(checkpoint.state["count"]) == checkpoint.step
    return trajectory.steps


def survive(
    trainer: subprocess.Popen[str], tmp_path: Path, kills: int, seed: int
) -> tuple[int, int]:
    """Kill, check, resume from an earlier step or the last one, again and again.

    Returns:
        How many kills came after a completed recording, and how many inside a write.
    """
    rng = random.Random(seed)
    path, log = tmp_path / "run", tmp_path / "log"
    resume, in_training, in_write = -1, 0, 0
    steps: tuple[int, ...] = ()
    for number in range(kills):
        status = run(
            trainer, (path, log, resume, 10**6, number), kill_after=0.02 + 0.6 * rng.random()
        )
        assert status == signal.SIGKILL
        done = completed(log)
        steps = check(path, done, steps)
        in_training += bool(done)
        in_write += path.exists() and any(
            name.startswith(".surfing-tmp") for name in os.listdir(path)
        )
        if steps:
            # The loop's own checkpoint is often older than the last recorded one.
            resume = max(0, steps[-1] - rng.choice([0, 0, 1, 3, 8]))
            log.write_text("".join(f"{step}\n" for step in steps if 0 < step <= resume))
            if rng.random() < 0.3:  # killed again while starting: what is to be dropped may stay
                run(trainer, (path, log, resume, 10**6, number), kill_after=0.004)
                later = {step for step in steps if step > resume}
                assert set(steps) - later <= set(check_any(path)) <= set(steps)
    last = max(resume, 0) + 5
    assert run(trainer, (path, log, resume, last, 0), kill_after=None) == 0
    final = Trajectory.open(path)
    assert final.steps[-1] == last
    final.verify()
    assert {n for n in os.listdir(path) if n != "manifest.json"} == {
        f"step-{step:09d}{kind}.safetensors" for step in final.steps for kind in ("", ".average")
    }
    return in_training, in_write


def check_any(path: Path) -> tuple[int, ...]:
    trajectory = Trajectory.open(path)
    trajectory.verify()
    return trajectory.steps


def test_a_training_killed_at_random_moments_opens_and_resumes(
    trainer: subprocess.Popen[str], tmp_path: Path
) -> None:
    in_training, in_write = survive(trainer, tmp_path, kills=20, seed=0)
    assert in_training > 5
    assert in_write > 0


@pytest.mark.slow
def test_a_training_killed_two_hundred_times(
    trainer: subprocess.Popen[str], tmp_path: Path
) -> None:
    in_training, in_write = survive(trainer, tmp_path, kills=200, seed=1)
    assert in_training > 100
    assert in_write > 20


def test_a_killed_recorder_lets_go_of_its_lock(
    trainer: subprocess.Popen[str], tmp_path: Path
) -> None:
    order = (tmp_path / "run", tmp_path / "log", -1, 10**6, 0)
    run(trainer, order, kill_after=0.2)
    assert (tmp_path / "run" / ".surfing-lock").exists()
    assert run(trainer, (tmp_path / "run", tmp_path / "log", 0, 3, 0), kill_after=None) == 0
    assert Trajectory.open(tmp_path / "run").steps == (0, 2, 3)

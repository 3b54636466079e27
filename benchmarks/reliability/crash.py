"""A recorder that is killed, runs out of disk, or meets another: what is there afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.reliability.laws import expect
from benchmarks.reliability.processes import Victims, victims
from surfing.errors import EmptyTrajectoryError, NotATrajectoryError
from surfing.trajectory import Trajectory

__all__ = ["disks", "killed_trainings", "run"]

FOREVER = 10**6


def run(*, kills: int, seed: int) -> dict[str, Any]:
    """Kill a training again and again; then fill its disk and make it read-only."""
    with victims() as server, tempfile.TemporaryDirectory() as folder:
        record = killed_trainings(server, Path(folder), kills=kills, seed=seed)
    return record | {"disks": disks()}


def killed_trainings(server: Victims, folder: Path, *, kills: int, seed: int) -> dict[str, int]:
    """Kill, check, resume from an earlier step or the last one, again and again.

    Returns:
        How many kills came after a completed recording, and how many inside a write.

    Raises:
        Violation: a completed checkpoint was lost, or what was left is not whole.
    """
    rng = random.Random(seed)
    path, log = folder / "run", folder / "log"
    count = {"kills": 0, "after_a_recording": 0, "inside_a_write": 0, "while_resuming": 0}
    resume, steps = -1, ()
    for number in range(kills):
        order = {"training": [str(path), str(log), resume, FOREVER], "seed": number}
        status = server.run(order, after=0.02 + 0.6 * rng.random())
        expect(status == signal.SIGKILL, "the training was killed", status)
        done = completed(log)
        steps = check(path, done, steps)
        count["kills"] += 1
        count["after_a_recording"] += bool(done)
        count["inside_a_write"] += _has_temporary(path)
        if not steps:
            continue
        # The loop's own checkpoint is often older than the last recorded one.
        resume = max(0, steps[-1] - rng.choice([0, 0, 1, 3, 8]))
        log.write_text("".join(f"{step}\n" for step in steps if 0 < step <= resume))
        if rng.random() < 0.3:  # killed again while it starts: what is to be dropped may stay
            order = {"training": [str(path), str(log), resume, FOREVER], "seed": number}
            server.run(order, after=0.004)
            count["kills"] += 1
            count["while_resuming"] += 1
            later, found = {s for s in steps if s > resume}, set(_whole(path))
            expect(set(steps) - later <= found <= set(steps), "nothing kept is lost", found)
    _finish(server, path, log, max(resume, 0))
    return count


def completed(log: Path) -> list[int]:
    """Steps whose recording had returned."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def check(path: Path, done: list[int], before: tuple[int, ...] = ()) -> tuple[int, ...]:
    """What a killed training left: everything completed, at most one more, all of it whole.

    Steps that were there before may be there still, where the resumed recorder had no time yet to
    drop them.
    """
    try:
        steps = _whole(path)
    except (NotATrajectoryError, EmptyTrajectoryError):
        expect(not done, "completed checkpoints are kept", done)  # killed before stage 0
        return ()
    expect(set(done) <= set(steps), "completed checkpoints are kept", done, steps)
    more = set(steps) - set(done) - set(before) - {0}
    expect(len(more) <= 1, "at most one more than was completed", more)
    for average in (False, True):
        for checkpoint in Trajectory.open(path, average=average):
            counted = int(checkpoint.state["count"])
            expect(counted == checkpoint.step, "each is the state of its step", counted)
    return steps


def _whole(path: Path) -> tuple[int, ...]:
    trajectory = Trajectory.open(path)
    report = trajectory.verify()
    expect(report.checkpoints * 2 == report.files, "averages beside every checkpoint", report)
    return trajectory.steps


def _has_temporary(path: Path) -> bool:
    return path.exists() and any(n.startswith(".surfing-tmp") for n in os.listdir(path))


def _finish(server: Victims, path: Path, log: Path, resume: int) -> None:
    """The training goes on to its end, and leaves nothing of its deaths."""
    last = resume + 5
    status = server.run({"training": [str(path), str(log), resume, last], "seed": 0})
    expect(status == 0, "a killed training can be resumed", status)
    final = Trajectory.open(path)
    expect(final.steps[-1] == last, "it goes on to its end", final.steps[-1])
    final.verify()
    named = {f"step-{s:09d}{k}.safetensors" for s in final.steps for k in ("", ".average")}
    found = set(os.listdir(path)) - {"manifest.json"}
    expect(found == named, "nothing is left over", found ^ named)


def disks() -> dict[str, str | None]:
    """A real full disk and a real read-only one; None where this system mounts none for us.

    Returns:
        The first line of the error that the recorder raised.
    """
    answers: dict[str, str | None] = {}
    for kind, mount in (("full", "size=160k"), ("read-only", "ro")):
        script = f'mount -t tmpfs -o {mount} none "$1" && exec "$2" -c "$3" "$1" {kind}'
        with tempfile.TemporaryDirectory() as folder:
            answers[kind] = _in_namespace(script, folder)
    return answers


def _in_namespace(script: str, folder: str) -> str | None:
    """Mounts of its own, which end with the process."""
    try:
        ended = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, "sh", folder, sys.executable, _ON_A_BAD_DISK],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if ended.returncode != 0 and "unshare" in ended.stderr + ended.stdout:
        return None
    expect(ended.returncode == 0, "a bad disk is survived", ended.stderr[-600:])
    return ended.stdout.strip()


_ON_A_BAD_DISK = """
import os, sys
from pathlib import Path
from torch import nn
from surfing import Recorder, Trajectory, TrajectoryError
path, module, done = Path(sys.argv[1]) / "run", nn.Linear(80, 80), []
try:
    with Recorder(path, module, every=1) as recorder:
        done.append(0)
        while True:
            recorder.step()
            done.append(recorder.step_number)
except TrajectoryError as error:
    print(str(error).replace(str(path), "run"))
if done:
    trajectory = Trajectory.open(path)
    trajectory.verify()
    assert trajectory.steps == tuple(done), (trajectory.steps, done)
    assert not [n for n in os.listdir(path) if n.startswith(".")], os.listdir(path)
    os.unlink(path / "step-000000000.safetensors")
    from surfing.trajectory import repair
    assert repair(path) == (0,)
    Recorder(path, module, every=1, resume=True).close()
"""

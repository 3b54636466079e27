"""The same work again and again: nothing may pile up."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import surfing
from benchmarks.reliability.commands import make_trajectory
from benchmarks.reliability.determinism import _measured
from benchmarks.reliability.laws import expect
from surfing import Solution, Trajectory
from surfing.trajectory import import_checkpoints, repair

__all__ = ["run"]

MOST_MIB = 24
"""Growth between the median of the second quarter and that of the last."""


def run(*, minutes: float, seed: int) -> dict[str, Any]:
    """Record, open, verify, damage, repair, import, recover, save and load, for so long.

    Raises:
        Violation: memory, open files, threads or files on the disk grow.
    """
    memory: list[float] = []
    handles: list[int] = []
    began, rounds = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _round(folder, seed)  # what is imported and built once
        files = _count(folder)
        while time.monotonic() - began < 60 * minutes or rounds < 8:
            _round(folder, seed + rounds)
            gc.collect()
            memory.append(_resident())
            handles.append(len(os.listdir("/proc/self/fd")))
            rounds += 1
            expect(_count(folder) == files, "no file is left over", rounds)
    quarter = len(memory) // 4
    early = statistics.median(memory[quarter : 2 * quarter])
    late = statistics.median(memory[-quarter:])
    expect(late - early < MOST_MIB, "memory does not grow", early, late)
    expect(handles[-1] <= handles[0], "no file stays open", handles[0], handles[-1])
    return {
        "minutes": round((time.monotonic() - began) / 60, 2),
        "rounds": rounds,
        "early_mib": round(early, 1),
        "late_mib": round(late, 1),
        "growth_mib": round(late - early, 2),
        "open_files": [handles[0], handles[-1]],
        "threads": threading.active_count(),
    }


def _round(folder: Path, seed: int) -> None:
    """Everything once, in folders that are removed."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        here = Path(name)
        trajectory = make_trajectory(here / "run", steps=20)
        trajectory.verify()
        y = _measured(trajectory, None, 8)
        solution = surfing.recover(trajectory, y, budget=60, seed=seed)
        surfing.surf(trajectory, y, starts=1, seed=seed)
        path = solution.save(here / "solution.safetensors")
        expect(Solution.load(path).z.equal(solution.z), "a solution reads back")
        imported = import_checkpoints(here / "run", here / "imported", pattern=r"step-(\d+)\..*")
        expect(imported.steps == trajectory.steps, "a trajectory can be imported", imported)
        victim = max((here / "imported").glob("*.safetensors"))
        victim.write_bytes(victim.read_bytes()[:-1])
        expect(repair(here / "imported") == trajectory.steps[-1:], "the damaged one goes")
        Trajectory.open(here / "imported").verify()


def _count(folder: Path) -> int:
    return len(list(folder.rglob("*")))


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

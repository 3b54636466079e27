"""A thousand checkpoints opened, and ``surfing recover`` on many targets in flat memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reliability.commands import ARGUMENTS, make_trajectory
from benchmarks.reliability.laws import expect
from surfing import Normal, Trajectory
from surfing.architectures import mlp_generator

__all__ = ["memory_of_recover", "opening", "run"]

MOST_SECONDS = 0.2
MOST_GROWTH_MIB = 64


def run(*, targets: int, seed: int) -> dict[str, Any]:
    """Opening times; peak memory at a tenth of the targets, and at all of them."""
    del seed
    found: dict[str, Any] = {"opening": opening()}
    expect(found["opening"]["median"] < MOST_SECONDS, "1000 checkpoints open fast", found)
    sizes = (max(1, targets // 10), targets)
    with tempfile.TemporaryDirectory() as folder:
        make_trajectory(Path(folder) / "run")
        found["recover"] = [memory_of_recover(Path(folder), targets=size) for size in sizes]
    small, large = (line["peak_mib"] for line in found["recover"])
    found["growth_mib"] = round(large - small, 1)
    # The arrays that hold a number or three a target are part of it.
    expect(large - small < MOST_GROWTH_MIB, "memory is flat in the targets", found["recover"])
    return found


def opening(*, checkpoints: int = 1000, times: int = 9) -> dict[str, Any]:
    """Seconds to open a trajectory of a thousand checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        states = ((i, {"w": torch.full((4,), float(i))}) for i in range(checkpoints))
        Trajectory.from_state_dicts(states).save(folder)
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            trajectory = Trajectory.open(folder)
            seconds.append(time.perf_counter() - began)
            expect(len(trajectory) == checkpoints, "all are there", len(trajectory))
    return {
        "checkpoints": checkpoints,
        "median": statistics.median(seconds),
        "largest": max(seconds),
    }


def memory_of_recover(folder: Path, *, targets: int, shard: int = 2000) -> dict[str, Any]:
    """``surfing recover`` in a process of its own, with a small budget; its peak memory."""
    net = mlp_generator(**ARGUMENTS)
    net.load_state_dict(Trajectory.open(folder / "run")[-1].state)
    y = np.lib.format.open_memmap(folder / f"y{targets}.npy", "w+", np.float32, (targets, 1, 4, 4))
    with torch.no_grad():
        for low in range(0, targets, 10_000):
            ids = range(low, min(low + 10_000, targets))
            y[ids.start : ids.stop] = net(Normal(3).sample(ids, 1, seed=5)[:, 0]).numpy()
    y.flush()
    out = folder / f"out{targets}"
    line = ["recover", str(folder / "run"), "--measurements", str(folder / f"y{targets}.npy")]
    line += ["--out", str(out), "--shard", str(min(shard, targets)), "--budget", "60"]
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURED, *line, "--quiet", "--device", "cpu"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    seconds = time.perf_counter() - began
    expect(ended.returncode == 0, "it runs", ended.stderr[-600:])
    found = json.loads((out / "result.json").read_text())
    expect(found["targets"] == targets, "every target is there", found["targets"])
    return {
        "targets": targets,
        "met": found["met"],
        "peak_mib": round(int(ended.stdout.split()[-1]) / 1024, 1),
        "seconds": round(seconds, 1),
    }


# Not getrusage: its maximum counts the parent's memory, from before the program was loaded.
_MEASURED = """
import sys
from pathlib import Path
from surfing.cli import main
code = main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
sys.exit(code)
"""

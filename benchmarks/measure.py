"""What every benchmark needs: clocks, intervals, the machine, and the record on disk."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from surfing import files
from surfing.report import Table

__all__ = [
    "cells_of",
    "environment",
    "interleave",
    "kept_lines",
    "median_ratio",
    "or_dash",
    "peak_memory",
    "show",
    "wilson",
    "write_record",
]

_PACKAGES = ("surfing", "torch", "scipy", "deepinv", "cmaes", "numpy")


def wilson(successes: int, trials: int, *, z: float = 1.96) -> tuple[float, float]:
    """The Wilson interval of a share, 95% where z is left out.

    >>> low, high = wilson(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, z * z / trials
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / trials + square / (4 * trials)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def interleave(
    tasks: Mapping[str, Callable[[], Any]],
    repeats: Mapping[str, int],
    *,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, list[tuple[float, Any]]]:
    """Run every task in turn, round after round, so that a slow minute falls on all of them.

    Args:
        tasks: by name.
        repeats: rounds that a task takes part in, spread evenly over all rounds.
        say: told of each run.

    Returns:
        Seconds and result of every run.
    """
    rounds = max(repeats.values(), default=0)
    runs: dict[str, list[tuple[float, Any]]] = {name: [] for name in tasks}
    for number in range(rounds):
        for name, task in tasks.items():
            # The n-th of r runs falls in round floor(n rounds / r).
            if (
                len(runs[name]) < repeats[name]
                and number >= len(runs[name]) * rounds // repeats[name]
            ):
                began = time.perf_counter()
                result = task()
                seconds = time.perf_counter() - began
                runs[name].append((seconds, result))
                say(f"{name}: {seconds:.2f} s")
    return runs


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over median."""
    return statistics.median(above) / statistics.median(below)


def environment() -> dict[str, Any]:
    """Versions and machine, for the record; nothing in it names a user or a path."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | _versions(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "vector_instructions": torch.backends.cpu.get_cpu_capability(),
            "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        },
        "threads": torch.get_num_threads(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak_memory(task: Callable[[], Any]) -> tuple[Any, float | None]:
    """The result, and by how many MiB the process grew at its worst; None where unknown.

    Linux forgets its high-water mark on request; elsewhere there is no telling one task's peak
    from that of those before it.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except OSError:
        return task(), None
    result = task()
    return result, _status("VmHWM") - before


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status: expected a line {field}.")


def write_record(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write JSON, whole or not at all; numbers that JSON lacks become null."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write(target, json.dumps(_plain(record), indent=1, allow_nan=False) + "\n")
    return target


def show(out: Path, *tables: Table) -> None:
    """Print the tables of a record, and keep them beside it (the same name, .md) for the pages."""
    text = "\n\n".join(table.markdown() for table in tables)
    files.write(out.with_suffix(".md"), text + "\n")
    print(text)


def or_dash(digits: str) -> Callable[[float | None], str]:
    """How a number is told, by its format; a dash where there is none.

    >>> or_dash(".1f")(2), or_dash(".1f")(None)
    ('2.0', '–')
    """
    return lambda value: "–" if value is None else format(value, digits)


def cells_of(path: str | Path) -> list[dict[str, Any]]:
    """The cells of a record that was written before, so that it can be added to."""
    if not Path(path).is_file():
        return []
    cells: list[dict[str, Any]] = json.loads(Path(path).read_text())["cells"]
    return cells


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, torch.Tensor):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def kept_lines(out: Path, again: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Lines of the record that is there, but those that are measured again."""
    before = json.loads(out.read_text(encoding="utf-8"))["lines"] if out.is_file() else []
    return [line for line in before if not again(line)]

"""Recovery side by side: the same targets, starts and process for every method.

Success is ||z - z*|| < .01. Time per recovered target is the median time of a run, divided by
the number of targets that it recovered; so is cost. Runs of different methods alternate, and the
ratios are those of medians taken in one process.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter

from benchmarks import measure
from benchmarks.cells import Cell, Outcome, build_cells, open_generator
from benchmarks.methods import Method, configured, named, quick, run
from surfing.trajectory import Trajectory

__all__ = ["compare", "main"]

OURS = ("lm-surfing", "lm")
"""Ratios are taken against these."""

_PAIRS = (("lm-surfing-float64", "scipy-float64"), ("lm", "scipy-jacfwd"))
"""Whose solutions are compared: of the pairs that take part, the first."""

_SAME = 1e-2
"""||z - z'|| below which two methods are taken to have come to the same minimum."""

app = App(help=__doc__)


@app.default
def main(
    *runs: Annotated[Path, Parameter(name="RUN", required=True)],
    targets: int = 64,
    out: Path = Path("docs/records/benchmark.json"),
    operators: tuple[str, ...] = ("all pixels", "gaussian:20"),
    methods: tuple[str, ...] = (),
    tuning: Path = Path("docs/records/benchmark-tuning.json"),
    seed: int = 1,
    threads: int = 2,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Run the comparison and write its record.

    Args:
        runs: trajectories whose manifests name a zoo architecture.
        targets: in range, with one start each; slow rivals are given fewer.
        out: the record.
        operators: "all pixels" or "gaussian:M".
        methods: names; where left out, all but lm-surfing-float64 and scipy-float64, which are
            there to be compared with each other.
        tuning: the record of ``benchmarks.tuning``; defaults are used where there is none.
        seed: of targets, starts and operator.
        threads: of torch.
        short: 4 targets, few steps: shows that it runs.
    """
    torch.set_num_threads(threads)
    began = time.perf_counter()
    record = {"benchmark": "recovery", "quick": short} | measure.environment()
    record |= {"seed": seed, "cells": []}
    chosen = named(methods)
    for run_directory in runs:
        trajectory = Trajectory.open(run_directory)
        told = {"trajectory": describe(trajectory)}
        for cell in build_cells(
            trajectory,
            open_generator(trajectory),
            operators=operators,
            targets=4 if short else targets,
            seed=seed,
        ):
            lines = configured(chosen, tuning, cell.name)
            lines = quick(lines, len(cell)) if short else lines
            record["cells"].append(told | compare(cell, lines))
    record["seconds"] = time.perf_counter() - began
    measure.write_record(out, record)
    return record


def describe(trajectory: Trajectory) -> dict[str, Any]:
    """Which trajectory, without saying where it lies."""
    latent = trajectory.latent
    return {
        "name": trajectory.path.name if trajectory.path else None,
        "checkpoints": len(trajectory),
        "last_step": trajectory.steps[-1],
        "latent": None if latent is None else repr(latent),
        "architecture": trajectory.architecture,
    }


def compare(cell: Cell, methods: Sequence[Method]) -> dict[str, Any]:
    """All methods on one cell, interleaved."""
    for method in methods:
        run(method, cell.head(1))  # first calls build kernels and fill caches
    threads = {method.name: _threads(method, cell) for method in methods}

    def task(method: Method) -> Outcome:
        before = torch.get_num_threads()
        torch.set_num_threads(threads[method.name])
        try:
            outcome: Outcome = run(method, cell)
        finally:
            torch.set_num_threads(before)
        return outcome

    runs = measure.interleave(
        {method.name: lambda m=method: task(m) for method in methods},  # type: ignore[misc]
        {method.name: method.repeats for method in methods},
        say=lambda line: print(f"{cell.name}: {line}", file=sys.stderr, flush=True),
    )
    lines = {m.name: _line(cell, m, runs[m.name], threads[m.name]) for m in methods}
    return {
        "operator": cell.name,
        "m": cell.y[0].numel(),
        "k": cell.truth.shape[1],
        "targets": len(cell),
        "methods": lines,
        "ratios": {name: _ratios(lines, lines[name]) for name in OURS if name in lines},
        "agreement_with_scipy": _agreement(runs),
    }


def _threads(method: Method, cell: Cell) -> int:
    """Rivals run one row at a time and get whichever thread count is faster for them."""
    most = torch.get_num_threads()
    if method.ours or most == 1:
        return most
    seconds = {1: float("inf"), most: float("inf")}
    for _ in range(2):
        for count in seconds:
            torch.set_num_threads(count)
            began = time.perf_counter()
            run(method, cell.head(1))
            seconds[count] = min(seconds[count], time.perf_counter() - began)
    torch.set_num_threads(most)
    return min(seconds, key=lambda count: seconds[count])


def _line(
    cell: Cell, method: Method, runs: Sequence[tuple[float, Outcome]], threads: int
) -> dict[str, Any]:
    """The outcome of one method; per-target lists first, then what follows from them."""
    outcome = runs[-1][1]
    part = cell.head(len(outcome.z))
    recovered = part.recovered(outcome)
    seconds = [s for s, _ in runs]
    found, tried, median = sum(recovered), len(recovered), statistics.median(seconds)
    with torch.no_grad():
        misfit = (part.measure(part.net(outcome.z.to(part.y))) - part.y).flatten(1).norm(dim=-1)
    return {
        "label": method.label,
        "ours": method.ours,
        "settings": method.settings(),
        "threads": threads,
        "targets": tried,
        "seconds": seconds,
        "error": part.errors(outcome),
        "relative_residual": misfit / part.y.flatten(1).norm(dim=-1),
        "cost": outcome.cost,
        "recovered": recovered,
        "success": found / tried,
        "success_interval": measure.wilson(found, tried),
        "seconds_per_target": median / tried,
        "seconds_per_recovered": median / found if found else None,
        "cost_per_target": float(outcome.cost.mean()),
        "cost_per_recovered": float(outcome.cost.sum()) / found if found else None,
    }


def _ratios(lines: dict[str, dict[str, Any]], ours: dict[str, Any]) -> dict[str, Any]:
    """Time per recovered target over ours; a rival that recovered none has a lower bound only.

    The bound takes the upper end of the rival's success interval.
    """
    base = ours["seconds_per_recovered"]
    if base is None:
        return {}
    found = {}
    for name, line in lines.items():
        least = line["seconds_per_target"] / line["success_interval"][1] / base
        per = line["seconds_per_recovered"]
        found[name] = {"ratio": None if per is None else per / base, "at_least": least}
    return found


def _agreement(runs: dict[str, list[tuple[float, Outcome]]]) -> dict[str, Any] | None:
    """Median and largest ||z_LM - z_scipy|| where the two found the same solution."""
    for pair in _PAIRS:
        if set(pair) <= runs.keys():
            ours, theirs = (runs[name][-1][1].z.double() for name in pair)
            count = min(len(ours), len(theirs))
            gap = (ours[:count] - theirs[:count]).norm(dim=-1)
            same = gap[gap < _SAME]
            told = {"between": pair, "targets": count, "count": len(same)}
            if len(same):
                told |= {"median": float(same.median()), "largest": float(same.max())}
                told["within_1e-5"] = int((same <= 1e-5).sum())
            return told
    return None


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning, module="deepinv")
    app(result_action="return_none")

"""The settings of every method, tried on targets that the reported ones have nothing to do with.

Every method is tuned alike: each setting of its grid (:mod:`benchmarks.methods`) on a few targets
of each cell, and the one with the lowest cost per recovered target is kept; where none recovers
any, the one that comes nearest in the median. Cost is used instead of time because it doesn't
depend on what else the machine does. Methods that work on one target at a time are given half as
many targets as those that work on all at once (12 of 24), and the two slowest, CSGM and CMA-ES, 4:
all of it takes some ten minutes on one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter

from benchmarks import measure
from benchmarks.cells import Cell, build_cells, open_generator
from benchmarks.methods import Method, named, quick, with_settings
from benchmarks.recovery import describe
from surfing.trajectory import Trajectory

__all__ = ["main", "tune"]

app = App(help=__doc__)


@app.default
def main(
    run_directory: Annotated[Path, Parameter(name="RUN")],
    /,
    *,
    out: Path = Path("docs/records/benchmark-tuning.json"),
    operators: tuple[str, ...] = ("all pixels", "gaussian:20"),
    methods: tuple[str, ...] = (),
    seed: int = 1001,
    threads: int = 2,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Tune and write the record that ``benchmarks.recovery`` reads.

    Args:
        run_directory: a trajectory whose manifest names a zoo architecture.
        out: the record.
        operators: "all pixels" or "gaussian:M".
        methods: names; all where left out.
        seed: of targets, starts and operator; not that of the comparison.
        threads: of torch.
        short: 2 targets and settings a method.
    """
    torch.set_num_threads(threads)
    began = time.perf_counter()
    trajectory = Trajectory.open(run_directory)
    record = {"benchmark": "tuning", "quick": short} | measure.environment()
    record |= {"seed": seed, "trajectory": describe(trajectory)}
    chosen = [method for method in named(methods) if method.grid]
    chosen = quick(chosen, 2) if short else chosen
    most = max(method.tuning_targets for method in chosen)
    net = open_generator(trajectory)
    cells = build_cells(trajectory, net, operators=operators, targets=most, seed=seed)
    record["cells"] = [
        {"operator": cell.name, "methods": {m.name: tune(m, cell) for m in chosen}}
        for cell in cells
    ]
    record["seconds"] = time.perf_counter() - began
    measure.write_record(out, record)
    return record


def tune(method: Method, cell: Cell) -> dict[str, Any]:
    """Every setting of the grid, and the best."""
    part = cell.head(method.tuning_targets)
    trials = [_trial(with_settings(method, setting), part, setting) for setting in method.grid]
    best = min(trials, key=_rank)["setting"]
    print(f"{cell.name}: {method.name}: {best}", file=sys.stderr, flush=True)
    return {"best": best, "targets": len(part), "trials": trials}


def _trial(method: Method, cell: Cell, setting: Any) -> dict[str, Any]:
    outcome = method.solver(cell)
    found = sum(cell.recovered(outcome))
    return {
        "setting": dict(setting),
        "recovered": found,
        "cost": float(outcome.cost.sum()),
        "cost_per_recovered": float(outcome.cost.sum()) / found if found else None,
        "median_error": float(cell.errors(outcome).nan_to_num(nan=torch.inf).median()),
    }


def _rank(trial: dict[str, Any]) -> Sequence[float]:
    per = trial["cost_per_recovered"]
    return (float("inf"), trial["median_error"]) if per is None else (per, 0.0)


if __name__ == "__main__":
    app(result_action="return_none")

"""Table 1: targets in the range of the generator, all of the signal measured, one start each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper.cells import PACKAGED, ZOO, available, open_cell
from paper.document import found_by_cell, labelled, save
from paper.registry import Record
from paper.rides import LM_RUNS, RECOVER_BUDGET, judge
from paper.running import Run
from paper.step_sizes import ADAM_METHODS, AdamRuns, labels
from surfing.evaluation.methods import METHODS as REGISTRY
from surfing.evaluation.samples import own_samples
from surfing.evaluation.solvers import Task
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["FULL", "METHODS", "QUICK", "Config", "figures", "markdown", "run"]

METHODS = (*ADAM_METHODS, *LM_RUNS)
_EARLIER = (
    "A first form, with half as many steps for direct Adam and half of those again at the ride's "
    "last stage, was broken off after five models: on one of them Adam surfing had found fewer "
    "than direct Adam, for want of steps at the last network."
)


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of targets and starts; the next one is for tuning Adam's step size.
        cells: trained models; those that are not trained are left out, and the record says so.
        targets: the same for all methods.
        adam: how Adam is run.
    """

    seed: int = 0
    cells: tuple[str, ...] = ZOO
    targets: int = 300
    adam: AdamRuns = field(default_factory=AdamRuns)


FULL = Config()
QUICK = Config(
    cells=(PACKAGED,),
    targets=12,
    adam=AdamRuns(40, 4, 5, 20, step_sizes=(0.1, 0.2), tuning_targets=4),
)


def _tasks(config: Config) -> dict[str, tuple[str, str]]:
    return {f"{cell} {name}": (cell, name) for cell in available(config.cells) for name in METHODS}


def _measure(config: Config, cell: str, name: str) -> dict[str, Any]:
    bed = open_cell(cell).boxed()
    told: dict[str, Any] = {}
    if name in ADAM_METHODS:
        tuned = config.adam.tune(name, bed, seed=config.seed + 1)
        solver = config.adam.solver(name, tuned.step_size)
        told = {"step_size": tuned.step_size, "tuned": tuned.found}
    else:
        solver = REGISTRY[name].solver
    own = own_samples(bed.trajectory, bed.generator, config.targets, seed=config.seed)
    result = judge(solver, Task(bed.model(), own.x, config.seed), own.z)
    return {"cell": cell, "method": name, **told, **result}


run = Run("table1", _tasks, _measure, {"success": "||z - z*|| < .01"})
"""A part is a cell and a method."""


def figures(record: Record, out: Path) -> list[Path]:
    """Success by cell and method, with intervals."""
    results = list(record["results"].values())
    cells = list(dict.fromkeys(r["cell"] for r in results))
    strips = [cells[i : i + 6] for i in range(0, len(cells), 6)]
    figure = Figure(figsize=(7.0, 2.3 * len(strips) + 0.6), layout="constrained")
    told = labels(METHODS, AdamRuns(**record["config"]["adam"]))
    for ax, strip in zip(figure.subplots(len(strips), 1, squeeze=False).ravel(), strips):
        shown = [r for r in results if r["cell"] in strip]
        found_by_cell(ax, shown, told, spacing=0.13, size=4, width=1)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return [save(figure, out / "table1-success.png")]


def markdown(record: Record) -> str:
    """A line a cell and method."""
    columns = [
        Column("cell", "model", right=False),
        Column("method", "method", right=False),
        Column("found", "found", rate),
        Column("targets", "targets", count),
        Column("step_size", "step size"),
        Column("steps", "steps, 75th percentile", count),
        Column("cost", "cost per target", count),
        Column("once", "spent once", count),
    ]
    config = record["config"]
    told = labels(METHODS, AdamRuns(**config["adam"]))
    measured = {part["cell"] for part in record["results"].values()}
    missing = [cell for cell in config["cells"] if cell not in measured]
    notes = [
        f"Found: {record['success']}, with its 95% Wilson interval. Cost in forward-equivalents. "
        f"Targets and starts uniform on [-1, 1]^k [reconstructed], all pixels measured, one start "
        f"per target (recover: up to {RECOVER_BUDGET} forward-equivalents; its pilot, made once "
        "for all of them, is in the last column). "
        f"{AdamRuns(**config['adam']).described()} {_EARLIER}",
    ]
    if missing:
        notes.append(f"\nNot run, because not trained yet: {', '.join(map(labelled, missing))}.")
    table = Table("", columns, notes=tuple(notes))
    for part in record["results"].values():
        table = table.add(
            cell=labelled(part["cell"]),
            method=told[part["method"]],
            found=part["found"],
            targets=part["found"][1],
            step_size=part.get("step_size", "–"),
            steps=part["steps_75"],
            cost=part["cost"],
            once=part["cost_once"] or None,
        )
    return table.markdown()

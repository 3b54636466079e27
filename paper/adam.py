"""Algorithm 1 as the paper's experiments run it: Adam surfing against direct Adam.

Both are run with one step size in common, and each with one of its own (see step_sizes.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from paper.cells import PACKAGED, Bed, available, open_cell
from paper.document import found_by_cell, labelled, save
from paper.registry import Record
from paper.running import Run
from paper.step_sizes import ADAM_METHODS, AdamRuns, labels
from surfing.evaluation.samples import FOUND, own_samples
from surfing.evaluation.solvers import Task
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "run"]

_TRAINED = (
    "Models: `surfing train wgan-gp --latent-dim 10` as it is, with `--network mlp --image-size "
    "14 --learning-rate 5e-4` (mlp14), and with `--learning-rate 5e-4` (wgan-gp-hot), which makes "
    "better samples and latents that hardly matter: the last of its Jacobian's singular values "
    "are what Adam is too slow for. How this came about: 5e-4 was the default recipe, and was "
    "tried first; 2e-4 was tried after no step size had found anything there, and later became the "
    "default."
)


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of targets and starts; the next one is for tuning.
        cells: trained models.
        targets: reported, all pixels measured, one start each.
        common: a step size that both methods are also run with.
        runs: how Adam is run.
    """

    seed: int = 0
    cells: tuple[str, ...] = ("wgan-gp-k10", "mlp14-k10", "wgan-gp-hot-k10")
    targets: int = 100
    common: float = 0.05
    runs: AdamRuns = field(default_factory=AdamRuns)


FULL = Config()
QUICK = Config(
    cells=(PACKAGED,),
    targets=4,
    runs=AdamRuns(20, 3, 4, 12, step_sizes=(0.05, 0.1), tuning_targets=2),
)


def _tasks(config: Config) -> dict[str, tuple[str, str]]:
    return {
        f"{cell} {name}": (cell, name) for cell in available(config.cells) for name in ADAM_METHODS
    }


def _measure(config: Config, cell: str, name: str) -> dict[str, Any]:
    began, bed = time.perf_counter(), open_cell(cell)
    tuned = config.runs.tune(name, bed, seed=config.seed + 1)
    error, cost = _errors(config, bed, name, tuned.step_size)
    common = error
    if config.common != tuned.step_size:
        common, _ = _errors(config, bed, name, config.common)
    return {
        "cell": cell,
        "method": name,
        "tuned": tuned.found,
        "step_size": tuned.step_size,
        "found": [int((error < FOUND).sum()), len(error)],
        "found_at_common": [int((common < FOUND).sum()), len(common)],
        "median_distance": float(error.median()),
        "cost": cost,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _errors(config: Config, bed: Bed, name: str, step_size: float) -> tuple[torch.Tensor, float]:
    own = own_samples(bed.trajectory, bed.generator, config.targets, seed=config.seed)
    solution = config.runs.solver(name, step_size).solve(Task(bed.model(), own.x, config.seed))
    return (solution.z - own.z).norm(dim=1), float(solution.cost.mean())


run = Run("adam", _tasks, _measure, {"success": f"||z - z*|| < {FOUND}"})
"""A part is a cell and a method."""


def figures(record: Record, out: Path) -> list[Path]:
    """Shares found with the common step size, side by side, with their intervals."""
    results = list(record["results"].values())
    cells = list(dict.fromkeys(r["cell"] for r in results))
    figure = Figure(figsize=(1.8 + 1.2 * len(cells), 3.2), layout="constrained")
    ax = figure.subplots()
    told = labels(ADAM_METHODS, AdamRuns(**record["config"]["runs"]))
    found_by_cell(ax, results, told, key="found_at_common", spacing=0.2, size=5, width=1.2)
    ax.set_xlim(-0.6, len(cells) - 0.4)
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return [save(figure, out / "adam-success.png")]


def markdown(record: Record) -> str:
    """A line a cell and method."""
    config = record["config"]
    columns = [
        Column("cell", "model", right=False),
        Column("method", "method", right=False),
        Column("found_at_common", f"found at step size {config['common']}", rate),
        Column("found", "found at the size picked", rate),
        Column("median_distance", "median ||z - z*||", lambda d: f"{d:.1e}"),
        Column("step_size", "size picked"),
        Column("cost", "cost per target", count),
    ]
    note = (
        f"Found: {record['success']}, with its 95% Wilson interval; {config['targets']} fresh "
        "targets in the range of the generator, all pixels measured, one start each. "
        f"{AdamRuns(**config['runs']).described()} {_TRAINED}"
    )
    told = labels(ADAM_METHODS, AdamRuns(**config["runs"]))
    shown = tuple(
        {**row, "cell": labelled(row["cell"]), "method": told[row["method"]]}
        for row in record["results"].values()
    )
    return Table("", columns, shown, (note,)).markdown()

"""Figure 4: images that the generator never saw: error against the number of measurements."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from paper.cells import PACKAGED, available, open_cell
from paper.document import (
    by_cell,
    curve_style,
    labelled,
    over_measurements,
    save,
)
from paper.registry import Record
from paper.rides import LM_RUNS, RECOVER_BUDGET
from paper.running import Run
from paper.step_sizes import ADAM_METHODS, AdamRuns, labels
from surfing.evaluation.methods import METHODS as REGISTRY
from surfing.evaluation.solvers import Ride, Solver, Task
from surfing.report import Column, Table
from surfing.report.tables import count, number
from surfing.zoo.data import load_images

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "run"]

FLOOR = "range distance"
METHODS = (*ADAM_METHODS, *LM_RUNS)


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of starts and operators.
        cells: trained models.
        measurements: numbers of Gaussian measurements.
        targets: held-out test images, the first so many.
        adam: how Adam is run; its step size is tuned on the generator's own samples.
        floor_starts: rides per image on all pixels; the best is called the range distance.
        data: as `surfing train` knows it.
    """

    seed: int = 0
    cells: tuple[str, ...] = ("dcgan-k20", "vae-k20")
    measurements: tuple[int, ...] = (20, 50, 100, 300)
    targets: int = 64
    floor_starts: int = 16
    data: str = "fashion-mnist"
    adam: AdamRuns = field(default_factory=AdamRuns)


FULL = Config()
QUICK = Config(
    cells=(PACKAGED,),
    measurements=(30,),
    targets=3,
    floor_starts=2,
    data="digits",
    adam=AdamRuns(40, 4, 5, 20, step_sizes=(0.1, 0.2), tuning_targets=4),
)


def _tasks(config: Config) -> dict[str, tuple[str, int | None, str]]:
    tasks: dict[str, tuple[str, int | None, str]] = {}
    for cell in available(config.cells):
        tasks[f"{cell} floor"] = (cell, None, FLOOR)
        for m in config.measurements:
            tasks |= {f"{cell} {m} {name}": (cell, m, name) for name in METHODS}
    return tasks


def _held_out(config: Config, size: int) -> Tensor:
    images = load_images(config.data, image_size=size, train=False)
    return images[: config.targets].float() / 255


def _measure(config: Config, cell: str, m: int | None, name: str) -> dict[str, Any]:
    bed, began = open_cell(cell), time.perf_counter()
    x = _held_out(config, (bed.trajectory.architecture or {})["arguments"]["image_size"])
    model = bed.model(None if m is None else f"gaussian:{m}", seed=config.seed)
    told: dict[str, Any] = {}
    solver: Solver
    if m is None:
        solver = Ride(starts=config.floor_starts)
    elif name in ADAM_METHODS:
        told = {"step_size": _step_size(config, cell, name)}
        solver = config.adam.solver(name, told["step_size"])
    else:
        solver = REGISTRY[name].solver
    solution = solver.solve(Task(model, model.measure(x), config.seed))
    error = (solution.x - x).flatten(1).square().mean(1)
    return {
        "cell": cell,
        "m": m,
        "method": name,
        **told,
        "error": [round(float(e), 6) for e in error],
        "cost": round(float(solution.cost.mean()), 1),
        "seconds": round(time.perf_counter() - began, 2),
    }


@functools.cache
def _step_size(config: Config, cell: str, name: str) -> float:
    """Tuned once for all numbers of measurements."""
    return config.adam.tune(name, open_cell(cell), seed=config.seed + 1).step_size


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


run = Run("fig4", _tasks, _measure)
"""A part is a cell and its floor, or a cell, a number of measurements and a method."""


def _labels(record: Record) -> dict[str, str]:
    return labels(METHODS, AdamRuns(**record["config"]["adam"]))


def _floor(results: Sequence[Mapping[str, Any]]) -> list[float]:
    """The least error of each image over everything that was run on a model."""
    return [min(errors) for errors in zip(*(r["error"] for r in results), strict=True)]


def figures(record: Record, out: Path) -> list[Path]:
    """Mean squared error a pixel, and the floor."""
    made, m = [], record["config"]["measurements"]
    for cell, results in by_cell(record).items():
        figure = Figure(figsize=(6.9, 3.4), layout="constrained")
        ax = figure.subplots()
        for i, (name, label) in enumerate(_labels(record).items()):
            rows = [r for r in results if r["method"] == name]
            ax.plot(m, [_mean(r["error"]) for r in rows], label=label, **curve_style(i))
        ax.axhline(_mean(_floor(results)), color="#888888", ls=":", label=FLOOR)
        ax.set_yscale("log")
        title = f"{labelled(cell)}, held-out images"
        over_measurements(ax, m, title=title, what="squared error per pixel")
        made.append(save(figure, out / f"fig4-{cell}.png"))
    return made


def markdown(record: Record) -> str:
    """A line a cell and method, a column an m."""
    config = record["config"]
    columns = [Column("cell", "model", right=False), Column("method", "method", right=False)]
    columns += [Column(str(m), f"m = {m}", number) for m in config["measurements"]]
    columns += [Column("cost", "cost per target", count)]
    table = Table("", columns, notes=(
        f"Squared error per pixel (values in [0, 1]), mean of {config['targets']} held-out test "
        "images. The range distance is the least over "
        f"{config['floor_starts']} rides on all pixels and every other run, image by image: an "
        "upper bound of the true one. "
        f"One start per target (recover: up to {RECOVER_BUDGET} forward-equivalents, its pilot not "
        "counted). "
        f"{AdamRuns(**config['adam']).described()}",
    ))  # fmt: skip
    for cell, results in by_cell(record).items():
        for name, label in {**_labels(record), FLOOR: FLOOR}.items():
            rows = [r for r in results if r["method"] == name]
            if name == FLOOR:
                row = dict.fromkeys(map(str, config["measurements"]), _mean(_floor(results)))
            else:
                row = {str(r["m"]): _mean(r["error"]) for r in rows}
            cost = _mean([r["cost"] for r in rows])
            table = table.add(cell=labelled(cell), method=label, cost=cost, **row)
    return table.markdown()

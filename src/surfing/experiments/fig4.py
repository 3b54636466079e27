"""Figure 4: images that the generator never saw: error against the number of measurements."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from surfing.continuation import direct, recover, surf
from surfing.experiments.cells import PACKAGED, available, open_cell
from surfing.experiments.document import document, labelled, save
from surfing.experiments.parts import Parts
from surfing.experiments.registry import Record, Tick
from surfing.problem import as_operator
from surfing.report import Column, Table
from surfing.report.tables import number
from surfing.zoo.data import load_images

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "run"]

FLOOR = "range distance"
METHODS: dict[str, Callable[..., Any]] = {
    "direct LM": lambda *a, **k: direct(*a, starts=2, **k),
    "LM surfing": lambda *a, **k: surf(*a, **k),
    "recover": lambda *a, **k: recover(*a, budget=1000, **k),
}


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of starts and operators.
        cells: trained models.
        measurements: numbers of Gaussian measurements.
        targets: held-out test images, the first so many.
        floor_starts: rides per image on all pixels; the best is called the range distance.
    """

    seed: int = 0
    cells: tuple[str, ...] = ("dcgan-k20",)
    measurements: tuple[int, ...] = (20, 50, 100, 300)
    targets: int = 16
    floor_starts: int = 8


FULL = Config()
QUICK = Config(cells=(PACKAGED,), measurements=(30,), targets=3, floor_starts=2)


def run(
    config: Config,
    out: Path,
    *,
    device: str = "cpu",
    progress: Tick | None = None,
    workers: int = 1,
) -> Record:
    """A part is a cell and its floor, or a cell, a number of measurements and a method."""
    tasks: dict[str, tuple[Any, ...]] = {}
    for cell in available(config.cells):
        tasks[f"{cell} floor"] = (config, cell, None, FLOOR)
        for m in config.measurements:
            tasks |= {f"{cell} {m} {name}": (config, cell, m, name) for name in METHODS}
    parts = Parts(out, "fig4", config)
    return document(config, parts.measure(_measure, tasks, progress=progress, workers=workers))


def _held_out(config: Config, size: int) -> Tensor:
    images = load_images("fashion-mnist", image_size=size, train=False)
    return images[: config.targets].float() / 255


def _measure(config: Config, cell: str, m: int | None, name: str) -> dict[str, Any]:
    bed, began = open_cell(cell), time.perf_counter()
    size = (bed.trajectory.architecture or {})["arguments"]["image_size"]
    x = _held_out(config, size)
    operator = None if m is None else f"gaussian:{m}"
    forward = as_operator(operator, tuple(x.shape[1:]), seed=config.seed)
    common: dict[str, Any] = {"generator": bed.generator, "operator": forward, "seed": config.seed}
    if m is None:
        solution = surf(bed.trajectory, x, starts=config.floor_starts, **common)
    else:
        solution = METHODS[name](bed.trajectory, forward(x), **common)
    error = (solution.x - x).flatten(1).square().mean(1)
    return {
        "cell": cell,
        "m": m,
        "method": name,
        "error": [round(float(e), 6) for e in error],
        "cost": round(float(solution.cost.mean()), 1),
        "seconds": round(time.perf_counter() - began, 2),
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def figures(record: Record, out: Path) -> list[Path]:
    """Mean squared error a pixel, and the floor."""
    results, made = list(record["results"].values()), []
    for cell in dict.fromkeys(r["cell"] for r in results):
        figure = Figure(figsize=(5.0, 3.4), layout="constrained")
        ax = figure.subplots()
        for i, name in enumerate(METHODS):
            rows = [r for r in results if (r["cell"], r["method"]) == (cell, name)]
            ax.plot([r["m"] for r in rows], [_mean(r["error"]) for r in rows], color=f"C{i}",
                    marker="osD"[i], ms=4, lw=1.4, label=name)  # fmt: skip
        floor = next(r for r in results if (r["cell"], r["method"]) == (cell, FLOOR))
        ax.axhline(_mean(floor["error"]), color="#888888", ls=":", label=FLOOR)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(record["config"]["measurements"], record["config"]["measurements"])
        ax.minorticks_off()
        ax.set_xlabel("Gaussian measurements")
        ax.set_ylabel("squared error a pixel")
        ax.set_title(f"{labelled(cell)}, held-out images", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
        made.append(save(figure, out / f"fig4-{cell}.png"))
    return made


def markdown(record: Record) -> str:
    """A line a cell and method, a column an m."""
    config, results = record["config"], list(record["results"].values())
    columns = [Column("cell", "model", right=False), Column("method", "method", right=False)]
    columns += [Column(str(m), f"m = {m}", number) for m in config["measurements"]]
    columns += [Column("cost", "cost a target", number)]
    table = Table("", columns, notes=(
        f"Squared error a pixel (values in [0, 1]), mean of {config['targets']} held-out test "
        "images. The range distance is the least that the best of "
        f"{config['floor_starts']} rides on all pixels left: an upper bound of the true one.",
    ))  # fmt: skip
    for cell in dict.fromkeys(r["cell"] for r in results):
        for name in (*METHODS, FLOOR):
            rows = [r for r in results if (r["cell"], r["method"]) == (cell, name)]
            if name == FLOOR:
                row = {str(m): _mean(rows[0]["error"]) for m in config["measurements"]}
            else:
                row = {str(r["m"]): _mean(r["error"]) for r in rows}
            cost = _mean([r["cost"] for r in rows])
            table = table.add(cell=labelled(cell), method=name, cost=cost, **row)
    return table.markdown()

"""Figure 3: exact recovery against the number of Gaussian measurements, at equal budget."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper.cells import PACKAGED, available, open_cell
from paper.document import (
    by_cell,
    curve_style,
    labelled,
    over_measurements,
    save,
)
from paper.registry import Record
from paper.running import Run
from surfing.evaluation.compare import compare
from surfing.evaluation.methods import ADAM_STEP_SIZE
from surfing.report import Column, Table, rate, wilson
from surfing.report.tables import count

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "needed", "run"]


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of targets, starts and operators.
        cells: trained models.
        measurements: numbers m of Gaussian measurements.
        targets: a point, as in the paper.
        budget: forward-equivalents per target: what one Adam ride costs.
        methods: names, as `surfing compare` knows them.
    """

    seed: int = 0
    cells: tuple[str, ...] = ("dcgan-k20", "wgan-gp-k20", "wgan-k20")
    measurements: tuple[int, ...] = (20, 30, 40, 80, 160)
    targets: int = 200
    budget: int = 3100
    methods: tuple[str, ...] = (
        *("adam", "surf-adam", "lm-restarts", "ride-restarts", "annealed-restarts", "recover"),
    )


FULL = Config()
QUICK = Config(
    cells=(PACKAGED,),
    measurements=(10, 30),
    targets=6,
    budget=500,
    methods=("lm-restarts", "ride-restarts"),
)


def _tasks(config: Config) -> dict[str, tuple[str, int, str]]:
    return {
        f"{cell} {m} {name}": (cell, m, name)
        for cell in available(config.cells)
        for m in config.measurements
        for name in config.methods
    }


def _measure(config: Config, cell: str, m: int, name: str) -> dict[str, Any]:
    bed, began = open_cell(cell), time.perf_counter()
    comparison = compare(
        bed.trajectory,
        bed.generator,
        operator=f"gaussian:{m}",
        targets=config.targets,
        budgets=(config.budget,),
        methods=[name],
        exact=True,
        seed=config.seed,
    )
    (line,) = comparison.to_dict()["methods"]
    return {
        "cell": cell,
        "m": m,
        "name": name,
        "label": line["label"],
        "found": line["found"][0],
        "cost": round(line["cost"][0], 1),
        "by_target": line["by_target"][0],
        "seconds": round(time.perf_counter() - began, 2),
    }


def needed(record: Record, cell: str, name: str, share: float) -> int | None:
    """The least m that was tried from which on at least that share is recovered; None if none."""
    points = [
        (part["m"], part["found"][0] / max(1, part["found"][1]))
        for part in record["results"].values()
        if (part["cell"], part["name"]) == (cell, name)
    ]
    enough = None
    for m, reached in sorted(points, reverse=True):
        if reached < share:
            break
        enough = m
    return enough


run = Run("fig3", _tasks, _measure)
"""A part is a cell, a number of measurements and a method."""


def figures(record: Record, out: Path) -> list[Path]:
    """A curve per method."""
    made, config = [], record["config"]
    for cell, results in by_cell(record).items():
        figure = Figure(figsize=(6.9, 3.4), layout="constrained")
        ax = figure.subplots()
        for number, name in enumerate(config["methods"]):
            rows = [r for r in results if r["name"] == name]
            m = [r["m"] for r in rows]
            bands = [wilson(*r["found"]) for r in rows]
            style = curve_style(number)
            ax.fill_between(m, [b[0] for b in bands], [b[1] for b in bands], color=style["color"],
                            alpha=0.08, lw=0)  # fmt: skip
            share = [r["found"][0] / max(1, r["found"][1]) for r in rows]
            ax.plot(m, share, label=rows[0]["label"], **style)
        ax.set_ylim(-0.02, 1.02)
        title = f"{labelled(cell)}, {count(config['budget'])} forward-equivalents per target"
        over_measurements(ax, config["measurements"], title=title, what="recovered exactly")
        made.append(save(figure, out / f"fig3-{cell}.png"))
    return made


def markdown(record: Record) -> str:
    """A line per method, a column an m, and the m that half and nine tenths need."""
    config = record["config"]
    columns = [Column("label", "method", right=False)]
    columns += [Column(str(m), f"m = {m}", rate) for m in config["measurements"]]
    columns += [Column("half", "50% from m =", str), Column("most", "90% from m =", str)]
    made = []
    for cell, results in by_cell(record).items():
        table = Table(labelled(cell), columns, notes=(
            f"Share recovered exactly within {count(config['budget'])} forward-equivalents per "
            f"target, restarts included (recover's pilot, made once, is not), {config['targets']} "
            "targets per point; 95% Wilson intervals. One run of Adam fills the budget; its step "
            f"size is {ADAM_STEP_SIZE}. Last columns: among the numbers tried.",
        ))  # fmt: skip
        for name in config["methods"]:
            rows = [r for r in results if r["name"] == name]
            half, most = (needed(record, cell, name, share) or "–" for share in (0.5, 0.9))
            row = {str(r["m"]): r["found"] for r in rows}
            table = table.add(label=rows[0]["label"], half=half, most=most, **row)
        made.append(table.markdown())
    return "\n\n".join(made)

"""What makes a ride work? The path changed, taken away, or replaced by something else."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper.cells import PACKAGED, available, open_cell
from paper.document import labelled, save
from paper.registry import Record
from paper.running import Run
from paper.variants import VARIANTS
from surfing.evaluation.samples import FOUND, own_samples
from surfing.evaluation.solvers import Task
from surfing.report import Column, Table, rate, wilson
from surfing.report.palette import LINES
from surfing.report.tables import count

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "run"]


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of targets, starts and operators.
        cells: trained models.
        operators: what measures; "2k" in one stands for twice the latent dimension.
        targets: of each.
    """

    seed: int = 0
    cells: tuple[str, ...] = ("wgan-gp-k10", "wgan-k10", "vae-k10", "dcgan-k20")
    operators: tuple[str, ...] = ("gaussian:2k",)
    targets: int = 100


FULL = Config()
QUICK = Config(cells=(PACKAGED,), operators=("gaussian:20",), targets=8)


def _tasks(config: Config) -> dict[str, tuple[str, str, str]]:
    return {
        f"{cell} {operator.replace(':', '')} {name}": (cell, operator, name)
        for cell in available(config.cells)
        for operator in config.operators
        for name in VARIANTS
    }


def _measure(config: Config, cell: str, operator: str, name: str) -> dict[str, Any]:
    bed, variant = open_cell(cell), VARIANTS[name]
    own = own_samples(bed.trajectory, bed.generator, config.targets, seed=config.seed)
    named = None if operator == "all" else bed.operator(operator)
    model = bed.model(named, seed=config.seed)
    began = time.perf_counter()
    solution = variant.solver.solve(Task(model, model.measure(own.x), config.seed))
    found = (solution.z - own.z).norm(dim=1) < FOUND
    return {
        "cell": cell,
        "operator": operator,
        "variant": name,
        "group": variant.group,
        "found": [int(found.sum()), len(found)],
        "cost": round(float(solution.cost.mean()), 1),
        "seconds": round(time.perf_counter() - began, 2),
    }


run = Run("ablations", _tasks, _measure)
"""A part is a cell, an operator and a variant."""


def figures(record: Record, out: Path) -> list[Path]:
    """Success of each variant, a panel a problem."""
    results = list(record["results"].values())
    problems = list(dict.fromkeys((r["cell"], r["operator"]) for r in results))
    names = list(dict.fromkeys(r["variant"] for r in results))
    figure = Figure(figsize=(1.1 * len(problems) + 2.8, 0.2 * len(names) + 0.8),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots(1, len(problems), squeeze=False, sharey=True)[0]
    for ax, problem in zip(axes, problems):
        rows = [r for r in results if (r["cell"], r["operator"]) == problem]
        for r in rows:
            at, share = names.index(r["variant"]), r["found"][0] / r["found"][1]
            low, high = wilson(*r["found"])
            ax.plot((low, high), (at, at), color=LINES[0][0], lw=1.2)
            ax.plot(share, at, "o", color=LINES[0][0], ms=4)
        ax.set_title(f"{labelled(problem[0])}\n{problem[1]}", fontsize=8)
        ax.set_xlim(-0.02, 1.02)
        ax.set_xticks((0, 0.5, 1), ("0", ".5", "1"), fontsize=8)
        ax.grid(axis="y", color="#eeeeee", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].invert_yaxis()
    figure.supxlabel("latents found from one start", fontsize=9)
    return [save(figure, out / "ablations-variants.png")]


def markdown(record: Record) -> str:
    """A line a variant, a column a problem."""
    results = list(record["results"].values())
    problems = list(dict.fromkeys((r["cell"], r["operator"]) for r in results))
    columns = [Column("group", "varied", right=False), Column("variant", "ride", right=False)]
    for i, (cell, operator) in enumerate(problems):
        columns += [Column(f"f{i}", f"{labelled(cell)}, {operator}", rate)]
        columns += [Column(f"c{i}", "cost", count)]
    table = Table("", columns, notes=(
        f"Latents found by one ride, {record['config']['targets']} targets, with 95% Wilson "
        "intervals; Levenberg-Marquardt throughout. Costs differ: see the budget table for equal "
        "cost.",
    ))  # fmt: skip
    for name in dict.fromkeys(r["variant"] for r in results):
        row: dict[str, Any] = {"variant": name, "group": VARIANTS[name].group}
        for i, problem in enumerate(problems):
            key = (*problem, name)
            hit = next(r for r in results if (r["cell"], r["operator"], r["variant"]) == key)
            row |= {f"f{i}": hit["found"], f"c{i}": hit["cost"]}
        table = table.add(**row)
    return table.markdown()

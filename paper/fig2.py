"""Figure 2: how far from the truth the runs of Table 1 end, all cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paper import table1
from paper.document import labelled, save
from paper.registry import Record
from paper.rides import BINS
from paper.step_sizes import AdamRuns, labels
from surfing.report import Column, Table
from surfing.report.palette import LINES

__all__ = ["FULL", "QUICK", "figures", "markdown", "run"]

FULL, QUICK = table1.FULL, table1.QUICK
run = table1.run
"""The runs are those of Table 1: in one output folder they are made once."""


def figures(record: Record, out: Path) -> list[Path]:
    """Cumulative shares of ||z - z*||, a panel a cell."""
    results = list(record["results"].values())
    cells = list(dict.fromkeys(r["cell"] for r in results))
    columns = min(3, len(cells))
    rows = -(-len(cells) // columns)
    figure = Figure(figsize=(2.3 * columns, 1.8 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    edges, told = np.linspace(*BINS)[1:], _labels(record)
    for ax, cell in zip(axes, cells):
        for (name, label), (colour, dashes, _) in zip(told.items(), LINES):
            for part in (r for r in results if (r["cell"], r["method"]) == (cell, name)):
                share = np.cumsum(part["errors"]) / max(1, part["found"][1])
                ax.step(10.0**edges, share, where="post", lw=1.2, color=colour, ls=dashes,
                        label=label)  # fmt: skip
        ax.axvline(0.01, color="#888888", lw=0.8, ls=":")
        ax.set_xscale("log")
        ax.set_title(labelled(cell), fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=7)
    for ax in axes[len(cells) :]:
        ax.set_axis_off()
    for ax in axes[-columns:]:
        ax.set_xlabel("||z - z*||, dotted: .01", fontsize=8)
    figure.supylabel("share of targets below", fontsize=9)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return [save(figure, out / "fig2-distances.png")]


def markdown(record: Record) -> str:
    """Shares within powers of ten."""
    marks = (-5, -4, -3, -2, -1, 0)
    columns = [Column("cell", "model", right=False), Column("method", "method", right=False)]
    columns += [Column(str(m), f"below 1e{m}") for m in marks]
    table = Table("", columns)
    edges, told = np.linspace(*BINS)[1:], _labels(record)
    for part in record["results"].values():
        share = np.cumsum(part["errors"]) / max(1, part["found"][1])
        cells = {str(m): f"{share[np.searchsorted(edges, m - 1e-9)]:.2f}" for m in marks}
        table = table.add(cell=labelled(part["cell"]), method=told[part["method"]], **cells)
    return table.markdown()


def _labels(record: Record) -> dict[str, str]:
    return labels(table1.METHODS, AdamRuns(**record["config"]["adam"]))

"""What all experiments do alike: say what was run, and save what was drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper.registry import Record
from surfing import files
from surfing.evaluation.record import provenance
from surfing.report import wilson
from surfing.report.palette import LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "by_cell",
    "curve_style",
    "document",
    "found_by_cell",
    "labelled",
    "over_measurements",
    "save",
]


def document(config: Any, results: Mapping[str, Any], **facts: Any) -> Record:
    """The record: configuration, provenance, results by part.

    Args:
        config: a frozen dataclass with a field `seed`.
        results: JSON values by part, each with the `seconds` that it took.
        **facts: anything else.
    """
    spent = sum(float(part.get("seconds", 0.0)) for part in results.values())
    return {
        **provenance(config.seed),
        "seconds": round(spent, 1),
        "config": dataclasses.asdict(config),
        **facts,
        "results": dict(results),
    }


def labelled(cell: str) -> str:
    """A cell for people: wgan-gp-k10 is WGAN-GP, k=10."""
    model, _, k = cell.rpartition("-k")
    return f"{model.upper()}, k={k}" if k.isdigit() else cell


def by_cell(record: Record) -> dict[str, list[dict[str, Any]]]:
    """The parts of a record by cell, in their order."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for part in record["results"].values():
        cells.setdefault(part["cell"], []).append(part)
    return cells


def over_measurements(ax: Axes, measurements: Sequence[int], *, title: str, what: str) -> None:
    """Axes for curves over numbers of Gaussian measurements, on a logarithmic scale."""
    ax.set_xscale("log")
    ax.set_xticks(measurements, [str(m) for m in measurements])
    ax.minorticks_off()
    ax.set_xlabel("Gaussian measurements")
    ax.set_ylabel(what)
    ax.set_title(title, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    handles = ax.get_legend_handles_labels()
    ax.figure.legend(*handles, loc="outside right", frameon=False, fontsize=8)


def curve_style(number: int) -> dict[str, Any]:
    """Colour, dashes and marker of the curve with that number, for `Axes.plot`."""
    colour, dashes, marker = LINES[number]
    return {"color": colour, "ls": dashes, "marker": marker, "ms": 4, "lw": 1.4}


def found_by_cell(
    ax: Axes,
    results: Sequence[Mapping[str, Any]],
    methods: Mapping[str, str],
    *,
    key: str = "found",
    spacing: float,
    size: float,
    width: float,
) -> None:
    """Shares found by cell, the methods side by side, with their intervals.

    Args:
        ax: drawn into.
        results: parts of a record, with `cell`, `method` and a pair (found, targets).
        methods: labels by name, in order.
        key: of the pair.
        spacing: between two methods of a cell.
        size: of the markers.
        width: of the intervals' lines.
    """
    cells = list(dict.fromkeys(r["cell"] for r in results))
    for number, (name, label) in enumerate(methods.items()):
        rows = [r for r in results if r["method"] == name]
        at = [cells.index(r["cell"]) + spacing * (number - (len(methods) - 1) / 2) for r in rows]
        share = [r[key][0] / r[key][1] for r in rows]
        bands = [wilson(*r[key]) for r in rows]
        below = [max(0.0, s - low) for s, (low, _) in zip(share, bands)]
        above = [max(0.0, high - s) for s, (_, high) in zip(share, bands)]
        colour, _, marker = LINES[number]
        ax.errorbar(at, share, (below, above), fmt=marker, color=colour, ms=size, lw=width,
                    label=label)  # fmt: skip
    ax.set_xticks(range(len(cells)), [labelled(c).replace(", ", "\n") for c in cells], fontsize=8)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("latents found")
    ax.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return path

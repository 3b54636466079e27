"""How success falls with the length of the training, and how it grows with the width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from paper.ground.comparing import (
    Cell,
    all_in,
    at_equal_cost,
    first_found,
)
from paper.ground.groups import latest
from paper.ground.model import Sizes, parts_of
from paper.ground.pictures import saved, style_of
from paper.ground.tasks import DIRECT, RIDE, WAYS
from paper.ground.text import drawn, signed
from surfing.report import Column, rate, wilson
from surfing.report.tables import count

__all__ = ["ages", "by_age"]

Record = Mapping[str, Any]

_AT_LEAST = 3
"""Points of a curve that is drawn."""


def _cells(record: Record) -> list[Cell]:
    return latest(record, (cell for cell in record["cells"] if cell["task"] == "age"))


def _width(cell: Cell) -> int:
    return parts_of(cell["model"]).width or Sizes().width


def _place(cell: Cell) -> tuple[int, int, int]:
    """Width, how long it was to be trained, after how many steps."""
    return _width(cell), parts_of(cell["model"]).times, cell["training"]


def ages(record: Record) -> Iterator[str]:
    """A line a width and a length of training, a column a way."""
    lines: dict[tuple[int, int, int], dict[str, Cell]] = {}
    for cell in sorted(_cells(record), key=_place):
        lines.setdefault(_place(cell), {})[cell["method"]] = cell
    if not lines:
        return
    ways = [way for way in WAYS if any(way in line for line in lines.values())]
    rows = [_row(place, line) for place, line in lines.items()]
    columns = [
        Column("width", "width"),
        Column("training", "steps of training"),
        Column("targets", "targets"),
        *(Column(way, way) for way in ways),
        Column("less", "Adam surfing less restarts at equal cost", right=False),
    ]
    one = next(iter(lines.values()))[ways[0]]
    note = (
        f"{parts_of(one['model']).kind.upper()}, k={parts_of(one['model']).latents}, m = "
        f"{one['m']}, one start; found, and forward-equivalents. A generator that is trained three "
        "times as long has its networks three times as far apart; steps of training count from "
        "random weights, and the ride goes over the networks up to there. Adam's step sizes are "
        "one for each width. Where restarts are fewer than the ride's cost pays for, the "
        "difference is told with those that were run."
    )
    yield f"**Width and length of training**\n\n{drawn(columns, rows, note)}"


def _row(place: tuple[int, int, int], line: Mapping[str, Cell]) -> dict[str, str]:
    width, _, training = place
    told = {
        way: f"{rate(first_found(cell))} at {count(all_in(cell))}" for way, cell in line.items()
    }
    told |= {"width": str(width), "training": count(training)}
    told["targets"] = ", ".join(map(str, sorted({cell["targets"] for cell in line.values()})))
    if DIRECT in line and RIDE in line:
        held = at_equal_cost(line[RIDE], line[DIRECT])
        told["less"] = f"{signed(held.difference)} ({held.verdict})"
    return told


def by_age(record: Record, out: Path) -> list[Path]:
    """Found by steps of training, a panel a width; by width after the usual training."""
    if not (cells := _cells(record)):
        return []
    widths = sorted({_width(cell) for cell in cells}, reverse=True)
    panels = [
        (f"width {width}", "steps of training", own, "training")
        for width in (widths[0], widths[-1])
        for own in [_of_width(cells, width)]
        if len({cell["training"] for cell in own}) >= _AT_LEAST
    ]
    usual = [cell for cell in cells if round(cell["training"], -3) == Sizes().steps]
    if len({_width(cell) for cell in usual}) >= _AT_LEAST:
        panels.append((f"after {count(Sizes().steps)} steps", "width", usual, "width"))
    if not panels:
        return []
    figure = Figure(figsize=(1.2 + 2.8 * len(panels), 3.3), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
    for ax, (title, label, own, key) in zip(axes, panels):
        _curves(ax, own, key)
        ax.set_title(title, fontsize=9, loc="left")
        ax.set_xlabel(label, fontsize=8)
    axes[0].set_ylabel("latents found", fontsize=8)
    shown = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=len(panels),
                  frameon=False, fontsize=8)  # fmt: skip
    return [saved(figure, out / "ground-ages.png")]


def _of_width(cells: Sequence[Cell], width: int) -> list[Cell]:
    """Those of the longest training of this width."""
    own = [cell for cell in cells if _width(cell) == width]
    times = max(parts_of(cell["model"]).times for cell in own)
    return [cell for cell in own if parts_of(cell["model"]).times == times]


def _curves(ax: Axes, cells: Sequence[Cell], key: str) -> None:
    def where(cell: Cell) -> int:
        return int(cell["training"]) if key == "training" else _width(cell)

    for way in WAYS:
        points = sorted((where(c), first_found(c)) for c in cells if c["method"] == way)
        if points:
            at = [place for place, _ in points]
            bands = [wilson(*pair) for _, pair in points]
            style = style_of(way)
            ax.fill_between(at, [b[0] for b in bands], [b[1] for b in bands],
                            color=style["color"], alpha=0.08, lw=0)  # fmt: skip
            ax.plot(at, [found / targets for _, (found, targets) in points], label=way, **style)
    ax.set_xscale("log")
    ticks = sorted({where(cell) for cell in cells})
    ax.set_xticks(ticks, [count(tick) for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-0.02, 1.02)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)

"""How success falls with the length of the training, and how it grows with the width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from paper.ground.comparing import Cell, Pair, all_in, at_equal_cost, first_found
from paper.ground.groups import latest
from paper.ground.model import Sizes, parts_of
from paper.ground.pictures import saved, style_of
from paper.ground.tasks import DIRECT, RIDE, WAYS
from paper.ground.text import drawn, signed
from surfing.report import Column, rate, wilson
from surfing.report.tables import count

__all__ = ["ages", "by_age", "law"]

Record = Mapping[str, Any]

_AT_LEAST = 3
"""Points of a curve that is drawn."""


@dataclass(frozen=True)
class Panel:
    """Cells that differ in one thing.

    Attributes:
        title: what they have in common.
        label: what differs.
        cells: theirs.
        where: the value of what differs.
    """

    title: str
    label: str
    cells: Sequence[Cell]
    where: Callable[[Cell], int]

    def points(self, way: str) -> list[tuple[int, Pair]]:
        """(value, (found, targets)) of a way, in order."""
        return sorted((self.where(c), first_found(c)) for c in self.cells if c["method"] == way)


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


def law(record: Record) -> Iterator[str]:
    """For the top of the page: from one end of each panel to the other."""
    told = [said for panel in _panels(_cells(record)) if (said := _from_end_to_end(panel))]
    if told:
        yield f"**Width and length of training** (DCGAN, k=10, m = 2k): {'; '.join(told)}."


def _from_end_to_end(panel: Panel) -> str:
    ends = {way: [rate(pair) for _, pair in panel.points(way)] for way in (DIRECT, RIDE)}
    if not all(len(shares) >= _AT_LEAST for shares in ends.values()):
        return ""
    first, *_, last = (count(place) for place, _ in panel.points(RIDE))
    moves = ", ".join(f"{way} from {s[0]} to {s[-1]}" for way, s in ends.items())
    return f"{panel.title}, {panel.label} from {first} to {last}: {moves}"


def _panels(cells: Sequence[Cell]) -> Iterator[Panel]:
    """By steps of training at the most and the least width; by width after the usual training."""
    widths = sorted({_width(cell) for cell in cells}, reverse=True)
    parts = [
        Panel(f"width {width}", "steps of training", _of_width(cells, width),
              lambda cell: int(cell["training"]))
        for width in sorted({*widths[:1], *widths[-1:]}, reverse=True)
    ]  # fmt: skip
    usual = [cell for cell in cells if round(cell["training"], -3) == Sizes().steps]
    parts.append(Panel(f"after {count(Sizes().steps)} steps", "width", usual, _width))
    yield from (one for one in parts if len({*map(one.where, one.cells)}) >= _AT_LEAST)


def by_age(record: Record, out: Path) -> list[Path]:
    """A picture of what falls with the training and grows with the width."""
    panels = list(_panels(_cells(record)))
    if not panels:
        return []
    figure = Figure(figsize=(1.2 + 2.8 * len(panels), 3.3), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
    for ax, panel in zip(axes, panels):
        _curves(ax, panel)
        ax.set_title(panel.title, fontsize=9, loc="left")
        ax.set_xlabel(panel.label, fontsize=8)
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


def _curves(ax: Axes, panel: Panel) -> None:
    for way in WAYS:
        if points := panel.points(way):
            at = [place for place, _ in points]
            bands = [wilson(*pair) for _, pair in points]
            style = style_of(way)
            ax.fill_between(at, [b[0] for b in bands], [b[1] for b in bands],
                            color=style["color"], alpha=0.08, lw=0)  # fmt: skip
            ax.plot(at, [found / targets for _, (found, targets) in points], label=way, **style)
    ax.set_xscale("log")
    ticks = sorted({panel.where(cell) for cell in panel.cells})
    ax.set_xticks(ticks, [count(tick) for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-0.02, 1.02)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)

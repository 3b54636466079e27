"""Success by the length of the training and by the width of the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper.ground.comparing import Cell, Pair, all_in, at_equal_cost, first_found, share
from paper.ground.groups import latest, repeated
from paper.ground.model import Sizes, parts_of
from paper.ground.pictures import along, grid, with_legend
from paper.ground.tasks import DIRECT, RIDE, WAYS
from paper.ground.text import drawn, either, signed, two
from surfing.report import Column, rate
from surfing.report.tables import count

__all__ = ["ages", "by_age", "from_end_to_end"]

Record = Mapping[str, Any]

_AT_LEAST = 3
"""Points of a curve that is drawn."""


@dataclass(frozen=True)
class Series:
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


def ages(record: Record) -> Iterator[str]:
    """A line a width and a length of training, a column a way."""
    lines: dict[tuple[int, int, int], dict[str, Cell]] = {}
    cells = _cells(record)
    for cell in sorted(cells, key=_place):
        lines.setdefault(_place(cell), {})[cell["method"]] = cell
    if not lines:
        return
    ways = [way for way in WAYS if any(way in line for line in lines.values())]
    columns = [
        Column("width", "width"),
        Column("training", "steps of training"),
        Column("apart", "steps between networks"),
        Column("targets", "targets"),
        *(Column(way, way) for way in ways),
        Column("less", "Adam surfing less restarts at equal cost", right=False),
    ]
    note = (
        f"{_model(cells)}, one start, one training of each; found, and forward-equivalents. Steps "
        "of training count from random weights; the ride goes over the networks up to there. "
        "Adam's step sizes are one for each width, chosen for single starts; restarts are at that "
        "of direct Adam. Where they are fewer than the ride's cost pays for, the difference is "
        "told with those that were run; where it pays for a part of one, with that part. A dash: "
        "in the tables above."
    )
    told = drawn(columns, [_row(place, line) for place, line in lines.items()], note)
    yield f"**Width and length of training**\n\n{told}"
    if said := repeated(record, cells, ("age",)):
        yield said


def _cells(record: Record) -> list[Cell]:
    """Those of the task, and of the same model at its usual width and length from the tables."""
    own = latest(record, (cell for cell in record["cells"] if cell["task"] == "age"))
    models = {_usual(cell["model"]) for cell in own}
    ways, counts = {cell["method"] for cell in own}, {cell["m"] for cell in own}
    few = (
        cell | {"training": Sizes().steps}
        for cell in record["cells"]
        if cell["task"] == "few"
        and cell["model"] in models
        and cell["method"] in ways
        and cell["m"] in counts
    )
    return [*own, *latest(record, few)]


def _usual(model: str) -> str:
    kind, latents, *_ = parts_of(model)
    return f"{kind}-k{latents}"


def _model(cells: Sequence[Cell]) -> str:
    kind, latents, *_ = parts_of(cells[0]["model"])
    return f"{kind.upper()}, k={latents}, m = {cells[0]['m']}"


def _width(cell: Cell) -> int:
    return parts_of(cell["model"]).width or Sizes().width


def _times(cell: Cell) -> int:
    return parts_of(cell["model"]).times


def _place(cell: Cell) -> tuple[int, int, int]:
    return _width(cell), _times(cell), cell["training"]


def _row(place: tuple[int, int, int], line: Mapping[str, Cell]) -> dict[str, str]:
    width, times, training = place
    told = {
        way: f"{rate(first_found(cell))} at {count(all_in(cell))}" for way, cell in line.items()
    }
    told |= {"width": str(width), "training": count(training), "apart": str(Sizes().every * times)}
    told["targets"] = either(cell["targets"] for cell in line.values())
    if DIRECT in line and RIDE in line and line[DIRECT]["task"] == "age":
        held = at_equal_cost(line[RIDE], line[DIRECT])
        told["less"] = f"{signed(held.difference)} ({held.verdict})"
    return told


def _series(cells: Sequence[Cell]) -> Iterator[Series]:
    """By steps of training at each width; by width after the usual training."""
    kinds = sorted({(_width(cell), _times(cell)) for cell in cells}, reverse=True)
    for width, times in kinds:
        own = [cell for cell in cells if (_width(cell), _times(cell)) == (width, times)]
        apart = f", networks {Sizes().every * times} steps apart" if times > 1 else ""
        if len({cell["training"] for cell in own}) >= _AT_LEAST:
            yield Series(f"width {width}{apart}", "steps of training", own,
                         lambda cell: int(cell["training"]))  # fmt: skip
    usual = [c for c in cells if _times(c) == 1 and c["training"] == Sizes().steps]
    if len({_width(cell) for cell in usual}) >= _AT_LEAST:
        yield Series(f"after {count(Sizes().steps)} steps", "width", usual, _width)


def from_end_to_end(record: Record) -> Iterator[str]:
    """For the top of the page: the longest series of a kind."""
    cells = _cells(record)
    longest: dict[str, Series] = {}
    for one in _series(cells):
        before = longest.get(one.label)
        if before is None or len(one.points(RIDE)) > len(before.points(RIDE)):
            longest[one.label] = one
    if told := [said for one in longest.values() if (said := _ends(one))]:
        yield (
            f"**Width and length of training** ({_model(cells)}, one training of each): "
            f"{'; '.join(told)}."
        )


def _ends(series: Series) -> str:
    ends = {way: series.points(way) for way in (DIRECT, RIDE)}
    if not all(len(points) >= _AT_LEAST for points in ends.values()):
        return ""
    places = ", ".join(count(place) for place, _ in series.points(RIDE))
    moves = ", ".join(
        f"{way} {', '.join(two(share(pair)) for _, pair in points)}" for way, points in ends.items()
    )
    return f"{series.title}, {series.label} {places}: {moves}"


def by_age(record: Record, out: Path) -> list[Path]:
    """A panel a series."""
    panels = list(_series(_cells(record)))
    if not panels:
        return []
    figure, axes = grid(len(panels))
    for ax, panel in zip(axes, panels):
        ways = {way: points for way in WAYS if (points := panel.points(way))}
        along(ax, ways, ticks=sorted({panel.where(cell) for cell in panel.cells}))
        ax.set_title(panel.title, fontsize=8, loc="left")
        ax.set_xlabel(panel.label, fontsize=8)
    return [with_legend(figure, axes, out / "ground-ages.png")]

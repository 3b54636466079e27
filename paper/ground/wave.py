"""Who stays on the wave: rides with other steps, from the rows of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from paper.ground.comparing import Cell, all_in, first_found, paired, sign_test
from paper.ground.pictures import on_the_wave
from paper.ground.tasks import RIDE
from paper.ground.text import labelled
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["draw", "wave"]

Record = Mapping[str, Any]

_PLACES = (0.25, 0.5, 0.75)
_LEVEL = 0.05
_DRAWN = 6
"""Rides in the picture: as many as the palette has lines."""


def wave(record: Record) -> str:
    """A line a ride; nothing where none was measured."""
    cells = _rides(record)
    if not cells:
        return ""
    rows = tuple(
        {
            "ride": _named(cell),
            "found": rate(first_found(cell)),
            "cost": all_in(cell),
            "wave": ", ".join(_share(cell, place) for place in _PLACES),
            "move": f"{median(cell['median_move']):.2g}",
            "paired": "–" if cell is cells[0] else paired(cell, cells[0]),
        }
        for cell in cells
    )
    columns = [
        Column("ride", "ride through every network", right=False),
        Column("found", "found"),
        Column("cost", "cost", count),
        Column("wave", "on the wave at 1/4, 1/2, 3/4"),
        Column("move", "move a network"),
        Column("paired", "only this ride, only the first, p"),
    ]
    drift = _drift(record)
    note = (
        f"{labelled(cells[0]['model'])}, m = {cells[0]['m']}, {cells[0]['targets']} targets, the "
        "same start. The truth's minimiser is followed backwards from the last network by LM; a "
        "target is on the wave where its row is within a fifth of the law's standard deviation "
        "times the root of k of it. Move: median over targets of how far a row moves from one "
        f"network to the next, then the median over networks; the minimiser's own is {drift:.2g}. "
        f"The law in a name: its standard deviation times the root of k. {_said(cells)}"
    )
    return f"**Who stays on the wave**\n\n{Table('', columns, rows, (note,)).markdown()}"


def _said(cells: Sequence[Cell]) -> str:
    """Whether any ride is told apart from the first, and when rows come near."""
    first = cells[0]
    tests = {_named(cell): sign_test(cell, first) for cell in cells[1:]}
    apart = [
        f"{name} ({'ahead' if won > lost else 'behind'})"
        for name, (won, lost, p) in tests.items()
        if p < _LEVEL
    ]
    late = max(cell["on_the_wave"][round(0.75 * (len(cell["on_the_wave"]) - 1))] for cell in cells)
    told = ", ".join(apart) or "none of them"
    return (
        f"Told apart from the first by the paired test at {_LEVEL}: {told}. Three quarters of the "
        f"way along, at most {late:.0%} of the targets are on the wave in any ride: most of those "
        "that are found come to it in the last quarter."
    )


def draw(record: Record, path: Path) -> Path | None:
    """Shares on the wave of Adam's ride and of the LM rides that found most."""
    cells = _rides(record)
    if not cells:
        return None
    adam = [cell for cell in cells if cell["method"] == RIDE][:1]
    others = [cell for cell in cells if cell["method"] != RIDE]
    plain = [cell for cell in others if cell["method"] == "LM, 2 steps a network"]
    rest = sorted((c for c in others if c not in plain), key=first_found, reverse=True)
    chosen = [*adam, *plain, *rest][:_DRAWN]
    return on_the_wave({_named(cell): cell["on_the_wave"] for cell in chosen}, path)


def _rides(record: Record) -> Sequence[Cell]:
    return [c for c in record["cells"] if c["task"] == "why" and "on_the_wave" in c]


def _drift(record: Record) -> float:
    return float(median(next(line["median_drift"] for line in record["tracks"])))


def _share(cell: Cell, place: float) -> str:
    shares = cell["on_the_wave"]
    return f"{shares[round(place * (len(shares) - 1))]:.2f}".removeprefix("0")


def _named(cell: Cell) -> str:
    if cell["method"] != RIDE:
        return str(cell["method"])
    told = f"Adam, {cell['stage_steps']} steps of {cell['rate']} a network"
    if cell["momentum"] != 0.9:
        told += f", momentum {cell['momentum']:g}"
    return told + (f", averages of {cell['averaged']}" if cell["averaged"] > 1 else "")

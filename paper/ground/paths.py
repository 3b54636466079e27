"""Rides on paths that are changed, taken away or replaced: tables of the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paper.ground.comparing import Cell, all_in, first_found, paired
from paper.ground.text import drawn, labelled
from surfing.report import Column, rate
from surfing.report.tables import count

__all__ = ["paths"]

Record = Mapping[str, Any]

_TITLES = {"paths": "Adam on other paths", "variants": "LM on other paths"}


def paths(record: Record) -> Iterator[str]:
    """A table a model and method; nothing where none was measured."""
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in record["cells"]:
        if cell["task"] in _TITLES:
            groups.setdefault((cell["task"], cell["run"], cell["model"]), []).append(cell)
    for (task, _, model), cells in groups.items():
        yield f"**{_TITLES[task]}: {labelled(model)}**\n\n{_table(cells)}"


def _table(cells: Sequence[Cell]) -> str:
    first = cells[0]
    rows = tuple(
        {
            "path": cell["variant"].strip(),
            "found": rate(first_found(cell)),
            "cost": all_in(cell),
            "paired": "–" if cell is first else paired(cell, first),
        }
        for cell in cells
    )
    columns = [
        Column("path", "path", right=False),
        Column("found", "found"),
        Column("cost", "cost", count),
        Column("paired", "only this path, only the first, p"),
    ]
    note = (
        f"m = {first['m']}, {first['targets']} targets, one start, the same for every path; found, "
        "and the exact paired test against the first line."
    )
    return drawn(columns, rows, note)

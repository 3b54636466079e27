"""Tables of the cells that were measured: each way, and rides against restarts at equal cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paper.ground.by_model import RIVALS, others, trained_in, two
from paper.ground.comparing import (
    AtCost,
    all_in,
    any_found,
    at_equal_cost,
    first_found,
    paired,
)
from paper.ground.model import MODELS
from paper.ground.pictures import labelled
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.tuning import place
from paper.ground.ways import LM
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["MANY", "WAYS", "ages", "few", "whole"]

Record = Mapping[str, Any]
Cell = Mapping[str, Any]

WAYS = (DIRECT, RIDE, *LM)
"""In the order of the tables."""
MANY = 4
"""Ways that make a table or a picture of their own."""

_CARRIED = "Broyden surfing, every network"


def whole(record: Record) -> str:
    """Table 1 as far as it was measured."""
    cells = [c for c in others(record) if c["task"] == "table1"]
    if not cells:
        return ""
    order = {
        model: place for place, model in enumerate(sorted({c["model"] for c in cells}, key=place))
    }
    cells.sort(key=lambda c: (c["run"], order[c["model"]], WAYS.index(c["method"])))
    rows = tuple(_cell_row(cell) | {"model": _told(record, cell)} for cell in cells)
    note = (
        f"One start each; where several were run, the last column takes the start with the lowest "
        f"residual. {_missing(record)}{_equal_costs(cells)}"
    )
    return "**Table 1, all pixels, as far as it was measured**\n\n" + _table(rows, note)


def _told(record: Record, cell: Cell) -> str:
    """The model; and what sets its cells apart from those of the first run."""
    machine = record["runs"][cell["run"]]["machine"].get("cuda")
    whole = record["runs"][0]["plan"]["few" if cell["task"] == "few" else "table"]
    apart = [] if machine else ["on a CPU"]
    if cell["targets"] != whole:
        apart.append(f"{cell['targets']} targets")
    return labelled(cell["model"]) + (f" ({', '.join(apart)})" if apart else "")


def _table(rows: tuple[dict[str, Any], ...], note: str) -> str:
    columns = [
        Column("model", "model", right=False),
        Column("method", "way", right=False),
        Column("found", "found"),
        Column("rate", "step size"),
        Column("steps", "steps, third quartile"),
        Column("cost", "cost", count),
        Column("many", "best of so many starts"),
    ]
    return Table("", columns, rows, (note,)).markdown()


def _cell_row(cell: Cell) -> dict[str, Any]:
    steps = cell.get("steps_quartiles")
    capped = f" ({cell['capped']} at the cap)" if cell.get("capped") else ""
    many = f"{cell['starts']}: {rate(any_found(cell))}" if cell["starts"] > 1 else "–"
    return {
        "model": labelled(cell["model"]),
        "method": cell["method"],
        "found": rate(first_found(cell)),
        "rate": str(cell.get("rate", "–")),
        "steps": f"{count(steps[2])}{capped}" if steps else "–",
        "cost": all_in(cell),
        "many": many,
    }


def _missing(record: Record) -> str:
    """How many cells of the table are not there, and why."""
    lacking: Counter[str] = Counter()
    for line in record["missing"]:
        if line["task"] == "table1" and line["run"] == 0 and line["model"] in MODELS:
            reason = "memory of the GPU" if "memory" in line["why"] else line["why"]
            lacking[reason] += 1 if "method" in line else len(WAYS)
    told = " and ".join(f"{number} ({why})" for why, number in sorted(lacking.items()))
    wanted = len(MODELS) * len(WAYS)
    return (
        f"The first run, which was to have {wanted} such cells, lacks {told}: its models shared "
        "one GPU for some eight minutes and stood in each other's way. `missing` in the record "
        f"names them. A cell of that run has {record['runs'][0]['plan']['table']} targets."
    )


_RIVALS = {RIDE: (DIRECT,), **RIVALS}
"""What each ride is set against at equal cost."""


def _equal_costs(cells: Sequence[Cell]) -> str:
    """Rides against restarts of what they are to replace, on the same targets."""
    rows = tuple(_against(ride, alone) for ride, alone in _pairs(cells))
    columns = [
        Column("model", "at equal cost", right=False),
        Column("ride", "ride", right=False),
        Column("alone", "restarts it pays for", right=False),
        Column("found", "ride found"),
        Column("restarts", "restarts found"),
        Column("difference", "difference", right=False),
        Column("paired", "one start each: only the ride, only the other, p"),
    ]
    return "\n\n" + Table("", columns, rows).markdown() if rows else ""


def _pairs(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Cell]]:
    for ride in cells:
        for alone in cells:
            same = all(alone.get(key) == ride.get(key) for key in ("run", "model", "m", "training"))
            if same and alone["method"] in _RIVALS.get(ride["method"], ()):
                yield ride, alone


def _against(ride: Cell, alone: Cell) -> dict[str, Any]:
    held: AtCost = at_equal_cost(ride, alone)
    most = "" if held.enough else f" (but {alone['starts']} were run)"
    mean, low, high = held.difference
    return {
        "model": f"{labelled(ride['model'])}, {ride['m'] or 'all pixels'}",
        "ride": ride["method"],
        "alone": f"{held.number:.1f} of {alone['method']}{most}",
        "found": two(held.ride),
        "restarts": two(held.restarts),
        "difference": f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] ({held.verdict})",
        "paired": paired(ride, alone),
    }


def few(record: Record) -> Iterator[str]:
    """Few measurements, by model and run."""
    groups: dict[tuple[int, str, int], list[Cell]] = {}
    for cell in others(record):
        if cell["task"] == "few":
            groups.setdefault((cell["run"], cell["model"], cell["m"]), []).append(cell)
    alone = [cell for cells in groups.values() if len(cells) < MANY for cell in cells]
    if alone:
        rows = tuple(_cell_row(c) | {"model": f"{_told(record, c)}, m = {c['m']}"} for c in alone)
        yield "**2k and 4k Gaussian measurements, some ways only**\n\n" + _table(
            rows,
            f"{record['runs'][0]['plan']['few']} targets where no number stands, other ones than "
            "those that chose the step size. The rest of the first run is missing for want of the "
            f"GPU's memory: `missing` in the record. {_carrying(record)}",
        )
    for (run, model, m), cells in groups.items():
        if len(cells) < MANY:
            continue
        machine = record["runs"][run]["machine"].get("cuda") or "CPU"
        rows = tuple(
            _cell_row(cell) for cell in sorted(cells, key=lambda c: WAYS.index(c["method"]))
        )
        note = (
            f"{cells[0]['targets']} targets, trained and measured on {machine}."
            f"{_equal_costs(cells)}"
        )
        yield f"**{labelled(model)}, {m} Gaussian measurements**\n\n" + _table(rows, note)


def _carrying(record: Record) -> str:
    """Broyden's ride beside Adam's, where both were measured on one model, m and size."""
    where: dict[tuple[int, str, int], dict[str, Cell]] = {}
    for cell in record["cells"]:
        machine = record["runs"][cell["run"]]["machine"]
        if cell["task"] == "few" and not machine.get("cuda"):  # one training of each model
            key = (trained_in(record, cell["run"]), cell["model"], cell["m"])
            where.setdefault(key, {}).setdefault(cell["method"], cell)
    told = [
        f"{labelled(model)}, m = {m}: {rate(first_found(ways[_CARRIED]))} at "
        f"{count(all_in(ways[_CARRIED]))} and {rate(first_found(ways[RIDE]))} at "
        f"{count(all_in(ways[RIDE]))}"
        for (_, model, m), ways in where.items()
        if {_CARRIED, RIDE} <= set(ways)
    ]
    if not told:
        return ""
    return (
        "Broyden's ride takes its Jacobian along and takes it anew at every fifth network. Found "
        f"and cost of it and of Adam's ride on the same networks: {'; '.join(told)}."
    )


def ages(record: Record) -> Iterator[str]:
    """Other widths, other lengths."""
    cells = [c for c in record["cells"] if c["task"] == "age"]
    if not cells:
        return
    rows = tuple(
        {**_cell_row(c), "model": f"{labelled(c['model'])}, after {c['training']} steps"}
        for c in cells
    )
    note = (
        f"{cells[0]['targets']} targets, m = 2k; what comes after is missing, so how success falls "
        f"with the length of training was not measured.{_equal_costs(cells)}"
    )
    yield "**Other widths, early in the training**\n\n" + _table(rows, note)

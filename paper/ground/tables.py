"""Tables of the cells that were measured: each way, and rides against restarts at equal cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from paper.ground.by_model import RIVALS
from paper.ground.comparing import (
    AtCost,
    Cell,
    all_in,
    any_found,
    at_equal_cost,
    first_found,
    paired,
)
from paper.ground.groups import TABLED, networks, others
from paper.ground.model import place
from paper.ground.tasks import WAYS
from paper.ground.text import drawn, labelled, measured, signed, two
from surfing.report import Column, rate
from surfing.report.tables import count

__all__ = ["rest"]

Record = Mapping[str, Any]


def rest(record: Record) -> str:
    """Cells of which no table of many models has the same."""
    cells = sorted(others(record), key=lambda c: (c["run"], place(c["model"]), c["m"],
                                                  WAYS.index(c["method"])))  # fmt: skip
    if not cells:
        return ""
    rows = tuple(_cell_row(cell) | {"model": _told(record, cell)} for cell in cells)
    every = [cell for cell in record["cells"] if cell["task"] in TABLED]
    pairs = _pairs(cells, every, lambda cell: networks(record, cell))
    note = (
        "One start each; where several were run, the last column takes the start with the lowest "
        f"residual. {_missing(record)}{_equal_costs(pairs)}"
    )
    return "**What was measured on single models**\n\n" + _table(rows, note)


def _told(record: Record, cell: Cell) -> str:
    """The model, what was measured of it, on how many targets and where."""
    machine = "a GPU" if record["runs"][cell["run"]]["machine"].get("cuda") else "a CPU"
    what = f"{labelled(cell['model'])}, {measured(cell['m'])}"
    return f"{what} ({cell['targets']} targets, {machine})"


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
    return drawn(columns, rows, note)


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
    """What the runs were to measure and did not, by cause."""
    causes = Counter(line["why"] for line in record["missing"] if line["why"] != "not asked for")
    told = ", ".join(f"{number} ({why})" for why, number in sorted(causes.items()))
    named = " `missing` in the record names them." if told else ""
    return (
        "Asked for and not measured in the run that was asked, tasks or ways of one model: "
        f"{told or 'none'}.{named}"
    )


def _equal_costs(pairs: Iterable[tuple[Cell, Cell]]) -> str:
    """Rides against restarts of what they are to replace, on the same targets."""
    rows = tuple(_against(ride, alone) for ride, alone in pairs)
    columns = [
        Column("model", "at equal cost", right=False),
        Column("ride", "ride", right=False),
        Column("alone", "restarts it pays for", right=False),
        Column("found", "ride found"),
        Column("restarts", "restarts found"),
        Column("difference", "difference", right=False),
        Column("paired", "one start each: only the ride, only the other, p"),
    ]
    return "\n\n" + drawn(columns, rows, "") if rows else ""


def _pairs(
    rides: Iterable[Cell], cells: Sequence[Cell], networks: Callable[[Cell], Any]
) -> Iterator[tuple[Cell, Cell]]:
    """Each ride and its rivals on the same networks and targets."""
    for ride in rides:
        for alone in cells:
            same = all(alone.get(key) == ride.get(key) for key in ("model", "m", "training"))
            rival = alone["method"] in RIVALS.get(ride["method"], ())
            if same and rival and networks(alone) == networks(ride):
                yield ride, alone


def _against(ride: Cell, alone: Cell) -> dict[str, Any]:
    held: AtCost = at_equal_cost(ride, alone)
    most = "" if held.enough else f" (but {alone['starts']} were run)"
    return {
        "model": f"{labelled(ride['model'])}, {measured(ride['m'])}",
        "ride": ride["method"],
        "alone": f"{held.number:.1f} of {alone['method']}{most}",
        "found": two(held.ride),
        "restarts": two(held.restarts),
        "difference": f"{signed(held.difference)} ({held.verdict})",
        "paired": paired(ride, alone),
    }

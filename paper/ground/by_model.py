"""What was measured on many models that were trained in one run: a line for each model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from paper.ground.comparing import Cell, all_in, difference, first_found, paired
from paper.ground.groups import (
    ANNEALED,
    CARRIED,
    EVERY,
    LATE,
    LM_DIRECT,
    STAGES,
    Group,
    groups,
    repeated,
)
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.text import drawn, either, labelled, signed
from paper.ground.ways import AGAIN
from surfing.report import Column, rate
from surfing.report.tables import count

__all__ = ["RIVALS", "tables"]

Record = Mapping[str, Any]

RIVALS = {
    RIDE: (DIRECT,),
    STAGES: (LM_DIRECT,),
    EVERY: (LM_DIRECT,),
    CARRIED: (LM_DIRECT,),
    LATE: (LM_DIRECT, ANNEALED),
}
"""What each ride is set against at equal cost."""


def tables(record: Record) -> Iterator[str]:
    """Found and cost, a line for each model and a column for each way; then equal cost."""
    made = groups(record)
    for group in made:
        found = {way: group.of(way) for way in group.ways}
        rows = tuple(
            {"model": labelled(model)}
            | {
                way: _told(cells[model], group.targets)
                for way, cells in found.items()
                if model in cells
            }
            | _paired(found, model)
            for model in group.models
        )
        columns = [Column("model", "model", right=False), *(Column(w, w) for w in found)]
        if any("paired" in row for row in rows):
            columns.append(Column("paired", "only Adam surfing, only direct, p"))
        machines = {record["runs"][c["run"]]["machine"].get("cuda") or "a CPU" for c in group.cells}
        note = (
            f"Found and cost all in, {group.targets} targets where no number stands, measured on "
            f"{' and '.join(sorted(machines))}. One start each, but for recover"
            + (f", and ways{AGAIN}: rides ten times at most, each from a later network than the "
               "one before, and direct descents twenty times"
               if any(way.endswith(AGAIN) for way in group.ways) else "")
            + "."
        )  # fmt: skip
        yield f"**Found, {group.what}**\n\n" + drawn(columns, rows, note)
    if rows := tuple(_at_equal_cost(made)):
        yield "**Rides against restarts at equal cost**\n\n" + _equal(rows)
    if said := repeated(record, [cell for group in made for cell in group.cells]):
        yield said


def _paired(found: Mapping[str, Mapping[str, Cell]], model: str) -> dict[str, str]:
    if not all(model in found.get(way, ()) for way in (DIRECT, RIDE)):
        return {}
    return {"paired": paired(found[RIDE][model], found[DIRECT][model])}


def _equal(rows: tuple[dict[str, Any], ...]) -> str:
    columns = [
        Column("what", "measured", right=False),
        Column("ride", "ride", right=False),
        Column("alone", "restarts of", right=False),
        Column("k", "k", right=False),
        Column("models", "models"),
        Column("targets", "targets of each"),
        *(Column(v, v) for v in ("ahead", "not told apart", "behind")),
        Column("few", "too few restarts"),
        Column("difference", "ride less restarts, together", right=False),
    ]
    note = (
        "Models by verdict: the 95% interval of the difference, target by target, lies above, "
        "across or below nothing. Where fewer restarts were run than the ride's cost pays for, all "
        "that were run are counted: a ride may still be behind them, but is not told ahead; in the "
        "last column they flatter the ride. Of direct Adam's step sizes that were run, for single "
        "starts and for restarts, it is that which the ride is least ahead of."
    )
    return drawn(columns, rows, note)


def _at_equal_cost(made: Iterable[Group]) -> Iterator[dict[str, Any]]:
    for group in made:
        for ride, rivals in RIVALS.items():
            for alone in rivals:
                for k, part in group.by_latents() if ride == RIDE else [("all", group)]:
                    if len(held := list(part.held(ride, alone).values())) > 1:
                        verdicts = Counter(one.verdict for one in held)
                        yield {
                            "what": group.what, "ride": ride, "alone": alone, "k": str(k),
                            "models": str(len(held)),
                            "targets": either(one.targets for one in held),
                            **{v: str(verdicts[v]) for v in ("ahead", "not told apart", "behind")},
                            "few": str(verdicts["too few restarts were run to tell"]),
                            "difference": signed(difference(held)),
                        }  # fmt: skip


def _told(cell: Cell, targets: int) -> str:
    number = "" if cell["targets"] == targets else f" ({cell['targets']})"
    return f"{rate(first_found(cell))}{number} at {count(all_in(cell))}"

"""Runs that measured the package's ways on many models: a line for each model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

from paper.ground.comparing import AtCost, all_in, at_equal_cost, first_found
from paper.ground.model import MODELS
from paper.ground.pictures import labelled
from paper.ground.tasks import RIDE
from paper.ground.tuning import picked, place, total
from paper.ground.ways import LM
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["RIVALS", "others", "sentences", "tables", "trained_in", "two"]

Record = Mapping[str, Any]
Cell = Mapping[str, Any]
Cells = list[Cell]

RECOVER, STAGES = "recover", "LM surfing, 10 stages"
_CARRIED = "Broyden surfing, every network"
_DIRECT, _ANNEALED = "LM direct", "LM prior annealed, no path"
RIVALS = {
    STAGES: (_DIRECT,),
    "LM surfing, every network": (_DIRECT,),
    _CARRIED: (_DIRECT,),
    "LM surfing, late annealed": (_DIRECT, _ANNEALED),
}
"""What each ride of the package is set against at equal cost."""

_MODELS_AT_LEAST = 3
_NEARLY_ALL = 0.99
"""What was hoped for of a second-order ride."""


def others(record: Record) -> Cells:
    """Cells of Table 1 and of few measurements that :func:`tables` does not tell."""
    told = {id(cell) for cells in _many_models(record).values() for cell in cells}
    return [c for c in record["cells"] if c["task"] in ("table1", "few") and id(c) not in told]


def _many_models(record: Record) -> dict[tuple[int, str], Cells]:
    """By training and what is measured, the package's ways where `recover` is on several models."""
    groups: dict[tuple[int, str], Cells] = {}
    for cell in record["cells"]:
        if cell["task"] in ("table1", "few") and cell["method"] in LM:
            groups.setdefault((trained_in(record, cell["run"]), _measured(cell)), []).append(cell)
    return {
        key: cells
        for key, cells in groups.items()
        if len({c["model"] for c in cells if c["method"] == RECOVER}) >= _MODELS_AT_LEAST
    }


def trained_in(record: Record, run: int) -> int:
    """The run whose networks these are: where they were kept, that before."""
    commands = [one.get("command", "") for one in record["runs"]]
    if "--trajectories" not in commands[run]:
        return run
    return max((i for i in range(run) if "--keep" in commands[i]), default=run)


def _measured(cell: Cell) -> str:
    _, k = place(cell["model"])
    return f"m = {cell['m'] // k}k" if cell["m"] else "all pixels"


def tables(record: Record) -> Iterator[str]:
    """Found and cost, a line for each model and a column for each way; then equal cost."""
    adam = _adam_costs(record)
    groups = _many_models(record)
    for (run, what), cells in groups.items():
        ways = [way for way in LM if any(cell["method"] == way for cell in cells)]
        told = {(c["model"], c["method"]): _told(c) for c in cells}
        models = sorted({c["model"] for c in cells}, key=place)
        rows = tuple(
            {"model": labelled(model)}
            | ({"adam": count(adam[model])} if what == "all pixels" and model in adam else {})
            | {way: told.get((model, way), "–") for way in ways}
            for model in models
        )
        columns = [Column("model", "model", right=False), *(Column(way, way) for way in ways)]
        if any("adam" in row for row in rows):
            columns.append(Column("adam", "cost of Adam surfing", _or_dash))
        machine = record["runs"][run]["machine"].get("cuda") or "a CPU"
        note = (
            f"Found and cost all in, {max(cell['targets'] for cell in cells)} targets, one start "
            f"each; trained and measured on {machine}."
        )
        if len(columns) > len(ways) + 1:
            note += " Adam surfing's cost is that of the first table, on another training."
        yield f"**The package's ways, {what}**\n\n" + _markdown(columns, rows, note)
    if rows := tuple(_at_equal_cost(groups)):
        yield "**The package's rides against restarts at equal cost**\n\n" + _equal(rows)


def _or_dash(value: Any) -> str:
    return "–" if value is None else str(value)


def _markdown(columns: list[Column], rows: tuple[dict[str, Any], ...], note: str) -> str:
    return Table("", columns, rows, (note,)).markdown()


def _equal(rows: tuple[dict[str, Any], ...]) -> str:
    columns = [
        Column("what", "measured", right=False),
        Column("ride", "ride", right=False),
        Column("alone", "restarts of", right=False),
        Column("models", "models"),
        *(Column(v, v) for v in ("ahead", "not told apart", "behind")),
        Column("few", "too few restarts"),
        Column("difference", "ride less restarts, together", right=False),
    ]
    note = (
        "Models by verdict: the 95% interval of the difference, target by target, lies above, "
        "across or below nothing. Where fewer restarts were run than the ride's cost pays for, all "
        "that were run are counted: a ride may still be behind them, but is not told ahead; in the "
        "last column they flatter the ride."
    )
    return _markdown(columns, rows, note)


def _at_equal_cost(groups: Mapping[tuple[int, str], Cells]) -> Iterator[dict[str, Any]]:
    for (_, what), cells in groups.items():
        if what == "all pixels":  # one start each
            continue
        for ride, rivals in RIVALS.items():
            for alone in rivals:
                held = list(_held(cells, ride, alone))
                if not held:
                    continue
                verdicts = Counter(one.verdict for one in held)
                yield {
                    "what": what, "ride": ride, "alone": alone, "models": str(len(held)),
                    **{v: str(verdicts[v]) for v in ("ahead", "not told apart", "behind")},
                    "few": str(verdicts["too few restarts were run to tell"]),
                    "difference": _together_difference(held),
                }  # fmt: skip


def _held(cells: Cells, ride: str, alone: str) -> Iterator[AtCost]:
    for model in MODELS:
        ways = {c["method"]: c for c in cells if c["model"] == model}
        if {ride, alone} <= set(ways):
            yield at_equal_cost(ways[ride], ways[alone])


def _together_difference(held: list[AtCost]) -> str:
    """The models counted alike; those with too few restarts are told in their favour."""
    mean = fmean(one.difference[0] for one in held)
    halves = (one.difference[2] - one.difference[0] for one in held)
    half = math.sqrt(sum(half**2 for half in halves)) / len(held)
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def sentences(record: Record) -> Iterator[str]:
    """For the top of the page: how often nearly all was found, and at what cost."""
    adam = _adam_costs(record)
    for (_, what), cells in _many_models(record).items():
        ways = {way: part for way in LM if (part := [c for c in cells if c["method"] == way])}
        models, targets = len({c["model"] for c in cells}), max(c["targets"] for c in cells)
        told = [f"{way} {_together(part)}" for way, part in ways.items()]
        said = (
            f"On that ground, **the package's ways**, {what}, {targets} targets on each of "
            f"{models} models, one start each, found and cost: {'; '.join(told)}."
        )
        if what == "all pixels":
            rides = [_nearly_all(way, ways[way], adam) for way in (STAGES, _CARRIED) if way in ways]
            whole = sum(_share(cell) == 1 for cell in ways[RECOVER])
            said += f" {' '.join(rides)} recover: all on {whole} of {len(ways[RECOVER])}."
        yield said


def _nearly_all(way: str, cells: Cells, adam: Mapping[str, float]) -> str:
    most = sum(_share(cell) >= _NEARLY_ALL for cell in cells)
    parts = [all_in(c) / adam[c["model"]] for c in cells if c["model"] in adam]
    cost = f", at {two(min(parts))} to {two(max(parts))} of Adam surfing's cost" if parts else ""
    return f"{way}: at least 99% on {most} of {len(cells)}{cost};"


def _together(cells: Iterable[Cell]) -> str:
    cells = list(cells)
    return f"{rate(total(map(first_found, cells)))} at {count(fmean(map(all_in, cells)))}"


def two(share: float) -> str:
    """A share with two digits."""
    return f"{share:.2f}".removeprefix("0")


def _share(cell: Cell) -> float:
    found, targets = first_found(cell)
    return found / targets


def _told(cell: Cell) -> str:
    return f"{rate(first_found(cell))} at {count(all_in(cell))}"


def _adam_costs(record: Record) -> dict[str, float]:
    """Of the ride, all pixels; of a model that was trained several times the first."""
    return {line.model: line.cost(RIDE) for line in picked(record) if line.where == "all"}

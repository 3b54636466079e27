"""What was measured on many models that were trained in one run: a line for each model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from paper.ground.comparing import (
    AtCost,
    Cell,
    Pair,
    all_in,
    at_equal_cost,
    disjoint,
    first_found,
    meet,
    of_first,
    paired,
    total,
)
from paper.ground.model import place
from paper.ground.pictures import labelled
from paper.ground.tasks import DIRECT, RESTARTED, RIDE, WAYS, for_restarts
from paper.ground.ways import AGAIN
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = [
    "MAIN",
    "RIVALS",
    "TABLED",
    "Group",
    "best_of_each",
    "drawn",
    "glance",
    "groups",
    "networks",
    "others",
    "sentences",
    "tables",
    "two",
]

Record = Mapping[str, Any]
Cells = list[Cell]

RECOVER, STAGES = "recover", "LM surfing, 10 stages"
_CARRIED = "Broyden surfing, every network"
_LM, _ANNEALED = "LM direct", "LM prior annealed, no path"
RIVALS = {
    RIDE: (DIRECT,),
    STAGES: (_LM,),
    "LM surfing, every network": (_LM,),
    _CARRIED: (_LM,),
    "LM surfing, late annealed": (_LM, _ANNEALED),
}
"""What each ride is set against at equal cost."""
MAIN = (DIRECT, RIDE, _LM, STAGES, _CARRIED, RECOVER)
"""Ways that are told together at the top of the page."""

TABLED = ("table1", "few", "restarts")
"""Whose cells are told by model."""

_WHOLE = "all pixels"
_MODELS_AT_LEAST = 3
_NEAR = 0.1
"""||z - z*|| within which Adam is on its way to the latent."""
_NEARLY_ALL = 0.99
"""What was hoped for of a second-order ride."""


@dataclass(frozen=True)
class Group:
    """Models that were trained in one run, and one share of the signal that was measured.

    Attributes:
        what: was measured: "all pixels", "m = 2k" or "m = 4k".
        cells: of all models and ways, one of each.
        restarts: step size of direct Adam with the most promise for the ride's cost, by model.
    """

    what: str
    cells: Cells
    restarts: Mapping[str, float]

    @property
    def ways(self) -> list[str]:
        """Those with one start, or of which every start counts, that were measured on any model."""
        there = {cell["method"] for cell in self.cells}
        return [way for way in WAYS if way in there and way != RESTARTED]

    @property
    def models(self) -> list[str]:
        """In the order of the tables."""
        return sorted({cell["model"] for cell in self.cells}, key=place)

    @property
    def targets(self) -> int:
        """Of a cell, where it does not say otherwise."""
        return max(int(cell["targets"]) for cell in self.cells)

    def of(self, way: str) -> dict[str, Cell]:
        """The cells of a way, by model."""
        return {cell["model"]: cell for cell in self.cells if cell["method"] == way}

    def together(self) -> tuple[list[str], dict[str, Cells]]:
        """The main ways that most models have, on the models and targets that all of these have."""
        found = {way: self.of(way) for way in MAIN}
        most = len(self.of(RECOVER)) / 2
        ways = {way: cells for way, cells in found.items() if len(cells) >= most}
        models = [m for m in self.models if all(m in cells for cells in ways.values())]
        every = [cells[m]["targets"] for cells in ways.values() for m in models]
        number = min(every, default=0)
        return models, {way: [of_first(cells[m], number) for m in models]
                        for way, cells in ways.items()}  # fmt: skip

    def held(self, ride: str, alone: str) -> dict[str, AtCost]:
        """A ride against restarts, by model, where enough or several were run.

        Direct Adam's are at the step size that is best for this, not at that of single starts.
        """
        rivals = self.of(alone)
        if alone == DIRECT:
            rivals = {m: c for m, c in rivals.items() if c.get("rate") == self.restarts.get(m)}
            own = self.of(RESTARTED)
            rivals |= {m: c for m, c in own.items()
                       if m not in rivals or c["starts"] >= rivals[m]["starts"]}  # fmt: skip
        ours = self.of(ride)
        both = {m: at_equal_cost(ours[m], rivals[m]) for m in self.models
                if m in ours and m in rivals}  # fmt: skip
        return {m: one for m, one in both.items() if one.enough or rivals[m]["starts"] > 1}


def groups(record: Record) -> list[Group]:
    """By training, seed and what is measured, where `recover` is on several models."""
    found: dict[tuple[Any, ...], Cells] = {}
    for cell in record["cells"]:
        if cell["task"] in TABLED:
            found.setdefault((*networks(record, cell), _measured(cell)), []).append(cell)
    kept = [
        (what, best_of_each(cells))
        for (*_, what), cells in found.items()
        if len({c["model"] for c in cells if c["method"] == RECOVER}) >= _MODELS_AT_LEAST
    ]
    tuned = {entry["model"]: entry for entry in reversed(record["tuning"])}
    made: list[Group] = []
    for what, cells in kept:
        where = "all" if what == _WHOLE else "2k"
        rates = {model: for_restarts(entry, where)[0] for model, entry in tuned.items()}
        again = sum(group.what.startswith(what) for group in made)
        title = f"{what}, trained again ({again})" if again else what
        made.append(Group(title, cells, rates))
    return made


def networks(record: Record, cell: Cell) -> tuple[int, int]:
    """The run whose networks these are, and the seed of targets and starts.

    Of a run that opened networks it is the last before it that trained and kept this model.
    """
    run, runs = int(cell["run"]), record["runs"]
    seed = int((runs[run].get("plan") or {}).get("seed", 0))
    if "--trajectories" not in runs[run].get("command", ""):
        return run, seed
    kept = (
        int(one["run"])
        for one in record.get("trainings", ())
        if one["model"] == cell["model"] and "--keep" in runs[one["run"]].get("command", "")
    )
    return max((one for one in kept if one < run), default=run), seed


def best_of_each(cells: Iterable[Cell]) -> Cells:
    """Of cells of one model, way and number of measurements that with the most targets."""
    kept: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        before = kept.get(_same(cell))
        if before is None or cell["targets"] >= before["targets"]:
            kept[_same(cell)] = cell
    return list(kept.values())


def _measured(cell: Cell) -> str:
    _, k = place(cell["model"])
    return f"m = {cell['m'] // k}k" if cell["m"] else _WHOLE


def others(record: Record) -> Cells:
    """Cells of Table 1 and of few measurements of which no group has the same."""
    told = {_same(cell) for group in groups(record) for cell in group.cells}
    wanted = (cell for cell in record["cells"] if cell["task"] in TABLED)
    return [cell for cell in wanted if _same(cell) not in told]


def _same(cell: Cell) -> tuple[Any, ...]:
    """What was measured, whichever networks it was measured on."""
    return tuple(cell[key] for key in ("model", "m", "method"))


def _repeated(record: Record, made: Sequence[Group]) -> str:
    """Cells of earlier trainings that a group measured again: do the intervals meet?"""
    now = {_same(cell): cell for group in made for cell in group.cells}
    ours = {id(cell) for group in made for cell in group.cells}
    pairs = [
        (cell, now[_same(cell)])
        for cell in record["cells"]
        if cell["task"] in TABLED and _same(cell) in now and id(cell) not in ours
    ]
    if not pairs:
        return ""
    apart = [old for old, new in pairs if not meet(first_found(old), first_found(new))]
    said = (
        f"Of {len(pairs)} cells that stand in these tables and were measured before as well, on "
        "other trainings of the same recipes or fewer targets (in the record), the 95% intervals "
        f"of {len(pairs) - len(apart)} meet those above."
    )
    if apart:
        named = "; ".join(
            f"{labelled(c['model'])}, {_measured(c)}, {c['method']} {rate(first_found(c))}"
            for c in apart
        )
        said += f" The others: {named}."
    return said


def glance(record: Record) -> str:
    """The top of the page: the main ways, the models together."""
    rows = []
    for group in groups(record):
        models, ways = group.together()
        if models:
            number = len(ways[RECOVER][0]["error"])
            rows.append(
                {"what": group.what, "models": f"{len(models)}, {number}"}
                | {way: _together(cells) for way, cells in ways.items()}
            )
    columns = [
        Column("what", "measured", right=False),
        Column("models", "models, targets of each"),
        *(Column(way, way) for way in MAIN),
    ]
    note = (
        "**On the paper's ground**: share of the latents found with its 95% interval, and "
        "forward-equivalents a target, all in: the paper's networks at full size, one start, the "
        "same models and targets for all ways of a line."
    )
    return drawn(columns, rows, note) if rows else ""


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
            f"{' and '.join(sorted(machines))}. One start each, but for ways that start again for "
            "targets that they did not solve: rides ten times and direct descents twenty at most."
        )
        yield f"**Found, {group.what}**\n\n" + drawn(columns, rows, note)
    if rows := tuple(_at_equal_cost(made)):
        yield "**Rides against restarts at equal cost**\n\n" + _equal(rows)
    if said := _repeated(record, made):
        yield said


def _paired(found: Mapping[str, Mapping[str, Cell]], model: str) -> dict[str, str]:
    if not all(model in found.get(way, ()) for way in (DIRECT, RIDE)):
        return {}
    return {"paired": paired(found[RIDE][model], found[DIRECT][model])}


def drawn(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], note: str) -> str:
    """A table in Markdown; a dash where a row has no value."""
    filled = tuple({c.key: row.get(c.key, "–") for c in columns} for row in rows)
    return Table("", columns, filled, (note,)).markdown()


def _equal(rows: tuple[dict[str, Any], ...]) -> str:
    columns = [
        Column("what", "measured", right=False),
        Column("ride", "ride", right=False),
        Column("alone", "restarts of", right=False),
        Column("k", "k", right=False),
        Column("models", "models"),
        *(Column(v, v) for v in ("ahead", "not told apart", "behind")),
        Column("few", "too few restarts"),
        Column("difference", "ride less restarts, together", right=False),
    ]
    note = (
        "Models by verdict: the 95% interval of the difference, target by target, lies above, "
        "across or below nothing. Where fewer restarts were run than the ride's cost pays for, all "
        "that were run are counted: a ride may still be behind them, but is not told ahead; in the "
        "last column they flatter the ride. Direct Adam's restarts are at the step size with the "
        "most promise for the ride's cost."
    )
    return drawn(columns, rows, note)


def _at_equal_cost(made: Iterable[Group]) -> Iterator[dict[str, Any]]:
    for group in made:
        for ride, rivals in RIVALS.items():
            for alone in rivals:
                for k, part in _by_latents(group) if ride == RIDE else [("all", group)]:
                    if len(held := list(part.held(ride, alone).values())) > 1:
                        verdicts = Counter(one.verdict for one in held)
                        yield {
                            "what": group.what, "ride": ride, "alone": alone, "k": k,
                            "models": str(len(held)),
                            **{v: str(verdicts[v]) for v in ("ahead", "not told apart", "behind")},
                            "few": str(verdicts["too few restarts were run to tell"]),
                            "difference": _difference(held),
                        }  # fmt: skip


def _by_latents(group: Group) -> Iterator[tuple[str, Group]]:
    """The models by their number of latents: Adam's verdict depends on it."""
    for k in sorted({place(model)[1] for model in group.models}):
        own = [cell for cell in group.cells if place(cell["model"])[1] == k]
        yield str(k), Group(group.what, own, group.restarts)


def _difference(held: Sequence[AtCost]) -> str:
    """The models counted alike; those with too few restarts are told in their favour."""
    mean = fmean(one.difference[0] for one in held)
    halves = (one.difference[2] - one.difference[0] for one in held)
    half = math.sqrt(sum(half**2 for half in halves)) / len(held)
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def sentences(record: Record) -> Iterator[str]:
    """For the top of the page: how many models, and by how much."""
    for group in groups(record):
        said = [_adam(group), *_adam_at_equal_cost(group)]
        if group.what == _WHOLE:
            said += _nearly_all(group)
        if told := " ".join(part for part in said if part):
            yield f"On that ground, **{group.what}**: {told}"


def _adam(group: Group) -> str:
    ours, theirs = (group.of(way) for way in (RIDE, DIRECT))
    pairs = [(first_found(ours[m]), first_found(theirs[m])) for m in ours if m in theirs]
    if not pairs:
        return ""
    clear = Counter(disjoint(*pair) for pair in pairs)
    above = sum(_share(a) > _share(b) for a, b in pairs)
    below = sum(_share(a) < _share(b) for a, b in pairs)
    said = (
        f"Adam surfing is above direct Adam on {above} of {len(pairs)} models ({clear['ahead']} "
        f"with disjoint 95% intervals), below on {below} ({clear['behind']}), together "
        f"{rate(total(a for a, _ in pairs))} against {rate(total(b for _, b in pairs))}; nearer "
        f"than {_NEAR} {_near(ours, theirs)} against {_near(theirs, ours)}"
    )
    if group.what == _WHOLE:
        most = sum(_share(a) >= 0.95 for a, _ in pairs)
        said += f"; it finds at least 95% on {most}"
    return f"{said}."


def _near(cells: Mapping[str, Cell], others: Mapping[str, Cell]) -> str:
    """Those that are on their way as well: Adam ends where progress is slow."""
    both = (cell for model, cell in cells.items() if model in others)
    return rate(total(first_found(cell, _NEAR) for cell in both))


def _adam_at_equal_cost(group: Group) -> Iterator[str]:
    told = [
        f"k={k} {_difference(held)} ({_verdicts(held)})"
        for k, part in _by_latents(group)
        if len(held := list(part.held(RIDE, DIRECT).values())) > 1
    ]
    if told:
        yield f"Adam surfing less restarts of direct Adam at equal cost: {'; '.join(told)}."


def _verdicts(held: Sequence[AtCost]) -> str:
    told = Counter(one.verdict for one in held)
    return ", ".join(f"{verdict} on {number}" for verdict, number in told.items())


def _nearly_all(group: Group) -> Iterator[str]:
    adam = group.of(RIDE)
    for way in (STAGES, f"{STAGES}{AGAIN}", f"{_LM}{AGAIN}", _CARRIED):
        if cells := group.of(way):
            most = sum(_share(first_found(c)) >= _NEARLY_ALL for c in cells.values())
            parts = [all_in(c) / all_in(adam[m]) for m, c in cells.items() if m in adam]
            said = f"{way} finds at least 99% on {most} of {len(cells)}"
            if parts:
                cheap = sum(part <= 0.1 for part in parts)
                said += (
                    f", at {two(min(parts))} to {two(max(parts))} of Adam surfing's cost (a tenth "
                    f"at most on {cheap} of {len(parts)})"
                )
            yield f"{said}."
    whole = [_share(first_found(cell)) == 1 for cell in group.of(RECOVER).values()]
    yield f"recover finds every latent on {sum(whole)} of {len(whole)}."


def _together(cells: Cells) -> str:
    return f"{rate(total(map(first_found, cells)))} at {count(fmean(map(all_in, cells)))}"


def two(share: float) -> str:
    """A share with two digits."""
    return f"{share:.2f}".removeprefix("0")


def _share(pair: Pair) -> float:
    found, targets = pair
    return found / targets


def _told(cell: Cell, targets: int) -> str:
    number = "" if cell["targets"] == targets else f" ({cell['targets']})"
    return f"{rate(first_found(cell))}{number} at {count(all_in(cell))}"

"""Cells on the same networks: what may stand side by side, and what was measured again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paper.ground.comparing import AtCost, Cell, at_equal_cost, first_found, meet, of_first
from paper.ground.model import parts_of, place
from paper.ground.tasks import DIRECT, RESTARTED, RIDE, WAYS
from paper.ground.text import labelled
from paper.ground.ways import AGAIN
from surfing.report import rate
from surfing.report.tables import count

__all__ = [
    "ANNEALED",
    "CARRIED",
    "EVERY",
    "LATE",
    "LM_DIRECT",
    "MAIN",
    "RECOVER",
    "STAGES",
    "TABLED",
    "WHOLE",
    "Group",
    "best_of_each",
    "groups",
    "latest",
    "networks",
    "others",
    "repeated",
]

Record = Mapping[str, Any]
Cells = list[Cell]

RECOVER, STAGES = "recover", "LM surfing, 10 stages"
CARRIED = "Broyden surfing, every network"
LM_DIRECT, ANNEALED = "LM direct", "LM prior annealed, no path"
EVERY, LATE = "LM surfing, every network", "LM surfing, late annealed"
MAIN = (DIRECT, RIDE, LM_DIRECT, STAGES, CARRIED, f"{STAGES}{AGAIN}", RECOVER)
"""Ways that are told together at the top of the page."""

TABLED = ("table1", "few", "restarts")
"""Whose cells are told by model."""

WHOLE = "all pixels"
_MODELS_AT_LEAST = 3


@dataclass(frozen=True)
class Group:
    """Models that were trained in one run, and one share of the signal that was measured.

    Attributes:
        what: was measured: "all pixels", "m = 2k" or "m = 4k".
        cells: of all models and ways, one of each.
        alone: by model, direct Adam at every step size and number of starts that was run.
    """

    what: str
    cells: Cells
    alone: Mapping[str, Cells]

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

    def of_restarts(self) -> dict[str, Cell]:
        """Direct Adam at that step size, of those that were run, which the ride is least ahead of.

        By model; at each step size the cell with the most starts.
        """
        found = {}
        for model, ride in self.of(RIDE).items():
            by_rate: dict[float | None, Cell] = {}
            for cell in self.alone.get(model, ()):
                before = by_rate.get(cell.get("rate"))
                if before is None or _evidence(cell) >= _evidence(before):
                    by_rate[cell.get("rate")] = cell
            if by_rate:
                held = {rate: at_equal_cost(ride, cell) for rate, cell in by_rate.items()}
                # Of those that are alike the one with too few: more of them might find more.
                key = {rate: (one.difference[0], one.enough) for rate, one in held.items()}
                found[model] = by_rate[min(key, key=lambda rate: key[rate])]
        return found

    def held(self, ride: str, alone: str) -> dict[str, AtCost]:
        """A ride against restarts, by model; of LM where enough or several were run."""
        rivals = self.of_restarts() if alone == DIRECT else self.of(alone)
        ours = self.of(ride)
        both = {m: at_equal_cost(ours[m], rivals[m]) for m in self.models
                if m in ours and m in rivals}  # fmt: skip
        return {m: one for m, one in both.items()
                if alone == DIRECT or one.enough or rivals[m]["starts"] > 1}  # fmt: skip

    def by_latents(self) -> Iterator[tuple[int, Group]]:
        """The models by their number of latents: Adam's verdict depends on it."""
        for k in sorted({parts_of(model).latents for model in self.models}):
            own = [cell for cell in self.cells if parts_of(cell["model"]).latents == k]
            yield k, Group(self.what, own, self.alone)


def groups(record: Record) -> list[Group]:
    """By training, seed and what is measured, where `recover` is on several models."""
    found: dict[tuple[Any, ...], Cells] = {}
    for cell in record["cells"]:
        if cell["task"] in TABLED:
            found.setdefault((*networks(record, cell), _measured(cell)), []).append(cell)
    made: list[Group] = []
    for (*_, what), cells in found.items():
        if len({c["model"] for c in cells if c["method"] == RECOVER}) >= _MODELS_AT_LEAST:
            alone: dict[str, Cells] = {}
            for cell in cells:
                if cell["method"] in (DIRECT, RESTARTED):
                    alone.setdefault(cell["model"], []).append(cell)
            again = sum(group.what.startswith(what) for group in made)
            title = f"{what}, trained again ({again})" if again else what
            made.append(Group(title, best_of_each(cells), alone))
    return made


def _evidence(cell: Cell) -> tuple[int, int]:
    return cell["starts"], cell["targets"]


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


def latest(record: Record, cells: Iterable[Cell]) -> Cells:
    """One of each, and of a model that was trained again those of the later networks."""
    cells = list(cells)
    last = {cell["model"]: networks(record, cell) for cell in cells}
    return best_of_each(cell for cell in cells if networks(record, cell) == last[cell["model"]])


def best_of_each(cells: Iterable[Cell]) -> Cells:
    """Of cells that measure the same that with the most targets."""
    kept: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        before = kept.get(_same(cell))
        if before is None or cell["targets"] >= before["targets"]:
            kept[_same(cell)] = cell
    return list(kept.values())


def _measured(cell: Cell) -> str:
    k = parts_of(cell["model"]).latents
    return f"m = {cell['m'] // k}k" if cell["m"] else WHOLE


def others(record: Record) -> Cells:
    """Cells of Table 1 and of few measurements of which no group has the same."""
    told = {_same(cell) for group in groups(record) for cell in group.cells}
    wanted = (cell for cell in record["cells"] if cell["task"] in TABLED)
    return [cell for cell in wanted if _same(cell) not in told]


def _same(cell: Cell) -> tuple[Any, ...]:
    """What was measured, whichever networks it was measured on."""
    return tuple(cell.get(key) for key in ("model", "m", "method", "training"))


def repeated(record: Record, told: Cells, tasks: Sequence[str] = TABLED) -> str:
    """Cells of earlier trainings that were measured again: do the intervals meet?

    Args:
        record: all cells.
        told: those that stand in tables.
        tasks: whose cells are looked at.
    """
    now = {_same(cell): cell for cell in told if cell["method"] != RESTARTED}
    ours = {id(cell) for cell in told}
    pairs = [
        (cell, new)
        for cell in record["cells"]
        if cell["task"] in tasks and id(cell) not in ours and (new := now.get(_same(cell)))
        if networks(record, cell) != networks(record, new) or cell["targets"] < new["targets"]
    ]
    if not pairs:
        return ""
    apart = [old for old, new in pairs if not meet(first_found(old), first_found(new))]
    said = (
        f"{len({_same(old) for old, _ in pairs})} of these cells were measured before as well, on "
        "other trainings of the same recipes or fewer targets (in the record): the 95% intervals "
        f"of {len(pairs) - len(apart)} of those {len(pairs)} measurements meet those above."
    )
    if apart:
        named = "; ".join(
            f"{labelled(c['model'])}, {_measured(c)}{_after(c)}, {c['method']} "
            f"{rate(first_found(c))}"
            for c in apart
        )
        said += f" The others: {named}."
    return said


def _after(cell: Cell) -> str:
    return f" after {count(cell['training'])} steps" if "training" in cell else ""

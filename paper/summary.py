"""What the first release's records say, in short: every number from one, losses beside wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paper.budget import LEVEL
from paper.document import by_cell, labelled
from paper.fig3 import needed
from paper.registry import Record
from paper.step_sizes import ADAM_METHODS, AdamRuns, labels
from surfing.evaluation.compare import hits, paired
from surfing.evaluation.methods import METHODS
from surfing.report.intervals import wilson
from surfing.report.tables import count, rate

__all__ = ["summary"]

_AT_EQUAL_COST = ("lm-restarts", "annealed-restarts", "ride-restarts", "annealed-ride",
                  "averaged-ride", "recover")  # fmt: skip


def summary(records: Mapping[str, Record]) -> list[str]:
    """Sentences, the most important first.

    Args:
        records: by experiment; those that are missing are not told of.
    """
    told = {
        "table1": _table1,
        "adam": _adam,
        "fig3": _fig3,
        "budget": _budget,
        "ablations": _ablations,
    }
    lines = [line for name, tell in told.items() if name in records for line in tell(records[name])]
    return [*lines, _sizes(records)]


def _total(pairs: Iterable[Sequence[int]]) -> tuple[int, int]:
    found, targets = zip(*pairs)
    return sum(found), sum(targets)


def _pooled(results: list[dict[str, Any]], method: str) -> tuple[int, int]:
    return _total(r["found"] for r in results if r["method"] == method)


def _table1(record: Record) -> list[str]:
    cells = by_cell(record)
    results = list(record["results"].values())
    found = {cell: {r["method"]: r["found"] for r in parts} for cell, parts in cells.items()}
    label = labels(_first(found), AdamRuns(**record["config"]["adam"]))
    told = "; ".join(f"{label[m]} {rate(_pooled(results, m))}" for m in label)
    # A ride against the same descent without one.
    pairs = {"surf-adam-2000": "adam-2000", "lm-surfing": "direct-lm"}
    lines = [f"**All of the signal measured**, one start, {len(cells)} models pooled: {told}."]
    for ride, alone in pairs.items():
        better = sum(_share(f[ride]) > _share(f[alone]) for f in found.values())
        worse = sum(_share(f[ride]) < _share(f[alone]) for f in found.values())
        level = len(cells) - better - worse
        none = sum(f[ride][0] == f[alone][0] == 0 for f in found.values())
        clear = sum(_above(f[ride], f[alone]) for f in found.values())
        clearly_not = sum(_above(f[alone], f[ride]) for f in found.values())
        lines.append(
            f"{label[ride]} is above {label[alone]} on {better} of the {len(cells)} models "
            f"({clear} with disjoint 95% intervals), below on {worse} ({clearly_not}), level on "
            f"{level} ({none} of them found by neither)."
        )
    cost = {m: sum(_cost(parts, m) for parts in cells.values()) / len(cells) for m in label}
    lines[0] += " Mean cost: " + "; ".join(f"{label[m]} {count(c)}" for m, c in cost.items()) + "."
    for other in (m for m in ("direct-lm-annealed", "surf-adam-2000") if m in cost):
        lost = [c for c, f in found.items() if _share(f["lm-surfing"]) < _share(f[other])]
        where = f" ({'; '.join(map(labelled, lost))})" if lost else ""
        of = f"{len(lost)} of the {len(cells)}{where}"
        lines.append(f"{label['lm-surfing']} is below {label[other]} on {of}.")
    whole = sum(_share(f["lm-surfing"]) >= 0.99 for f in found.values())
    ratio = sorted(_cost(parts, "lm-surfing") / _cost(parts, "surf-adam-2000")
                   for parts in cells.values())  # fmt: skip
    lines.append(
        f"LM surfing (LM is Levenberg-Marquardt) finds at least 99% on {whole} of the "
        f"{len(cells)}; over all of them it costs {ratio[0]:.2f} to {ratio[-1]:.2f} of what Adam "
        "surfing does."
    )
    return lines


def _first(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The methods, as the first cell has them."""
    return list(next(iter(found.values())))


def _cost(parts: list[dict[str, Any]], method: str) -> float:
    return next(float(r["cost"]) for r in parts if r["method"] == method)


def _adam(record: Record) -> list[str]:
    said = []
    for cell, parts in by_cell(record).items():
        direct, ride = ({r["method"]: r for r in parts}[name] for name in ADAM_METHODS)
        clear = _above(ride["found_at_common"], direct["found_at_common"])
        said.append(
            f"{labelled(cell)} {rate(direct['found_at_common'])} and "
            f"{rate(ride['found_at_common'])}{' (disjoint)' if clear else ''}, at the size picked "
            f"{rate(direct['found'])} and {rate(ride['found'])}"
        )
    sizes = ", ".join(map(str, record["config"]["runs"]["step_sizes"]))
    return [f"Adam at step size {record['config']['common']}, which is not among the {sizes} that "
            f"were picked from, direct and surfing: {'; '.join(said)}."]  # fmt: skip


def _above(one: Sequence[int], other: Sequence[int]) -> bool:
    return wilson(one[0], one[1])[0] > wilson(other[0], other[1])[1]


def _share(pair: Sequence[int]) -> float:
    return pair[0] / pair[1]


def _fig3(record: Record) -> list[str]:
    label = labels(("adam", "surf-adam", "lm-restarts", "ride-restarts", "annealed-restarts",
                    "recover"))  # fmt: skip
    said = []
    for cell in by_cell(record):
        parts = [
            f"{told} {needed(record, cell, name, 0.5) or 'none'} / "
            f"{needed(record, cell, name, 0.9) or 'none'}"
            for name, told in label.items()
            if name in record["config"]["methods"]
        ]
        said.append(f"{labelled(cell)}: {'; '.join(parts)}")
    tried = ", ".join(map(str, record["config"]["measurements"]))
    lines = [f"**Fewest Gaussian measurements**, of the tried {tried}, for 50% / 90% exact "
             f"recovery at equal budget (recover's pilot not counted). "
             f"{'. '.join(said)}."]  # fmt: skip
    pairs = (("surf-adam", "adam"), ("ride-restarts", "lm-restarts"),
             ("ride-restarts", "annealed-restarts"))  # fmt: skip
    duels = [_duel(record, label, *pair) for pair in pairs]
    return [*lines, *(duel for duel in duels if duel)]


def _duel(record: Record, label: Mapping[str, str], one: str, other: str) -> str:
    """At which numbers of measurements one method is ahead of another, by the paired test."""
    said = []
    for cell, parts in by_cell(record).items():
        found = {(r["name"], r["m"]): hits(r["by_target"]) for r in parts}
        ahead: dict[bool, list[str]] = {True: [], False: []}
        for m in record["config"]["measurements"]:
            if (one, m) in found and (other, m) in found:
                test = paired(found[one, m], found[other, m])
                if test["p"] < LEVEL:
                    ahead[test["won"] > test["lost"]].append(str(m))
        won, lost = (", ".join(ahead[side]) or "none" for side in (True, False))
        said.append(f"{labelled(cell)} ahead at {won}, behind at {lost}")
    return (
        f"{label[one]} against {label[other]} at equal budget, numbers of measurements where the "
        f"paired test tells them apart: {'; '.join(said)}."
    )


def _budget(record: Record) -> list[str]:
    cells, budgets = by_cell(record), record["config"]["budgets"]
    middle, last = min(2, len(budgets) - 1), len(budgets) - 1
    once = [r["extra_cost"] for parts in cells.values() for r in parts if r.get("extra_cost")] or [
        0
    ]
    told = []
    for name in _AT_EQUAL_COST:
        rows = [r["found"] for parts in cells.values() for r in parts if r["name"] == name]
        if rows:
            shares = [_total(row[i] for row in rows) for i in (middle, last)]
            told.append(f"{METHODS[name].label}: {_share(shares[0]):.2f}, {_share(shares[1]):.2f}")
    pooled = (
        f"**At equal cost** ({record['config']['operator']}, {len(cells)} models pooled), found at "
        f"{count(budgets[middle])} and at {count(budgets[last])} forward-equivalents: "
        f"{'; '.join(told)}. recover's pilot is not counted: {count(min(once))} to "
        f"{count(max(once))} forward-equivalents, once for all targets of a model."
    )
    lines = [pooled]
    if plain := _counted(record, "lm-restarts", "ride-restarts"):
        lines.append(f"**Plain restarts of LM against plain LM surfing, at equal cost:** {plain}")
    if annealed := _counted(record, "annealed-ride", "annealed-restarts"):
        lines.append(f"The annealed ride against annealed restarts without a path: {annealed}")
    return lines


def _counted(record: Record, one: str, other: str) -> str:
    """On how many models one method is ahead of another, by the paired test at some budget."""
    ahead, behind, neither = [], [], 0
    cells = by_cell(record)
    for cell, parts in cells.items():
        outcome = {r["name"]: r["by_target"] for r in parts}
        if not {one, other} <= set(outcome):
            return ""
        tests = [
            paired(hits(mine), hits(theirs)) for mine, theirs in zip(outcome[one], outcome[other])
        ]
        won = any(t["p"] < LEVEL and t["won"] > t["lost"] for t in tests)
        lost = any(t["p"] < LEVEL and t["won"] < t["lost"] for t in tests)
        ahead += [labelled(cell)] * won
        behind += [labelled(cell)] * lost
        neither += not (won or lost)

    def named(where: list[str]) -> str:
        return f" ({'; '.join(where)})" if where else ""

    return (
        f"ahead at some budget on {len(ahead)} of {len(cells)} models{named(ahead)}, behind at "
        f"some on {len(behind)}{named(behind)}, not told apart at any on {neither} (paired test "
        f"at {LEVEL}, budget by budget)."
    )


def _ablations(record: Record) -> list[str]:
    parts = list(record["results"].values())
    names = ("ten checkpoints, in order", "the same, reversed", "the same, shuffled",
             "last checkpoint only", "straight line from random weights", "every fifth checkpoint",
             "every checkpoint",
             "noise annealed from .3, no path", "prior annealed, no path",
             "prior annealed along ten stages")  # fmt: skip
    pooled = {name: [r for r in parts if r["variant"] == name] for name in names}
    said = "; ".join(
        f"{name} {rate(_total(r['found'] for r in rows))} at "
        f"{count(sum(r['cost'] for r in rows) / len(rows))}"
        for name, rows in pooled.items()
        if rows
    )
    where = ", ".join(map(labelled, by_cell(record)))
    return [f"What makes a ride work (one LM ride, {where} pooled; found, and cost per target): "
            f"{said}."]  # fmt: skip


def _sizes(records: Mapping[str, Record]) -> str:
    """What was run, from the records, beside what the paper has: 12 models, 300 targets."""
    said = ["What was run:"]
    if "table1" in records:
        config = records["table1"]["config"]
        said.append(
            f"{len(by_cell(records['table1']))} of the {len(config['cells'])} models in Table 1, "
            f"{config['targets']} targets each;"
        )
    if "fig1" in records:
        (part,) = records["fig1"]["results"].values()
        if part["k"] != 2:
            said.append(f"the surfaces are those of a model with k={part['k']};")
    for name, what in (("fig3", "targets per point"), ("fig4", "images"), ("budget", "targets")):
        if name in records:
            where = len(by_cell(records[name]))
            said.append(f"{name} {records[name]['config']['targets']} {what} on {where} models;")
    said.append("one training seed everywhere. Intervals are wide where targets are few.")
    return " ".join(said)

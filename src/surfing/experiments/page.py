"""The page of results, written from the records: no number in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from surfing.experiments.compare import paired
from surfing.experiments.document import labelled
from surfing.experiments.registry import Record, experiment
from surfing.experiments.step_sizes import ADAM_METHODS
from surfing.report.intervals import wilson
from surfing.report.tables import count, rate

__all__ = ["PARTS", "draw", "page", "read_records"]

PARTS = {
    "adam": "Adam surfing against direct Adam",
    "table1": "In-range targets, all of the signal measured (Table 1)",
    "fig2": "How far from the truth (Figure 2)",
    "fig1": "The surface and the surfer (Figure 1)",
    "fig3": "Recovery against the number of measurements (Figure 3)",
    "fig4": "Images that the generator never saw (Figure 4)",
    "budget": "Success at equal cost",
    "ablations": "What makes a ride work",
    "zoo": "The models",
}
_SHARED = {"fig2": "table1"}
"""Experiments that draw another's record."""


def read_records(folder: Path) -> dict[str, Record]:
    """The records that are there, by experiment."""
    found: dict[str, Record] = {}
    for name in PARTS:
        path = folder / f"{_SHARED.get(name, name)}.json"
        if path.is_file():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def draw(records: dict[str, Record], out: Path) -> dict[str, list[Path]]:
    """All pictures, by experiment."""
    return {name: experiment(name).figures(record, out) for name, record in records.items()}


def page(records: dict[str, Record], pictures: dict[str, list[Path]], *, root: Path) -> str:
    """Markdown: one screen that sums up, then a section an experiment.

    Args:
        records: by experiment.
        pictures: by experiment.
        root: the folder of the page, for the links to pictures.
    """
    lines = [
        "# Results",
        "",
        "After Song, Fan and Lafferty, *Surfing* (NeurIPS 2019), on generators of our own: "
        "settings that the paper's abstract and reviews do not tell are reconstructed, and no "
        "number below is the paper's. This page is written by `scripts/results` from the records "
        "in `docs/records`; each section names the command that made its record.",
        "",
        "## In short",
        "",
        *_summary(records),
    ]
    for name, record in records.items():
        lines += ["", f"## {PARTS[name]}", "", _made_by(name, record), ""]
        lines += [experiment(name).markdown(record)]
        for picture in pictures.get(name, []):
            lines += ["", f"![{PARTS[name]}]({picture.relative_to(root).as_posix()})"]
    return "\n".join(lines) + "\n"


def _made_by(name: str, record: Record) -> str:
    return (
        f"`surfing reproduce {name}`, seed {record['seed']}, {record['date']}, surfing "
        f"{record['versions']['surfing']}, torch {record['versions']['torch']}, "
        f"{record['machine']['cpus']} CPU cores; {count(record['seconds'])} s of work."
    )


def _summary(records: dict[str, Record]) -> list[str]:
    told = {
        "adam": _adam,
        "table1": _table1,
        "fig3": _fig3,
        "budget": _budget,
        "ablations": _ablations,
    }
    lines = [f"- {line}" for name, tell in told.items() if name in records
             for line in tell(records[name])]  # fmt: skip
    return [*lines, f"- {_smaller(records)}"]


def _pooled(results: list[dict[str, Any]], method: str) -> tuple[int, int]:
    rows = [r["found"] for r in results if r["method"] == method]
    return sum(r[0] for r in rows), sum(r[1] for r in rows)


def _table1(record: Record) -> list[str]:
    results = list(record["results"].values())
    cells = list(dict.fromkeys(r["cell"] for r in results))
    pooled = {r["method"]: _pooled(results, r["method"]) for r in results}
    told = ", ".join(f"{name} {rate(pair)}" for name, pair in pooled.items()
                     if name not in ADAM_METHODS)  # fmt: skip
    adam = {cell: {r["method"]: r["found"] for r in results if r["cell"] == cell} for cell in cells}
    better = sum(_share(a["Adam surfing"]) > _share(a["direct Adam"]) for a in adam.values())
    equal = sum(_share(a["Adam surfing"]) == _share(a["direct Adam"]) for a in adam.values())
    proven = sum(_above(a["Adam surfing"], a["direct Adam"]) for a in adam.values())
    all_found = sum(_share(a["LM surfing"]) >= 0.99 for a in adam.values())
    clear = sum(_above(a["LM surfing"], a["direct LM"]) for a in adam.values())
    return [
        f"All of the signal measured, one start, {len(cells)} models pooled: {told}. LM surfing "
        f"(LM is Levenberg-Marquardt) reaches .99 on {all_found} of the {len(cells)}, and is above "
        f"direct LM with disjoint 95% intervals on {clear}.",
        f"**Adam surfing is above direct Adam on {better} of the {len(cells)} models, with "
        f"disjoint intervals on {proven}, and level on {equal}.** Level: both find every target, "
        "or neither ends within .01 in the steps that it was given."
        + (" On these models Adam's rides show no gain." if proven == 0 else ""),
    ]


def _adam(record: Record) -> list[str]:
    results = list(record["results"].values())
    by_cell: dict[str, dict[str, dict[str, Any]]] = {}
    for r in results:
        by_cell.setdefault(r["cell"], {})[r["method"]] = r
    lines = []
    for cell, runs in by_cell.items():
        direct, ride = runs["direct Adam"], runs["Adam surfing"]
        clear = _above(ride["found_at_common"], direct["found_at_common"])
        lines.append(
            f"Adam, {labelled(cell)}, all pixels, step size {record['config']['common']}: direct "
            f"{rate(direct['found_at_common'])}, surfing {rate(ride['found_at_common'])}"
            f"{', disjoint' if clear else ''}; each at its best step size: "
            f"{rate(direct['found'])} and {rate(ride['found'])}, at {count(direct['cost'])} and "
            f"{count(ride['cost'])} forward-equivalents."
        )
    return lines


def _above(one: list[int], other: list[int]) -> bool:
    return wilson(one[0], one[1])[0] > wilson(other[0], other[1])[1]


def _share(pair: list[int]) -> float:
    return pair[0] / pair[1]


def _fig3(record: Record) -> list[str]:
    from surfing.experiments.fig3 import needed

    told = []
    for cell in dict.fromkeys(r["cell"] for r in record["results"].values()):
        labels = {"lm": "direct LM", "surf-lm": "LM surfing", "annealed-lm": "annealed LM",
                  "recover": "recover"}  # fmt: skip
        parts = [
            f"{label} {needed(record, cell, name, 0.5) or 'none'} / "
            f"{needed(record, cell, name, 0.9) or 'none'}"
            for name, label in labels.items()
            if name in record["config"]["methods"]
        ]
        tried = ", ".join(map(str, record["config"]["measurements"]))
        told.append(
            f"Fewest Gaussian measurements, of the tried {tried}, for 50% / 90% recovery at equal "
            f"budget ({cell}): {'; '.join(parts)}."
        )
    return told


def _budget(record: Record) -> list[str]:
    told = []
    budgets = record["config"]["budgets"]
    for cell in dict.fromkeys(r["cell"] for r in record["results"].values()):
        at = {r["name"]: r["found"] for r in record["results"].values() if r["cell"] == cell}
        shown = ("lm", "annealed-lm", "surf-lm", "annealed-ride", "averaged-ride", "recover")
        rows = [(n, at[n]) for n in shown if n in at]
        first, last = budgets[1], budgets[-1]
        said = "; ".join(f"{n} {_share(f[1]):.2f}, {_share(f[-1]):.2f}" for n, f in rows)
        told.append(
            f"Equal cost, {cell}, {record['config']['operator']}, found at {count(first)} and at "
            f"{count(last)} forward-equivalents: {said}.{_verdict(record, cell)}"
        )
    return told


def _verdict(record: Record, cell: str) -> str:
    """Plain surfing against plain restarts of the same descent, target by target."""
    outcome = {r["name"]: r["by_target"] for r in record["results"].values() if r["cell"] == cell}
    if not {"lm", "surf-lm"} <= set(outcome):
        return ""
    restarts, rides = ([bit == "1" for bit in outcome[n][-1]] for n in ("lm", "surf-lm"))
    against = paired(restarts, rides)
    if against["p"] < 0.05 and against["won"] > against["lost"]:
        said = "**Plain restarts of LM beat plain LM surfing here**"
    elif against["p"] < 0.05:
        said = "Plain LM surfing beats plain restarts of LM here"
    else:
        said = "Plain restarts of LM and plain LM surfing are not told apart at the largest budget"
    won, lost, p = against["won"], against["lost"], against["p"]
    told = f" {said} (targets found by restarts alone {won}, by rides alone {lost}; p = {p:.2g})."
    return told + _earned(record, outcome)


def _earned(record: Record, outcome: dict[str, list[str]]) -> str:
    """Whether a ride is worth its stages: the annealed one against annealing without a path."""
    if not {"annealed-lm", "annealed-ride"} <= set(outcome):
        return ""
    said = []
    for i, budget in enumerate(record["config"]["budgets"]):
        rides, restarts = (
            [bit == "1" for bit in outcome[n][i]] for n in ("annealed-ride", "annealed-lm")
        )
        against = paired(rides, restarts)
        if against["p"] < 0.05:
            who = "ahead" if against["won"] > against["lost"] else "behind"
            said.append(f"{who} at {count(budget)} (p = {against['p']:.2g})")
    verdict = ", ".join(said) or "not told apart at any budget"
    return f" The annealed ride against annealed restarts of LM without a path: {verdict}."


def _ablations(record: Record) -> list[str]:
    told = []
    for cell, operator in dict.fromkeys(
        (r["cell"], r["operator"]) for r in record["results"].values()
    ):
        hits = {
            r["variant"]: r["found"]
            for r in record["results"].values()
            if (r["cell"], r["operator"]) == (cell, operator)
        }
        names = ("ten checkpoints, in order", "the same, reversed", "the same, shuffled",
                 "last checkpoint only", "every checkpoint", "prior annealed, no path",
                 "prior annealed along ten stages")  # fmt: skip
        said = "; ".join(f"{name} {rate(hits[name])}" for name in names if name in hits)
        told.append(f"One LM ride, {cell}, {operator}: {said}.")
    return told


def _smaller(records: dict[str, Record]) -> str:
    """What was run smaller than the paper, from the records."""
    said = ["What falls short of the paper's sizes:"]
    if "table1" in records:
        record = records["table1"]
        asked = record["config"]["cells"]
        run = {r["cell"] for r in record["results"].values()}
        said.append(
            f"{len(run)} of its {len(asked)} models, {record['config']['targets']} targets a cell;"
        )
    if "fig1" in records:
        (part,) = records["fig1"]["results"].values()
        said.append(f"the surfaces are those of a model with k={part['k']};")
    for name, what in (("fig4", "images"), ("budget", "targets")):
        if name in records:
            said.append(f"{name} {records[name]['config']['targets']} {what};")
    said.append("one training seed everywhere. Intervals are wide where targets are few.")
    return " ".join(said)

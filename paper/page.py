"""The page of results, written from the records: no number in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paper.former import renamed
from paper.ground import page as ground
from paper.registry import Record, experiment
from paper.summary import summary
from surfing.report.tables import count

__all__ = ["PARTS", "draw", "page", "read_records"]

PARTS = {
    "ground": "On the paper's ground",
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
            found[name] = renamed(json.loads(path.read_text(encoding="utf-8")))
    return found


def draw(records: dict[str, Record], out: Path) -> dict[str, list[Path]]:
    """All pictures, by experiment."""
    return {name: _writer(name).figures(record, out) for name, record in records.items()}


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
        *_glance(records, pictures, root),
        "### On narrower networks, trained three times as long, Adam cut off",
        "",
        "The ground of the first release: its sections follow that of the paper's ground.",
        "",
        *(f"- {line}" for line in summary(records)),
    ]
    for name, record in records.items():
        lines += ["", f"## {PARTS[name]}", "", _made_by(name, record), ""]
        drawn = pictures.get(name, [])
        if name == "ground":
            shown = {p.name: _shown(ground.caption(p.name).rstrip("."), p, root) for p in drawn}
            lines += [ground.markdown(record, shown)]
        else:
            lines += [_writer(name).markdown(record)]
            lines += [line for p in drawn for line in ("", _shown(PARTS[name], p, root))]
    return "\n".join(lines) + "\n"


def _glance(records: dict[str, Record], pictures: dict[str, list[Path]], root: Path) -> list[str]:
    """The paper's claim on the paper's ground: tables, a picture and sentences."""
    if "ground" not in records:
        return []
    record = records["ground"]
    drawn = [p for p in pictures.get("ground", []) if p.name == ground.AT_COST]
    shown = [
        line
        for p in drawn
        for line in (_shown("Latents found against cost", p, root), f"*{ground.caption(p.name)}*")
    ]
    said = "\n".join(f"- {line}" for line in ground.in_short(record))
    parts = [ground.glance(record), *shown, ground.against_direct(record),
             ground.second_order(record), said]  # fmt: skip
    return [line for part in parts if part for line in (part, "")]


def _shown(title: str, picture: Path, root: Path) -> str:
    return f"![{title}]({picture.relative_to(root).as_posix()})"


def _writer(name: str) -> Any:
    """The module that draws a record and writes its tables."""
    return ground if name == "ground" else experiment(name)


def _made_by(name: str, record: Record) -> str:
    if name == "ground":
        return ground.made_by(record)
    return (
        f"`python -m paper {name}`, seed {record['seed']}, {record['date']}, surfing "
        f"{record['versions']['surfing']}, torch {record['versions']['torch']}, "
        f"{record['machine']['cpus']} CPU cores; {count(record['seconds'])} s of work."
    )

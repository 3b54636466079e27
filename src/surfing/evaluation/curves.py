"""Success against cost, read back from the record of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surfing.errors import InputError
from surfing.evaluation.methods import METHODS, current
from surfing.report.tables import count

__all__ = ["read_curves"]

Curves = dict[str, list[tuple[float, int, int]]]


def read_curves(path: Path, *, cell: str | None = None) -> Curves:
    """By method, points (budget, found, targets).

    Args:
        path: compare.json of `surfing compare --out`, or budget.json of `python -m paper budget`.
        cell: which model of a record that holds several.

    Raises:
        InputError: no such file, another kind of record, or no such model in it.
    """
    wanted = "compare.json of `surfing compare` or budget.json of `python -m paper budget`"
    if not path.is_file():
        raise InputError(f"--comparison: expected {wanted}, got {path}, which is no file.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        cells = _by_cell(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"--comparison: expected {wanted}, got {path} ({error!r}).") from error
    if len(cells) == 1:
        return next(iter(cells.values()))
    if cell not in cells:
        raise InputError(
            f"--comparison: {path} compares on {', '.join(cells)}, not on {cell}: show one of "
            "these runs, or `surfing compare` this one."
        )
    return cells[cell]


def _by_cell(record: Mapping[str, Any]) -> dict[str, Curves]:
    if "methods" in record:
        lines = [("", record["budgets"], line) for line in record["methods"]]
    else:
        budgets = record["config"]["budgets"]
        lines = [(part["cell"], budgets, part) for part in record["results"].values()]
    cells: dict[str, Curves] = {}
    for cell, budgets, line in lines:
        points = [
            (float(budget), int(found), int(targets))
            for budget, (found, targets) in zip(budgets, line["found"], strict=True)
        ]
        once = float(line.get("extra_cost", 0.0))
        pilot = f", and {count(once)} once for all targets" if once else ""
        cells.setdefault(cell, {})[f"{_label(line)}{pilot}"] = points
    return cells


def _label(line: Mapping[str, Any]) -> str:
    """Of today: records of before told two methods by one name."""
    known = METHODS.get(current(line.get("name", "")))
    return str(line["label"]) if known is None else known.label

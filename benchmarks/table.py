"""The record of ``benchmarks.recovery`` as a Markdown table: nothing is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cyclopts import App

from surfing.report import Column, Table, rate
from surfing.report.tables import count, number

__all__ = ["main", "table_of"]

app = App(help=__doc__)


@app.default
def main(record: Path = Path("docs/records/benchmark.json"), /) -> None:
    """Write the table beside the record.

    Args:
        record: of ``benchmarks.recovery``.
    """
    told = json.loads(record.read_text(encoding="utf-8"))
    text = "\n\n".join(table_of(cell, told["threads"]).markdown() for cell in told["cells"])
    record.with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def table_of(cell: dict[str, Any], threads: int) -> Table:
    """A line per method."""
    columns = [
        Column("label", "method", right=False),
        Column("found", "found", rate),
        Column("seconds", "s per target", number),
        Column("cost", "cost per target", count),
        Column("times", "time per recovered target, LM surfing = 1", str),
    ]
    ratios = cell["ratios"].get("lm-surfing", {})
    rows = tuple(
        {
            "label": line["label"],
            "found": (sum(line["recovered"]), line["targets"]),
            "seconds": line["seconds_per_target"],
            "cost": line["cost_per_target"],
            "times": _times(ratios.get(name, {})),
        }
        for name, line in cell["methods"].items()
    )
    note = (
        f"{cell['operator']}: {cell['m']} measurements, k = {cell['k']}, at most {threads} "
        "threads, medians of runs in one process. Above: the rival recovered none, so its time is "
        "at least that many times ours."
    )
    return Table(_title(cell), columns, rows, (note, *_agreement(cell["agreement_with_scipy"])))


def _title(cell: dict[str, Any]) -> str:
    run = cell.get("trajectory")
    return f"{run['name']}, {cell['operator']}" if run else str(cell["operator"])


def _agreement(told: dict[str, Any] | None) -> tuple[str, ...]:
    """Of solutions in float64, where they were compared."""
    if not told or "scipy-float64" not in told.get("between", ()) or not told["count"]:
        return ()
    return (
        f"Of {told['targets']} targets, LM surfing and scipy, both to the end in float64, found "
        f"the same minimum for {told['count']}: there {told['within_1e-5']} agree to 1e-5, the "
        f"median distance is {told['median']:.1e} and the largest {told['largest']:.1e}.",
    )


def _times(ratio: dict[str, Any]) -> str:
    if not ratio:
        return "–"
    if ratio["ratio"] is None:
        return f"above {ratio['at_least']:.0f}"
    return f"{ratio['ratio']:.1f}"


if __name__ == "__main__":
    app(result_action="return_none")

"""``surfing compare``: which method, at which budget?"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from matplotlib.figure import Figure

from surfing import check, files
from surfing.cli.common import Common, Report, Screen, as_typed
from surfing.cli.inputs import pick_device
from surfing.cli.measuring import SHARED, Measuring
from surfing.errors import OutputExistsError
from surfing.evaluation import compare as experiment
from surfing.evaluation.compare import BUDGETS, Comparison
from surfing.evaluation.methods import METHODS
from surfing.evaluation.record import provenance
from surfing.report import Column, Table, rate, success_against_cost
from surfing.report.tables import count

__all__ = ["compare", "figure_of", "table_of"]

_ON_REQUEST = [name for name, method in METHODS.items() if method.on_request]
_METHODS_HELP = f"{', '.join(METHODS)}; all but {', '.join(_ON_REQUEST)} where left out."


def compare(
    run: str,
    /,
    *,
    targets: int = 100,
    budgets: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = BUDGETS,
    methods: Annotated[tuple[str, ...], Parameter(consume_multiple=True, help=_METHODS_HELP)] = (),
    out: Path | None = None,
    overwrite: bool = False,
    measuring: Measuring | None = None,
    common: Common | None = None,
) -> Report:
    """Success against cost: restarts, surfing and recover, at the same budgets.

    Every method gets the same signals, made by the generator itself, and is restarted from other
    starts until its budget is spent. Where the measurements leave latent directions open, or are
    noisy, a target counts as found where its measurements are met.

    Args:
        run: a trajectory's folder, or packaged.
        targets: own samples to look for.
        budgets: forward-equivalents per target, increasing.
        methods: names from METHODS; all but those on request where left out.
        out: folder for compare.json, compare.md and compare.svg; nothing is written without it.
        overwrite: write into OUT although it exists.
    """
    common, measuring = common or Common(), measuring or Measuring()
    screen = Screen(common)
    if out is not None and out.exists() and not overwrite:
        raise OutputExistsError(f"--out: {out} exists; name another folder, or give --overwrite.")
    check.integer("--targets", targets, low=1)
    model = measuring.model(run, pick_device(common.device))
    told = measuring.arguments()
    began = time.perf_counter()
    shared = (*SHARED, "budgets", "methods")
    with as_typed(*shared), screen.progress("comparing methods") as tick:
        comparison = experiment.compare(
            model,
            targets=targets,
            budgets=budgets,
            methods=methods,
            seed=common.seed,
            progress=tick,
            **told,
        )
    record = {"run": run, **comparison.to_dict(), **provenance(common.seed, began=began)}
    table = table_of(comparison)
    screen.say(table.rich())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        files.write(out / "compare.json", json.dumps(record, indent=1) + "\n")
        files.write(out / "compare.md", table.markdown() + "\n")
        with files.replacing(out / "compare.svg") as temporary:
            figure_of(comparison).savefig(temporary)
        screen.say(f"Written to {out}: compare.json, compare.md and compare.svg.")
    return record


def table_of(comparison: Comparison) -> Table:
    """One row per method, one column per budget."""
    columns = [Column("label", "method", right=False)]
    columns += [Column(str(b), f"at {count(b)}", rate) for b in comparison.budgets]
    columns.append(Column("cost", "spent at most", count))
    rows = tuple(
        {"label": curve.label, "cost": curve.cost[-1]}
        | {
            str(budget): pair if pair[1] else None
            for budget, pair in zip(comparison.budgets, curve.rates())
        }
        for curve in comparison.curves
    )
    facts = comparison.facts
    note = (
        f"{facts['operator']}: {facts['m']} measurements, k = {facts['k']}. Share of targets found "
        f"({facts['success']}) with its 95% interval, by forward-equivalents per target; spent at "
        "most: their mean at the largest budget, what is spent once included; a dash where a "
        "single run costs more than the budget."
    )
    return Table("", columns, rows, (note,))


def figure_of(comparison: Comparison) -> Figure:
    """Curves with their bands, against the budget; what could not be afforded is left out."""
    points = {
        curve.label: [
            (float(budget), *pair) for budget, pair in zip(comparison.budgets, curve.rates())
        ]
        for curve in comparison.curves
    }
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    success_against_cost(points, ax=figure.subplots())
    return figure

"""``surfing compare``: which method, at which budget?"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from matplotlib.figure import Figure

from surfing import check, files
from surfing.cli.common import Common, Report, Screen
from surfing.cli.inputs import load_generator, open_run, pick_device
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
    operator: str | None = None,
    generator: str | None = None,
    latent: str | None = None,
    targets: int = 100,
    budgets: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = BUDGETS,
    methods: Annotated[tuple[str, ...], Parameter(consume_multiple=True, help=_METHODS_HELP)] = (),
    out: Path | None = None,
    overwrite: bool = False,
    common: Common | None = None,
) -> Report:
    """Success against cost: restarts, surfing and recover, at the same budgets.

    Every method gets the same signals, made by the generator itself, and is restarted from other
    starts until its budget is spent.

    Args:
        run: a trajectory's folder, or packaged.
        operator: as in surfing recover; the identity where left out.
        generator: package.module:callable, where the trajectory names no architecture of the zoo.
        latent: normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law.
        targets: own samples to look for.
        budgets: forward-equivalents per target, increasing.
        methods: names from METHODS; all but those on request where left out.
        out: folder for compare.json, compare.md and compare.svg; nothing is written without it.
        overwrite: write into OUT although it exists.
    """
    common = common or Common()
    screen = Screen(common)
    if out is not None and out.exists() and not overwrite:
        raise OutputExistsError(f"--out: {out} exists; name another folder, or give --overwrite.")
    check.integer("--targets", targets, low=1)
    trajectory = open_run(run, pick_device(common.device), latent=latent)
    module = load_generator(generator, trajectory)
    began = time.perf_counter()
    with screen.progress("comparing methods") as tick:
        comparison = experiment.compare(
            trajectory,
            module,
            operator=operator,
            targets=targets,
            budgets=budgets,
            methods=methods,
            seed=common.seed,
            progress=tick,
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
        | dict(zip(map(str, comparison.budgets), curve.rates()))
        for curve in comparison.curves
    )
    facts = comparison.facts
    note = (
        f"{facts['operator']}: {facts['m']} measurements, k = {facts['k']}. Share of targets found "
        f"({facts['success']}) with its 95% interval, by forward-equivalents per target; spent at "
        "most: their mean at the largest budget. recover's pilot is extra: "
        f"{count(_extra(comparison))} for all targets together."
    )
    return Table("", columns, rows, (note,))


def _extra(comparison: Comparison) -> float:
    return max((curve.extra for curve in comparison.curves), default=0.0)


def figure_of(comparison: Comparison) -> Figure:
    """Curves with their bands, against the budget; what could not be afforded is left out."""
    points = {
        curve.label: [
            (float(budget), *(pair if cost > 0 else (0, 0)))
            for budget, pair, cost in zip(comparison.budgets, curve.rates(), curve.cost)
        ]
        for curve in comparison.curves
    }
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    success_against_cost(points, ax=figure.subplots())
    return figure

"""What `recover` finds and what it costs all in, for 1, 100 and 10,000 targets.

Targets are drawn from the law and measured by the generator. Success is ||z - z*|| < .01. The cost
of a target is its own and its share of what was learned once. One target alone is a hundred calls
of one target each.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter

import surfing
from benchmarks import measure
from benchmarks.cells import Cell, build_cells, open_generator
from benchmarks.recovery import describe

__all__ = ["main", "measured", "open_run", "table"]

app = App(help=__doc__)

SINGLES = 100
"""Calls of one target each."""


@app.default
def main(
    *runs: Annotated[str, Parameter(name="RUN", required=True)],
    operators: tuple[str, ...] = ("gaussian:1.5k", "gaussian:2k", "all pixels"),
    targets: tuple[int, ...] = (1, 100),
    budget: float = 2000,
    out: Path = Path("docs/records/all-in.json"),
    seed: int = 1,
    threads: int = 1,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, write the record and its table (the same name, .md).

    Cells that the record holds already are left as they are, so that it can be added to.

    Args:
        runs: trajectories whose manifests name a zoo architecture; or packaged.
        operators: "all pixels", "gaussian:M" or "gaussian:1.5k" in units of the latents.
        targets: how many in a call.
        budget: of recover.
        out: the record.
        seed: of targets and operator.
        threads: of torch.
        short: 3 targets, budget 200, kept apart: shows that it runs.
    """
    torch.set_num_threads(threads)
    cells = [] if short else measure.cells_of(out)
    for name in runs:
        trajectory = open_run(name)
        k = trajectory.latent.dim if trajectory.latent else 0
        for operator in operators:
            for count in (3,) if short else targets:
                key = {"run": name.split("/")[-1], "operator": operator, "targets": count}
                if any(key.items() <= cell.items() for cell in cells):
                    continue
                cell = build_cells(
                    trajectory,
                    open_generator(trajectory),
                    operators=[in_units(operator, k)],
                    targets=max(count, SINGLES) if count == 1 else count,
                    seed=seed,
                )[0]
                told = measured(cell, alone=count == 1, budget=200 if short else budget)
                cells.append(key | {"trajectory": describe(trajectory), "k": k} | told)
                print(key, told["success"], told["cost_all_in"], file=sys.stderr, flush=True)
                record = {"benchmark": "all in", "quick": short} | measure.environment()
                record |= {"seed": seed, "budget": budget, "cells": cells}
                measure.write_record(out, record)
                out.with_suffix(".md").write_text(table(record))
    return {"cells": cells}


def open_run(name: str) -> surfing.Trajectory:
    """A trajectory's folder, or the one in the package."""
    return surfing.zoo.packaged() if name == "packaged" else surfing.Trajectory.open(name)


def in_units(operator: str, k: int) -> str:
    """gaussian:1.5k as gaussian:30 where k is 20."""
    if not operator.endswith("k"):
        return operator
    kind, _, factor = operator.removesuffix("k").partition(":")
    return f"{kind}:{round(float(factor) * k)}"


def measured(cell: Cell, *, alone: bool, budget: float) -> dict[str, Any]:
    """One call with all targets of a cell, or one for each."""
    model = surfing.ForwardModel(cell.trajectory, generator=cell.net, operator=cell.physics)
    surfing.recover(model, cell.y[:1], budget=budget)  # kernels and caches
    parts = cell.y.split(1) if alone else [cell.y]
    solutions, seconds = [], []
    for y in parts:
        began = time.perf_counter()
        solutions.append(surfing.recover(model, y, budget=budget))
        seconds.append(time.perf_counter() - began)
    z = torch.cat([s.z for s in solutions])
    once = sum(s.cost_once for s in solutions) / len(solutions)
    own = torch.cat([s.cost for s in solutions])
    all_in = own + once / len(solutions[0])
    hits = int(((z - cell.truth).norm(dim=1) < 0.01).sum())
    ordered = sorted(seconds)
    return {
        "m": cell.y[0].numel(),
        "calls": len(parts),
        "solved": hits,
        "of": len(z),
        "success": hits / len(z),
        "success_interval": measure.wilson(hits, len(z)),
        "cost_own": float(own.mean()),
        "cost_once": once,
        "cost_all_in": float(all_in.mean()),
        "seconds_a_call_median": ordered[len(ordered) // 2],
        "seconds_a_call_worst": ordered[-1],
        "seconds_a_target": sum(seconds) / len(z),
    }


def table(record: dict[str, Any]) -> str:
    """The record as a table in Markdown."""
    lines = [
        "| generator | k | measurements | targets in a call | solved | 95% interval | cost all in "
        "| of it learned once | time a target | a call |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in record["cells"]:
        low, high = cell["success_interval"]
        lines.append(
            f"| {cell['run']} | {cell['k']} | {cell['m']} | {cell['targets']:,} | "
            f"{cell['success']:.3f} of {cell['of']:,} | {low:.3f} to {high:.3f} | "
            f"{cell['cost_all_in']:.0f} | {cell['cost_once'] / cell['targets']:.0f} | "
            f"{1000 * cell['seconds_a_target']:.0f} ms | {cell['seconds_a_call_median']:.2f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app(result_action="return_none")

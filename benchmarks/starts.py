"""Does a ride gain from learned starts, and from starts learned on an earlier network?

Every way begins at one start for each target: drawn from the law, learned on the trained network,
or learned on the network where the ride begins. All meet the same targets in range. Success is
||z - z*|| < .01; the cost of learning, told beside, is shared by the targets.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter

import surfing
from benchmarks import measure
from benchmarks.allin import in_units, open_run
from benchmarks.cells import Cell, build_cells, open_generator
from benchmarks.recovery import describe

__all__ = ["main", "table"]

app = App(help=__doc__)

LATE = 0.5
"""Share of the drift that a late ride leaves out."""

_HURRIED = surfing.Stopping(ftol=1e-2)
"""A row whose model predicts next to nothing is given up."""

WAYS = {
    "direct, drawn": (False, ""),
    "ride, drawn": (True, ""),
    "direct, learned": (False, "last"),
    "ride, learned": (True, "last"),
    "ride, learned early": (True, "early"),
}
"""Whether it rides, and on which network its starts are learned."""


@app.default
def main(
    *runs: Annotated[str, Parameter(name="RUN", required=True)],
    operators: tuple[str, ...] = ("gaussian:2k", "gaussian:1.5k", "gaussian:1.2k"),
    targets: int = 100,
    samples: int = 10_000,
    out: Path = Path("docs/records/starts.json"),
    seed: int = 1,
    threads: int = 1,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, write the record and its table (the same name, .md).

    Args:
        runs: trajectories whose manifests name a zoo architecture; or packaged.
        operators: "all pixels", "gaussian:M" or "gaussian:2k" in units of the latents.
        targets: in each cell.
        samples: that starts are learned from.
        out: the record.
        seed: of targets, starts and operator.
        threads: of torch.
        short: 4 targets and 300 samples: shows that it runs.
    """
    torch.set_num_threads(threads)
    targets, samples = (4, 300) if short else (targets, samples)
    cells = [] if short else measure.cells_of(out)
    for name in runs:
        trajectory = open_run(name)
        k = trajectory.latent.dim if trajectory.latent else 0
        for operator in operators:
            key = {"run": name.split("/")[-1], "operator": operator, "targets": targets}
            if any(key.items() <= cell.items() for cell in cells):
                continue
            net, where = open_generator(trajectory), in_units(operator, k)
            cell = build_cells(trajectory, net, operators=[where], targets=targets, seed=seed)[0]
            cells.append(
                key | {"trajectory": describe(trajectory), "k": k} | compared(cell, samples)
            )
            print(key, cells[-1]["ways"], file=sys.stderr, flush=True)
            record = {"benchmark": "starts", "quick": short} | measure.environment()
            record |= {"seed": seed, "samples": samples, "late": LATE, "cells": cells}
            measure.write_record(out, record)
            out.with_suffix(".md").write_text(table(record))
    return {"cells": cells}


def compared(cell: Cell, samples: int) -> dict[str, Any]:
    """Every way on one cell."""
    model = surfing.ForwardModel(cell.trajectory, generator=cell.net, operator=cell.physics)
    schedule = surfing.EqualDrift(10, start=LATE)
    probe = surfing.surf(model, cell.y[:1], schedule=schedule, stage_steps=0, max_steps=0)
    stage = probe.stages[0].stage
    banks = {
        "last": surfing.learn(model, samples, seed=7),
        "early": surfing.learn(model, samples, stage=stage, seed=7),
    }
    ways = {}
    for name, (rides, where) in WAYS.items():
        z0 = banks[where].starts(model, cell.y, 1) if where else cell.starts[:, None]
        call: Any = surfing.surf if rides else surfing.direct
        options: dict[str, Any] = {"schedule": schedule, "stage_steps": 1} if rides else {}
        found = call(model, cell.y, z0=z0, max_steps=40, stopping=_HURRIED, **options)
        hits = int(((found.z - cell.truth).norm(dim=1) < 0.01).sum())
        ways[name] = {
            "solved": hits,
            "interval": measure.wilson(hits, len(cell)),
            "cost": float(found.cost.mean()) + found.cost_once / len(cell),
            "start_error": float((z0[:, 0] - cell.truth).norm(dim=1).median()),
        }
    return {"m": cell.y[0].numel(), "begins_at": stage, "ways": ways}


def table(record: dict[str, Any]) -> str:
    """The record as a table in Markdown: solved, and the cost of a target without learning."""
    names = list(WAYS)
    lines = [f"| generator | k | m | {' | '.join(names)} |", "| --- " * (3 + len(names)) + "|"]
    for cell in record["cells"]:
        entries = [
            f"{w['solved'] / cell['targets']:.2f} at {w['cost']:.0f}"
            for w in (cell["ways"][name] for name in names)
        ]
        lines.append(f"| {cell['run']} | {cell['k']} | {cell['m']} | {' | '.join(entries)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app(result_action="return_none")

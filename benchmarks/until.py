"""Wall time until 95% of the targets are solved, all in: `recover` against restarts of the rest.

A user of another method restarts it from new draws until the measurements are met, and so does
this benchmark: in rounds, with the targets that are still open, until at least 95% meet theirs
(a relative residual of 1e-4) or the time is up. Whether the latents are the true ones is told
beside it. For one target the rounds are made with ten targets, one after the other, and the
median is told.

A rival that works on one target at a time, or that works in batches of a fixed size, takes time
in proportion to their number: beyond `sample` targets, so many are run and the time is
multiplied. `recover` is always run in full.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter

from benchmarks import measure
from benchmarks.allin import in_units, open_run
from benchmarks.cells import Cell, Outcome, Solver, build_cells, open_generator
from benchmarks.methods import METHODS, Method, configured, named
from benchmarks.ours import Recover
from benchmarks.published.today import Torchimize, installed
from benchmarks.recovery import describe

__all__ = ["main", "table", "until_solved"]

SHARE = 0.95
MET = 1e-4
_BUDGET = 20_000
_ALONE = 10
_DEFAULT = ("recover", "lm", "lm-surfing", "lbfgs", "adam", "torch-lbfgs", "csgm", "torchimize")

app = App(help=__doc__)


@app.default
def main(
    *runs: Annotated[str, Parameter(name="RUN", required=True)],
    operator: str = "gaussian:2k",
    targets: tuple[int, ...] = (1, 10, 100, 1000, 10_000),
    methods: tuple[str, ...] = _DEFAULT,
    limit: float = 60,
    sample: int = 100,
    tuning: Path = Path("docs/records/benchmark-tuning.json"),
    out: Path = Path("docs/records/until.json"),
    seed: int = 1,
    threads: int = 1,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, write the record and its table (the same name, .md).

    Args:
        runs: trajectories whose manifests name a zoo architecture; or packaged.
        operator: "all pixels", "gaussian:M" or "gaussian:2k" in units of the latents.
        targets: numbers of them.
        methods: names; torchimize takes part where it is installed.
        limit: seconds after which no further round of a rival is begun.
        sample: targets that a rival is run with at most.
        tuning: the record of ``benchmarks.tuning``.
        out: the record.
        seed: of targets, starts and operator.
        threads: of torch.
        short: 2 targets and two methods: shows that it runs.
    """
    torch.set_num_threads(threads)
    if short:
        targets, methods, limit = (2,), ("recover", "lm"), 5
    cells = [] if short else measure.cells_of(out)
    for name in runs:
        trajectory = open_run(name)
        net, k = open_generator(trajectory), trajectory.latent.dim if trajectory.latent else 0
        where = in_units(operator, k)
        sampled: dict[str, dict[str, Any]] = {}
        for count in targets:
            key = {"run": name.split("/")[-1], "operator": operator, "targets": count}
            if any(key.items() <= cell.items() for cell in cells):
                continue
            cell = build_cells(
                trajectory, net, operators=[where], targets=max(count, _ALONE), seed=seed
            )[0]
            lines = {}
            for method in _methods(methods, tuning, where):
                before = sampled.get(method.name)
                if count > sample and before is not None and method.name != "recover":
                    line = before | {"seconds": before["seconds"] * count / sample}
                else:
                    line = _line(cell, method, count, limit=limit, sample=sample)
                lines[method.name] = line
                if count == sample:
                    sampled[method.name] = line
                print(key, method.name, lines[method.name], file=sys.stderr, flush=True)
            cells.append(key | {"trajectory": describe(trajectory), "k": k, "methods": lines})
            record = {"benchmark": "until", "quick": short} | measure.environment()
            record |= {"seed": seed, "share": SHARE, "met": MET, "limit": limit, "cells": cells}
            measure.write_record(out, record)
            out.with_suffix(".md").write_text(table(record))
    return {"cells": cells}


def _methods(names: Sequence[str], tuning: Path, operator: str) -> list[Method]:
    known = [m.name for m in METHODS]
    chosen = configured(named([n for n in names if n in known]), tuning, operator)
    if "torchimize" in names and installed(["torchimize"]):
        chosen.append(Method("torchimize", "torchimize LM, batched", _Torchimize(), []))
    # Like the rivals, which are restarted, it goes on beyond its default budget.
    more = replace(Recover(), budget=_BUDGET)
    return [replace(m, solver=more) if m.name == "recover" else m for m in chosen]


@dataclass(frozen=True)
class _Torchimize:
    """Another library's batched Levenberg-Marquardt."""

    max_iterations: int = 40

    def __call__(self, cell: Cell) -> Outcome:
        matrix = None if cell.physics is None else cell.physics._A
        solver = Torchimize(self.max_iterations)
        z, _ = solver(cell.net, matrix, cell.y.flatten(1), cell.starts)
        return Outcome(z, torch.full((len(z),), torch.nan))


def _line(cell: Cell, method: Method, count: int, *, limit: float, sample: int) -> dict[str, Any]:
    full = method.name == "recover"
    method.solver(cell.head(1))  # kernels and caches
    if count == 1:
        each = [
            until_solved(_one(cell, i), method.solver, limit=limit / 4, full=full)
            for i in range(_ALONE)
        ]
        solved = [e["true"] for e in each]
        times = [e["seconds"] if e["reached"] else float("inf") for e in each]
        return {
            "reached": sum(e["reached"] for e in each) >= SHARE * len(each),
            "seconds": statistics.median(times),
            "seconds_95": sorted(times)[round(SHARE * len(times)) - 1],
            "true": statistics.mean(solved),
            "targets_run": len(each),
        }
    run = count if full else min(count, sample)
    told = until_solved(cell.head(run), method.solver, limit=limit, full=full)
    told["seconds"] = told["seconds"] * count / run
    return told | {"targets_run": run}


def _one(cell: Cell, index: int) -> Cell:
    part = slice(index, index + 1)
    return replace(cell, y=cell.y[part], truth=cell.truth[part], starts=cell.starts[part])


def until_solved(cell: Cell, solver: Solver, *, limit: float, full: bool = False) -> dict[str, Any]:
    """Restart a method, with the targets that are still open, until 95% are met.

    Args:
        cell: the targets; its starts are those of the first round.
        solver: the method.
        limit: seconds after which no further round is begun.
        full: it restarts by itself: one call is all.
    """
    total, law = len(cell), cell.trajectory.latent
    z, met = cell.starts.clone(), torch.zeros(total, dtype=torch.bool)
    size = cell.y.flatten(1).norm(dim=1)
    seconds, rounds = 0.0, 0
    open_ = torch.arange(total)
    while len(open_) and float(met.float().mean()) < SHARE and seconds < limit:
        part = replace(cell, y=cell.y[open_], truth=cell.truth[open_], starts=cell.starts[open_])
        if rounds and law is not None:
            part = replace(part, starts=law.sample(open_.tolist(), 1, seed=1000 + rounds)[:, 0])
        began = time.perf_counter()
        found = solver(part).z.to(z)
        with torch.no_grad():
            gap = (cell.measure(cell.net(found)) - part.y).flatten(1).norm(dim=1)
        now = gap <= MET * size[open_]
        seconds += time.perf_counter() - began
        rounds += 1
        z[open_] = torch.where(now[:, None], found, z[open_])
        met[open_] = now
        open_ = (~met).nonzero().flatten()
        if full:
            break
    share = float(met.float().mean())
    true = float(((z - cell.truth).norm(dim=1) < 0.01)[met].sum()) / total
    told = {"reached": share >= SHARE, "share": share, "true": true}
    return told | {"seconds": seconds, "rounds": rounds}


def table(record: dict[str, Any]) -> str:
    """The record as a table in Markdown, a line for each generator and method."""
    counts = sorted({cell["targets"] for cell in record["cells"]})
    head = " | ".join("1 target" if n == 1 else f"{n:,} targets" for n in counts)
    lines = [f"| generator | method | {head} |", "| --- " * (2 + len(counts)) + "|"]
    labels = {m.name: m.label for m in METHODS}
    labels |= {"recover": "recover", "torchimize": "torchimize LM, batched"}
    for run in dict.fromkeys(cell["run"] for cell in record["cells"]):
        mine = {c["targets"]: c["methods"] for c in record["cells"] if c["run"] == run}
        for name in dict.fromkeys(n for methods in mine.values() for n in methods):
            entries = [_entry(mine.get(n, {}).get(name)) for n in counts]
            lines.append(f"| {run} | {labels[name]} | {' | '.join(entries)} |")
    return "\n".join(lines) + "\n"


def _entry(line: dict[str, Any] | None) -> str:
    if line is None:
        return ""
    if not line["reached"]:
        share = line.get("share")
        return "-" if share is None else f"- ({share:.2f})"
    seconds = line["seconds"]
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


if __name__ == "__main__":
    app(result_action="return_none")

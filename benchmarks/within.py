"""``recover(seconds=)`` with 512 latents: when it returns, and who is ahead when time is up.

``python -m benchmarks.within [RUN ...]``: a style-based generator of 3x64x64 with k = 512 and
random weights, and the trajectories RUN; targets in the range, two in a call, some calls each. The
time that is asked for is wall time of the whole call, learning included; rivals get as much, all
targets in one batch (Adam) or an equal share for each (torch's L-BFGS), from draws of the law.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor

import surfing
from benchmarks import measure
from benchmarks.large import Problem, problems
from benchmarks.rivals import endless_lbfgs
from surfing.report import Column, Table

__all__ = ["main", "table"]

app = App(help=__doc__)


@app.default
def main(
    *runs: Annotated[Path, Parameter(name="RUN")],
    out: Path = Path("docs/records/within.json"),
    targets: int = 2,
    calls: int = 3,
    seconds: tuple[float, ...] = (5.0, 20.0),
    least_latents: int = 200,
    seed: int = 102,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        runs: trajectories whose manifests name an architecture.
        out: the record.
        targets: of each call.
        calls: of each method on each generator, every one with other targets.
        seconds: that are asked for.
        least_latents: generators with fewer are left out.
        seed: of targets and starts.
    """
    torch.set_num_threads(1)
    record: dict[str, Any] = {"benchmark": "within"} | measure.environment()
    record |= {"targets": targets, "calls": calls, "seed": seed}
    lines: list[dict[str, Any]] = []
    limits = range(least_latents, 10_000)
    draws = [problems(runs, targets, (1.0,), seed + call, limits) for call in range(calls)]
    for same in zip(*draws, strict=True):  # one generator, other targets
        for limit, name in itertools.product(seconds, _METHODS):
            tries = [_timed(problem, name, limit) for problem in same]
            lines.append(_line(same[0].name, name, limit, tries))
            print(lines[-1], file=sys.stderr, flush=True)
            measure.write_record(out, record | {"lines": lines})
    record["lines"] = lines
    measure.show(out, table(record))
    return record


def _timed(problem: Problem, name: str, limit: float) -> dict[str, Any]:
    began = time.perf_counter()
    z, facts = _METHODS[name](problem, limit)
    return facts | {"spent": time.perf_counter() - began, "relative": _relative(problem, z)}


def _line(generator: str, name: str, limit: float, tries: list[dict[str, Any]]) -> dict[str, Any]:
    relative = [r for t in tries for r in t["relative"]]
    return {
        "generator": generator,
        "method": name,
        "asked": limit,
        "spent": max(t["spent"] for t in tries),
        "cost": statistics.mean(t["cost"] for t in tries),
        "relative": statistics.median(relative),
        "each": relative,
    }


def _recover(problem: Problem, limit: float) -> tuple[Tensor, dict[str, Any]]:
    found = surfing.recover(problem.model, problem.y, budget=1e6, seconds=limit)
    return found.z, {"cost": float(found.cost.mean())}


def _adam(problem: Problem, limit: float) -> tuple[Tensor, dict[str, Any]]:
    until = time.perf_counter() + limit
    z = problem.starts.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.05)
    steps = 0
    while time.perf_counter() < until:
        optimiser.zero_grad()
        (problem.residual(z, slice(None)).square().sum() / 2).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        steps += 1
    return z.detach(), {"cost": 3.0 * steps}


class _Late(Exception):
    pass


def _torch_lbfgs(problem: Problem, limit: float) -> tuple[Tensor, dict[str, Any]]:
    ends, calls = [], 0
    for index in range(len(problem.y)):
        until = time.perf_counter() + limit / len(problem.y)
        part = slice(index, index + 1)
        z = problem.starts[part].clone().requires_grad_()
        best, end = float("inf"), z.detach().clone()
        optimiser = endless_lbfgs(z)

        def closure() -> Tensor:
            nonlocal best, end, calls
            optimiser.zero_grad()  # noqa: B023
            loss = problem.residual(z, part).square().sum() / 2  # noqa: B023
            if float(loss.detach()) < best:
                best, end = float(loss.detach()), z.detach().clone()  # noqa: B023
            calls += 1
            if time.perf_counter() > until:  # noqa: B023
                raise _Late
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        with contextlib.suppress(_Late):
            optimiser.step(closure)  # type: ignore[arg-type]
        ends.append(end)
    return torch.cat(ends), {"cost": 3.0 * calls / len(ends)}


_METHODS = {"recover": _recover, "Adam, one batch": _adam, "torch L-BFGS": _torch_lbfgs}


def _relative(problem: Problem, z: Tensor) -> list[float]:
    with torch.no_grad():
        left = problem.residual(z, slice(None)).norm(dim=1)
    found: list[float] = (left / problem.y.flatten(1).norm(dim=1)).tolist()
    return found


def table(record: dict[str, Any]) -> Table:
    """A line for each generator, time and method."""
    columns = [
        Column("generator", "generator", str),
        Column("method", "method", str),
        Column("asked", "s asked for", lambda v: f"{v:g}"),
        Column("spent", "s until it returned, at most", lambda v: f"{v:.1f}"),
        Column("cost", "cost per target", lambda v: f"{v:.0f}"),
        Column("relative", "median relative residual", lambda v: f"{v:.4f}"),
        Column("each", "of each target", lambda v: " ".join(f"{r:.4f}" for r in sorted(v))),
    ]
    note = f"{record['calls']} calls of {record['targets']} targets each, one thread."
    return Table("In a given time", columns, tuple(record["lines"]), (note,))


if __name__ == "__main__":
    app(result_action="return_none")

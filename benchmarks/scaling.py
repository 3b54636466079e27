"""One process against the workers of a Ray cluster, on the same shards of the same targets.

Start-up is what passes before every worker has finished its first shard, less what a shard takes
afterwards. The rate is that of the shards after these. Both sides use one thread a process, and
must give the same numbers bit for bit.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor

from benchmarks import measure
from surfing.architectures import generator_from_manifest
from surfing.execution import Executor, Local, Ray, Solve
from surfing.generator import Generator
from surfing.portfolio.bank import learned_for
from surfing.portfolio.solver import solver_of
from surfing.problem import ForwardModel, as_operator
from surfing.solution import Solution
from surfing.zoo.packaged import packaged

__all__ = ["main", "rates", "sums", "table"]

app = App(help=__doc__)


@app.default
def main(
    *,
    out: Path = Path("docs/records/scaling.json"),
    targets: int = 1024,
    shard: int = 64,
    workers: int = 2,
    budget: float = 1000,
    operator: str = "gaussian:20",
    seed: int = 0,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        out: the record.
        targets: in range of the packaged generator.
        shard: targets in each shard.
        workers: of the cluster.
        budget: forward-equivalents per target.
        operator: by name.
        seed: of everything random.
        short: 8 targets in shards of 2, a budget of 60: shows that it runs.
    """
    torch.set_num_threads(1)
    if short:
        targets, shard, budget = 8, 2, 60.0
    record = {"benchmark": "scaling", "quick": short} | measure.environment()
    solve, y = _problem(targets, operator, budget, seed)
    shards = [range(low, min(low + shard, targets)) for low in range(0, targets, shard)]
    sides: dict[str, Any] = {}
    answers: list[Solution] = []
    for name, by, size in (("one process", Local(), 1), ("ray", Ray(workers=workers), workers)):
        solution, finished = _timed(solve, y, shards, by)
        answers.append(solution)
        sides[name] = {"workers": size, "finished": finished} | rates(finished, shard, size)
    record |= {"targets": targets, "shard": shard, "budget": budget, "operator": operator}
    record |= {"seed": seed, "sides": sides, "met": int(answers[0].success.sum())}
    record["same_bits"] = all(
        torch.equal(getattr(answers[0], name), getattr(answers[1], name))
        for name in ("z", "x", "risk", "cost", "status")
    )
    record["cost_per_target"] = float(answers[0].cost.mean())
    record["speed_up"] = sides["ray"]["rate"] / sides["one process"]["rate"]
    record["load_after"] = round(os.getloadavg()[0], 2)
    measure.write_record(out, record)
    told = f"{table(record)}\n\n{sums(record)}\n"
    out.with_suffix(".md").write_text(told, encoding="utf-8")
    print(told)
    return record


def rates(finished: list[float], shard: int, workers: int) -> dict[str, float]:
    """Start-up and steady state.

    Args:
        finished: seconds after the beginning at which each shard was there, in that order.
        shard: targets in each.
        workers: how many work at the same time; there are more shards than workers.

    Returns:
        `rate` in targets per second, and `start_up` in seconds.

    >>> rates([7.0, 7.0, 9.0, 9.0, 11.0, 11.0], 10, 2)
    {'rate': 10.0, 'start_up': 5.0}
    """
    first = finished[workers - 1]
    rate = shard * (len(finished) - workers) / (finished[-1] - first)
    return {"rate": rate, "start_up": max(0.0, first - shard * workers / rate)}


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| | workers | start-up, s | targets per second | worker-seconds per target |"]
    lines.append("|---|---:|---:|---:|---:|")
    for name, side in record["sides"].items():
        each = side["workers"] / side["rate"]
        lines.append(
            f"| {name} | {side['workers']} | {side['start_up']:.1f} | {side['rate']:.2f} | "
            f"{each:.3f} |"
        )
    same = "the same bit for bit" if record["same_bits"] else "NOT the same"
    lines.append("")
    lines.append(
        f"{record['targets']} targets, {record['operator']}, {record['cost_per_target']:.0f} "
        f"forward-equivalents per target; speed-up {record['speed_up']:.2f}; results are {same}."
    )
    return "\n".join(lines)


def sums(record: dict[str, Any]) -> str:
    """What a million and a billion targets take at the measured rate, with the arithmetic."""
    side = record["sides"]["ray"]
    rate = side["rate"] / side["workers"]
    lines = [
        f"Each worker of the cluster, one core, solves {rate:.1f} targets per second; "
        "start-up is left out.",
        "",
        "| targets | cores | targets / (cores x rate) | in hours |",
        "|---:|---:|---:|---:|",
    ]
    for targets in (10**6, 10**9):
        for cores in (1, 8, 1000):
            hours = targets / (cores * rate) / 3600
            told = f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
            lines.append(
                f"| {targets:,} | {cores:,} | {targets:,} / ({cores:,} x {rate:.1f}) s | {told} |"
            )
    return "\n".join(lines)


def _problem(targets: int, operator: str, budget: float, seed: int) -> tuple[Solve, Tensor]:
    """Measurements of the generator's own signals; starts are learned here, once."""
    trajectory = packaged()
    latent, last = trajectory.latent, trajectory[-1].state
    if latent is None or trajectory.architecture is None:
        raise RuntimeError("the packaged trajectory names its law and its architecture")
    net = generator_from_manifest(trajectory.architecture, last)
    z = latent.sample(range(1 << 40, (1 << 40) + targets), 1, seed=seed)[:, 0]
    with torch.no_grad():
        signals = Generator(net).at(last)(z)
    y = as_operator(operator, tuple(signals.shape[1:]), seed=seed)(signals)
    model = ForwardModel(trajectory, generator=net, operator=operator, operator_seed=seed)
    solver = solver_of(model, budget=budget, seed=seed)
    return replace(solver, learned=learned_for(solver, len(y))), y


def _timed(
    solve: Solve, y: Tensor, shards: list[range], by: Executor
) -> tuple[Solution, list[float]]:
    began, finished, found = time.perf_counter(), [], {}
    for part, solution in by.run(
        solve, shards, lambda part: y[part.start : part.stop].clone(), ids=range(len(y))
    ):
        finished.append(time.perf_counter() - began)
        found[part] = solution
    return Solution.joined([found[part] for part in shards]), finished


if __name__ == "__main__":
    app()

"""Memory and time of ``surfing.recover`` by the number of targets, each in a process of its own.

The order of attempts is given, so that no pilot is made: its cost is one for all targets. The
returned signals grow with the targets; what is needed beside them should not, nor should cost and
time a target. Measurements are of the generator's own signals.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor

from benchmarks import measure
from benchmarks.cells import open_generator
from benchmarks.recovery import describe
from surfing.errors import InputError
from surfing.portfolio import recover
from surfing.problem import as_operator
from surfing.report import Column, Table
from surfing.report.tables import count, number
from surfing.trajectory import Trajectory
from surfing.zoo.packaged import packaged_path

__all__ = ["main", "measured", "table"]

_WARM_UP = 8
_AT_A_TIME = 1000

app = App(help=__doc__)


@app.default
def main(
    run_directory: Annotated[Path | None, Parameter(name="RUN")] = None,
    /,
    *,
    out: Path = Path("docs/records/memory.json"),
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000),
    operator: str = "gaussian:20",
    budget: float = 300,
    seed: int = 1,
    threads: int = 1,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        run_directory: a trajectory whose manifest names a zoo architecture; the packaged one
            where left out.
        out: the record.
        sizes: numbers of targets.
        operator: by name.
        budget: forward-equivalents per target.
        seed: of everything random.
        threads: of torch.
        short: 20 and 40 targets, a budget of 60: shows that it runs.
    """
    path = packaged_path() if run_directory is None else run_directory
    if short:
        sizes, budget = (20, 40), 60.0
    record = {"benchmark": "memory", "quick": short} | measure.environment()
    record |= {"threads": threads, "seed": seed, "operator": operator, "budget": budget}
    record |= {"trajectory": describe(Trajectory.open(path)), "lines": []}
    for size in sizes:
        # Neither memory nor caches of one size reach the next.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            line = fresh.submit(
                measured,
                path,
                size,
                operator=operator,
                budget=budget,
                seed=seed,
                threads=threads,
            ).result()
        print(line, file=sys.stderr, flush=True)
        record["lines"].append(line)
    measure.write_record(out, record)
    print(table(record).markdown())
    return record


def measured(
    path: Path, targets: int, *, operator: str, budget: float, seed: int, threads: int
) -> dict[str, Any]:
    """One size, in this process: peak memory above what was there before, and time."""
    torch.set_num_threads(threads)
    trajectory = Trajectory.open(path)
    y = _measurements(trajectory, targets, operator, seed)

    def run(y: Tensor) -> Any:
        return recover(
            trajectory,
            y,
            operator=operator,
            operator_seed=seed,
            budget=budget,
            seed=seed,
        )

    run(y[:_WARM_UP])
    began = time.perf_counter()
    solution, peak = measure.peak_memory(lambda: run(y))
    seconds = time.perf_counter() - began
    returned = (solution.x.nbytes + solution.z.nbytes) / 2**20
    return {
        "targets": targets,
        "met": int(solution.success.sum()),
        "seconds_per_target": seconds / targets,
        "cost_per_target": float(solution.cost.mean()),
        "peak_mib": peak,
        "returned_mib": returned,
    }


def _measurements(trajectory: Trajectory, targets: int, operator: str, seed: int) -> Tensor:
    net, latent = open_generator(trajectory), trajectory.latent
    if latent is None:
        raise InputError("RUN: its manifest tells no law of the latents; measure one that does.")
    with torch.no_grad():
        shape = tuple(net(latent.sample([0], 1, seed=0)[:, 0]).shape[1:])
        forward = as_operator(operator, shape, seed=seed)
        parts = []
        for low in range(0, targets, _AT_A_TIME):
            ids = range(low, min(low + _AT_A_TIME, targets))
            parts.append(forward(net(latent.sample(ids, 1, seed=seed + 1)[:, 0])))
    return torch.cat(parts)


def table(record: dict[str, Any]) -> Table:
    """A line a size."""
    columns = [
        Column("targets", "targets", count),
        Column("met", "met", count),
        Column("seconds_per_target", "s per target", number),
        Column("cost_per_target", "cost per target", count),
        Column("peak_mib", "peak, MiB", _mib),
        Column("returned_mib", "of it returned, MiB", _mib),
    ]
    note = f"{record['operator']}, budget {record['budget']:.0f}, {record['threads']} thread(s)."
    return Table("Memory of recover", columns, tuple(record["lines"]), (note,))


def _mib(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    app(result_action="return_none")

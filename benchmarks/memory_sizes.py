"""Peak memory by latents and size of the signal, each cell in a process of its own.

``python -m benchmarks.memory_sizes``: generators of random weights, all pixels of their own
signals. `recover` with a small budget; direct descent by its default; two steps of
Levenberg-Marquardt with dense Jacobians, whatever the default is. What is told is above what was
there once the generator was made and had been run.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from cyclopts import App

import surfing
from benchmarks import measure
from surfing.architectures import build_generator
from surfing.report import Column, Table

__all__ = ["CASES", "main", "measured", "table"]

app = App(help=__doc__)

CASES: dict[str, dict[str, Any]] = {
    "1x28x28, k=10": {"name": "conv", "latent_dim": 10},
    "1x28x28, k=100": {"name": "conv", "latent_dim": 100},
    "3x64x64, k=100": {"name": "deep", "latent_dim": 100},
    "3x64x64, k=512": {"name": "deep", "latent_dim": 512},
    "3x64x64, style, k=512": {"name": "style", "latent_dim": 512},
    "3x128x128, k=100": {"name": "deep", "latent_dim": 100, "image_size": 128, "width": 12},
    "3x128x128, style, k=512": {
        "name": "style",
        "latent_dim": 512,
        "image_size": 128,
        "width": 8,
    },
}


@app.default
def main(
    *,
    out: Path = Path("docs/records/memory-sizes.json"),
    targets: int = 16,
    budget: float = 60,
    only: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        out: the record.
        targets: of each call.
        budget: forward-equivalents of each, of `recover` and of direct descent.
        only: cells by their names, measured anew in the record that is there; all where left out.
    """
    record: dict[str, Any] = {"benchmark": "memory by size"} | measure.environment()
    before = json.loads(out.read_text(encoding="utf-8"))["lines"] if only else []
    kept = [line for line in before if line["generator"] not in only]
    record |= {"targets": targets, "budget": budget, "lines": kept}
    for name in only or CASES:
        line: dict[str, Any] = {"generator": name}
        for way in WAYS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                line |= fresh.submit(measured, name, way, targets, budget).result()
        print(line, file=sys.stderr, flush=True)
        record["lines"].append(line)
        measure.write_record(out, record)
    measure.show(out, table(record))
    return record


def _recover(model: surfing.ForwardModel, y: torch.Tensor, budget: float) -> None:
    surfing.recover(model, y, budget=budget)


def _direct(model: surfing.ForwardModel, y: torch.Tensor, budget: float) -> None:
    surfing.direct(model, y, max_steps=max(1, int(budget / 3)))


def _dense(model: surfing.ForwardModel, y: torch.Tensor, budget: float) -> None:
    k = model.latent.dim
    y = y[: max(1, len(y) // 4)]
    surfing.direct(model, y, descent=surfing.LevenbergMarquardt(dense_up_to=k), max_steps=1)


_LARGEST = 1 << 24
"""Numbers of a Jacobian beyond which taking some takes minutes."""
WAYS = {"recover": _recover, "direct": _direct, "dense": _dense}


def measured(name: str, way: str, targets: int, budget: float) -> dict[str, Any]:
    """One cell, in this process: peak MiB and seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    arguments = dict(CASES[name])
    net = build_generator(arguments.pop("name"), **arguments).eval().requires_grad_(False)
    k = int(arguments["latent_dim"])
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(k))
    model = surfing.ForwardModel(path, generator=net)
    with torch.no_grad():
        y = net(torch.randn(targets, k))
    if way == "dense" and y[0].numel() * k > _LARGEST:
        return {"dense_mib": None, "dense_s": None}
    began = time.perf_counter()
    _, peak = measure.peak_memory(lambda: WAYS[way](model, y, budget))
    return {f"{way}_mib": peak, f"{way}_s": time.perf_counter() - began}


def table(record: dict[str, Any]) -> Table:
    """A line for each generator."""
    columns = [
        Column("generator", "generator", str),
        Column("recover_mib", "recover, MiB", measure.or_dash(".0f")),
        Column("direct_mib", "direct, MiB", measure.or_dash(".0f")),
        Column("dense_mib", "dense Jacobians, MiB", measure.or_dash(".0f")),
        Column("recover_s", "recover, s", measure.or_dash(".1f")),
        Column("direct_s", "direct, s", measure.or_dash(".1f")),
        Column("dense_s", "dense Jacobians, s", measure.or_dash(".1f")),
    ]
    note = (
        f"{record['targets']} targets at once, one thread; recover and direct stop after "
        f"{record['budget']:.0f} forward-equivalents a target; dense Jacobians: a quarter of the "
        "targets, one step."
    )
    return Table("Memory by size", columns, tuple(record["lines"]), (note,))


if __name__ == "__main__":
    app(result_action="return_none")

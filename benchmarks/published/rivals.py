"""Rivals of today in one run, on the packaged generator: success, time, compilation told.

``python -m benchmarks.published.rivals --out docs/records/published-rivals.json``

One start for each target, the same for all methods; `recover` draws its own. Optional rivals take
part where they are installed; the record says which did not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import surfing
from benchmarks.cells import build_cells, open_generator
from benchmarks.measure import environment, wilson, write_record
from benchmarks.published.today import Torchimize, Vmapped, installed
from benchmarks.rivals import CSGM

__all__ = ["main"]

_OPTIONAL = {"torchimize": ("torchimize",), "optimistix": ("jax", "optimistix")}


def _line(name: str, label: str, z: Tensor, truth: Tensor, seconds: float) -> dict[str, Any]:
    found = int(((z.double() - truth.double()).norm(dim=1) < 0.01).sum())
    return {
        "method": name,
        "label": label,
        "targets": len(z),
        "recovered": found,
        "interval": wilson(found, len(z)),
        "seconds": seconds,
        "milliseconds_a_recovered": 1000 * seconds / found if found else None,
    }


def measured(cell: Any, few: int) -> list[dict[str, Any]]:
    """Every method on one cell."""
    matrix = None if cell.physics is None else cell.physics._A.reshape(-1, 784)
    y, lines = cell.y.flatten(1), []
    operator = None if matrix is None else (lambda x: x.flatten(1) @ matrix.T)
    goal = cell.y if matrix is None else y
    ours = {
        "direct": ("direct LM", lambda: surfing.direct(
            cell.trajectory, goal, operator=operator, z0=cell.starts[:, None])),
        "recover": ("recover, budget 2000", lambda: surfing.recover(
            cell.trajectory, goal, operator=operator, budget=2000)),
    }  # fmt: skip
    for name, (label, call) in ours.items():
        began = time.perf_counter()
        z = call().z
        lines.append(_line(name, label, z, cell.truth, time.perf_counter() - began))
        _say(cell.name, lines[-1])
    others: dict[str, tuple[str, Any]] = {
        "torchimize": ("torchimize, batched LM", Torchimize()),
        "optimistix": ("optimistix, LM under jax.vmap", Vmapped()),
    }
    for name, (label, solver) in others.items():
        if not installed(_OPTIONAL[name]):
            lines.append({"method": name, "label": label, "missing": True})
            continue
        began = time.perf_counter()
        z, first = solver(cell.net, matrix, y, cell.starts)
        seconds = time.perf_counter() - began - first
        line = _line(name, label, z, cell.truth, seconds)
        lines.append(line | {"compilation_seconds": max(0.0, first - seconds)})
        _say(cell.name, lines[-1])
    part = cell.head(few)
    began = time.perf_counter()
    z = CSGM(step_size=0.05, tolerance=1e-6)(part).z
    seconds = time.perf_counter() - began
    lines.append(_line("csgm", "deepinv CSGM, one at a time", z, part.truth, seconds))
    _say(cell.name, lines[-1])
    return lines


def _say(cell: str, line: dict[str, Any]) -> None:
    print(f"{cell} {line['method']}: {line['recovered']} of {line['targets']}, "
          f"{line['seconds']:.1f} s, compilation {line.get('compilation_seconds', 0):.1f} s",
          flush=True)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--few", type=int, default=16, help="targets of one-at-a-time rivals")
    parser.add_argument("--operators", nargs="+", default=["all pixels", "gaussian:20"])
    parser.add_argument("--seed", type=int, default=2019)
    parser.add_argument("--out", default="published-rivals.json")
    options = parser.parse_args(arguments)
    from surfing.zoo.packaged import packaged

    trajectory, before = packaged(), environment()
    net: nn.Module = open_generator(trajectory)
    cells = build_cells(
        trajectory, net, operators=options.operators, targets=options.targets, seed=options.seed
    )
    torch.set_num_threads(1)
    record = {
        "settings": {name: value for name, value in vars(options).items() if name != "out"},
        "environment": before,
        "cells": {cell.name: measured(cell, options.few) for cell in cells},
    }
    write_record(options.out, record)


if __name__ == "__main__":
    main()

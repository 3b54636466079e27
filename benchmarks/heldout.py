"""Images that the generator can't make: PSNR at equal wall time, against restarts.

`recover` has so many seconds for each target. So have restarts of Levenberg-Marquardt and of Adam
from new draws, all targets in a batch, on our engine: they keep the best and are stopped by the
clock wherever they are. Each is run alone, one after the other.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor

import surfing
from benchmarks import measure
from benchmarks.allin import open_run
from benchmarks.recovery import describe
from surfing.descent import minimise
from surfing.zoo.data import load_images

__all__ = ["main", "restarts", "table"]

app = App(help=__doc__)

RIVALS: dict[str, tuple[str, Any, int]] = {
    "lm": ("LM restarts", surfing.LevenbergMarquardt(), 40),
    "adam .02": (
        "Adam restarts, step .02",
        surfing.TorchOptim(partial(torch.optim.Adam, lr=0.02)),
        1000,
    ),
    "adam .1": (
        "Adam restarts, step .1",
        surfing.TorchOptim(partial(torch.optim.Adam, lr=0.1)),
        300,
    ),
}
"""Label, descent and steps of a restart."""


@app.default
def main(
    run: Annotated[str, Parameter(name="RUN")],
    data: str,
    *,
    seconds: tuple[float, ...] = (0.5, 2, 10),
    targets: int = 8,
    out: Path = Path("docs/records/held-out.json"),
    seed: int = 1,
    threads: int = 1,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, add to the record, and write its table (the same name, .md).

    Args:
        run: a trajectory whose manifest names a zoo architecture; or packaged.
        data: fashion-mnist, digits, or a folder or zip of pictures; those held out are used.
        seconds: for each target.
        targets: held-out images.
        out: the record.
        seed: of the choice of images and of everything random.
        threads: of torch.
        short: 2 targets and a tenth of a second: shows that it runs.
    """
    torch.set_num_threads(threads)
    if short:
        targets, seconds = 2, (0.1,)
    trajectory = open_run(run)
    model = surfing.ForwardModel(trajectory)
    y, peak = held_out(model, data, targets, seed)
    surfing.recover(model, y[:1], budget=300)  # kernels and caches
    lines: dict[str, list[float]] = {}
    for each in seconds:
        total = each * targets
        began = time.perf_counter()
        found = surfing.recover(model, y, budget=1e9, seconds=total, seed=seed)
        spent = [time.perf_counter() - began]
        lines.setdefault("recover", []).append(_psnr(found.x, y, peak))
        for name, (_, descent, steps) in RIVALS.items():
            began = time.perf_counter()
            x = restarts(model, y, descent, steps=steps, seconds=total, seed=seed)
            spent.append(time.perf_counter() - began)
            lines.setdefault(name, []).append(_psnr(x, y, peak))
        print(each, {k: v[-1] for k, v in lines.items()}, spent, file=sys.stderr, flush=True)
    cells = [] if short else measure.cells_of(out)
    key = {"run": run.split("/")[-1], "targets": targets}
    cells = [c for c in cells if not key.items() <= c.items()]
    cells.append(
        key | {"trajectory": describe(trajectory), "seconds": list(seconds), "psnr": lines}
    )
    record = {"benchmark": "held out", "quick": short} | measure.environment()
    record |= {"seed": seed, "cells": cells}
    measure.write_record(out, record)
    out.with_suffix(".md").write_text(table(record))
    return record


def held_out(
    model: surfing.ForwardModel, data: str, targets: int, seed: int
) -> tuple[Tensor, float]:
    """Images in the generator's range, and the width of that range."""
    images = load_images(
        data, train=False, image_size=model.signal_shape[-1], channels=model.signal_shape[0]
    )
    pick = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:targets]
    z = model.latent.sample([0], 50, seed=seed)[0]
    signed = float(model.signals(z).min()) < -0.05
    x = images[pick].to(model.dtype) / 255
    x = 2 * x - 1 if signed else x
    return x, 2.0 if signed else 1.0


def restarts(
    model: surfing.ForwardModel, y: Tensor, descent: Any, *, steps: int, seconds: float, seed: int
) -> Tensor:
    """Signals of the best latents that restarts come to before the time is up."""
    until = time.perf_counter() + seconds
    problem = model.problem(y)
    risk = problem.risk(model.last, torch.arange(len(y)))
    best_z, best, number = None, torch.full((len(y),), torch.inf, dtype=torch.float64), 0
    while time.perf_counter() < until or best_z is None:
        z = model.latent.sample(range(len(y)), 1, seed=seed + 1000 * number)[:, 0].to(y)
        end = minimise(risk, z, descent, max_steps=steps, until=until)
        better = end.value < best
        best = torch.where(better, end.value, best)
        best_z = end.z if best_z is None else torch.where(better[:, None], end.z, best_z)
        number += 1
    return model.signals(best_z)


def _psnr(x: Tensor, y: Tensor, peak: float) -> float:
    square = (x - y).square().flatten(1).mean(1)
    return float((10 * torch.log10(peak**2 / square)).mean())


def table(record: dict[str, Any]) -> str:
    """The record as a table in Markdown."""
    labels = {"recover": "recover"} | {name: label for name, (label, _, _) in RIVALS.items()}
    lines = [
        "| generator | images | seconds a target | " + " | ".join(labels.values()) + " |",
        "| --- " * (3 + len(labels)) + "|",
    ]
    for cell in record["cells"]:
        for number, each in enumerate(cell["seconds"]):
            shown = " | ".join(f"{cell['psnr'][name][number]:.2f} dB" for name in labels)
            lines.append(f"| {cell['run']} | {cell['targets']} | {each:g} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app(result_action="return_none")

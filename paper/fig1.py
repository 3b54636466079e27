"""Figure 1: the surface at three stages of training, two targets, and the surfer on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from paper.cells import PACKAGED, available, open_cell
from paper.document import labelled, save
from paper.registry import Record
from paper.running import Run
from surfing.continuation import EqualDrift, surf
from surfing.evaluation.samples import own_samples
from surfing.generator import Generator
from surfing.report import Column, Table
from surfing.report.landscape import slice_through
from surfing.report.tables import number

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "run"]


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of targets and starts.
        cells: the first of these that is trained is drawn.
        targets: surfers, each on a plane of its own.
        stages: of the ride.
        size: points along each side of a surface.
    """

    seed: int = 0
    cells: tuple[str, ...] = ("vae-k2", "vae-k10")
    targets: int = 2
    stages: int = 20
    size: int = 61


FULL = Config()
QUICK = Config(cells=(PACKAGED,), stages=5, size=9)


def _tasks(config: Config) -> dict[str, tuple[str]]:
    cell = available(config.cells)[0]
    return {cell: (cell,)}


def _measure(config: Config, cell: str) -> dict[str, Any]:
    bed, began = open_cell(cell), time.perf_counter()
    own = own_samples(bed.trajectory, bed.generator, config.targets, seed=config.seed)
    solution = surf(
        bed.trajectory,
        own.x,
        generator=bed.generator,
        schedule=EqualDrift(config.stages),
        seed=config.seed,
    )
    ride = solution.stages
    shown = (0, len(ride) // 2, len(ride) - 1)
    generator = Generator(bed.generator)
    panels = []
    for target, (z, x) in enumerate(zip(own.z, own.x)):
        path = torch.stack([stage.z[target] for stage in ride])
        for index in shown:
            bound = generator.at(bed.trajectory.at(ride[index].stage))

            def risk(
                latents: torch.Tensor, x: torch.Tensor = x, bound: Any = bound
            ) -> torch.Tensor:
                with torch.no_grad():
                    gap: torch.Tensor = bound(latents) - x
                    return gap.flatten(1).square().sum(1) / 2

            plane = slice_through(risk, path, size=config.size)
            panels.append(
                {
                    "target": target,
                    "step": ride[index].step,
                    "across": _rounded(plane.across),
                    "up": _rounded(plane.up),
                    "risk": [_rounded(row) for row in plane.risk],
                    "path": [_rounded(point) for point in plane.path[: index + 1]],
                    "truth": _rounded(plane.project(z[None])[0]),
                }
            )
    error = (solution.z - own.z).norm(dim=1).tolist()
    seconds = round(time.perf_counter() - began, 2)
    return {"cell": cell, "k": own.z.shape[1], "error": error, "panels": panels, "seconds": seconds}


def _rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{v:.4g}") for v in values.tolist()]


run = Run("fig1", _tasks, _measure)
"""One part."""


def figures(record: Record, out: Path) -> list[Path]:
    """A row per target, a column a stage; dark is low, the cross is the truth."""
    (part,) = record["results"].values()
    panels = part["panels"]
    rows = len(part["error"])
    figure = Figure(figsize=(8.4, 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, len(panels) // rows, squeeze=False)
    for ax, panel in zip(axes.ravel(), panels):
        height = np.log10(np.maximum(np.asarray(panel["risk"]), 1e-6))
        levels = np.unique(np.quantile(height, np.linspace(0, 1, 20)))
        if len(levels) > 2:
            ax.contourf(panel["across"], panel["up"], height, levels=levels, cmap="bone")
        path = np.asarray(panel["path"])
        ax.plot(path[:, 0], path[:, 1], color="#e2a03f", lw=1.4, marker="o", ms=3)
        ax.plot(*path[-1], "o", color="#c44536", ms=7)
        ax.plot(*panel["truth"], "x", color="white", ms=9, mew=2)
        ax.set_title(f"target {panel['target'] + 1}, step {panel['step']:.0f}", fontsize=8)
        ax.set_aspect("equal")
        ax.tick_params(labelsize=7)
    plane = "" if part["k"] == 2 else ", the plane of each path's two main directions"
    figure.suptitle(f"{labelled(part['cell'])}{plane}", fontsize=9)
    return [save(figure, out / "fig1-surfaces.png")]


def markdown(record: Record) -> str:
    """Where the surfers ended."""
    (part,) = record["results"].values()
    table = Table("", [Column("target", "target"), Column("error", "||z_T - z*||", number)], notes=(
        f"{labelled(part['cell'])}; the surfer on the surface of three of its "
        f"{record['config']['stages']} stages.",
    ))  # fmt: skip
    for target, error in enumerate(part["error"]):
        table = table.add(target=target + 1, error=error)
    return table.markdown()

"""Are the draws of `surfing.sample` as sure as they say: ranks and intervals on known truths.

Truths are drawn from the law, measured, and noise is added; then the truth is one more draw of the
posterior, so that its rank among the draws is uniform (simulation-based calibration, Talts et al.
2018) and an interval of 95% holds it 95 times in a hundred. Levels of noise are shares of the
spread of the measurements about their mean.

    python -m benchmarks.calibration                        the packaged generator
    python -m benchmarks.calibration packaged DIR DIR       others too, folders of trajectories
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor

import surfing
from benchmarks.measure import write_record
from surfing.evaluation.record import provenance

__all__ = ["Cell", "chi_squared", "main", "ranks"]

app = App(help=__doc__)

LEVELS = (0.5, 0.9, 0.95)
MEASURED = ("1.5k", "2k", "4k", "all")
NOISE = (0.02, 0.1, 0.5)
BINS = 10
ONE_MODE = 0.95
"""Share of the mass that one mode has to hold, to count as holding it."""


@dataclass(frozen=True)
class Cell:
    """Targets of one generator, measured in one way at one level of noise."""

    model: surfing.ForwardModel
    truth: Tensor
    y: Tensor
    noise: float

    @classmethod
    def of(
        cls, trajectory: surfing.Trajectory, measured: str, share: float, targets: int, seed: int
    ) -> Cell:
        """Own samples, with noise of a share of the measurements' spread."""
        k = trajectory.latent.dim
        operator = None if measured == "all" else f"gaussian:{round(float(measured[:-1]) * k)}"
        model = surfing.ForwardModel(trajectory, operator=operator, operator_seed=seed)
        # Every cell has truths of its own: what chance does to one it does not do to the next.
        name = f"{seed} {measured} {share}"
        stream = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        own = int(torch.randint(2**40, (), generator=stream))
        truth = model.latent.sample(range(targets), 1, seed=own)[:, 0]
        y = model.measure(model.signals(truth))
        spread = float((y - y.mean(0)).square().mean().sqrt())
        noise = share * spread
        return cls(model, truth, y + noise * torch.randn(y.shape, generator=stream), noise)


def ranks(draws: surfing.Draws, truth: Tensor, *, seed: int = 0) -> Tensor:
    """Of the truth among weighted draws, uniform on (0, 1); (targets, k + 1).

    The last is that of the distance from the law's mean, which all coordinates are part of.
    """
    z = torch.cat([draws.z, draws.z.norm(dim=-1, keepdim=True)], -1)
    true = torch.cat([truth, truth.norm(dim=-1, keepdim=True)], -1).unsqueeze(1)
    weight = draws.weights.unsqueeze(-1)
    below = (weight * (z < true)).sum(1)
    size = draws.ess.unsqueeze(-1).clamp(min=1)
    stream = torch.Generator().manual_seed(seed)
    chance = torch.rand(below.shape, generator=stream, dtype=torch.float64)
    return (below * size + chance) / (size + 1)


def chi_squared(rank: Tensor, bins: int = BINS) -> float:
    """Probability of ranks as uneven as these, were they uniform: the least of all columns, times
    their number (Bonferroni)."""
    expected, found = len(rank) / bins, []
    for column in rank.T:
        counts = torch.histc(column.double(), bins=bins, min=0, max=1)
        statistic = float(((counts - expected).square() / expected).sum())
        half = torch.tensor((bins - 1) / 2, dtype=torch.float64)
        found.append(float(torch.special.gammaincc(half, torch.tensor(statistic / 2).double())))
    return min(1.0, min(found) * len(found))


def coverage(draws: surfing.Draws, truth: Tensor, chosen: Tensor) -> dict[str, list[float]]:
    """How often each interval holds, and its standard error by targets."""
    told = {}
    for level in LEVELS:
        low, high = draws.interval(level)
        held = ((truth >= low) & (truth <= high)).double().mean(1)[chosen]
        error = float(held.std()) / math.sqrt(max(1, len(held))) if len(held) > 1 else math.nan
        told[f"{level:g}"] = [float(held.mean()) if len(held) else math.nan, error]
    return told


def measure(cell: Cell, *, draws: int, seed: int) -> dict[str, Any]:
    """Sample one cell, solve it once, and compare."""
    targets = len(cell.y)
    made = surfing.sample(cell.model, cell.y, noise=cell.noise, draws=draws, seed=seed)
    began = time.perf_counter()
    solved = surfing.recover(cell.model, cell.y, noise=cell.noise, prior="law", seed=seed)
    seconds = time.perf_counter() - began
    once = float(solved.cost.mean()) + solved.cost_once / targets
    all_in = float(made.cost.mean()) + made.cost_once / targets
    rank = ranks(made, cell.truth, seed=seed)
    single = (made.modes.mass[:, 0] >= ONE_MODE) & (made.status == 0)
    everybody = torch.ones_like(single)
    statuses = [surfing.DrawsStatus(int(s)).label for s in made.status]
    return {
        "targets": targets,
        "noise": cell.noise,
        "p": chi_squared(rank),
        "ranks": [
            torch.histc(rank[:, :-1].flatten(), bins=20, min=0, max=1).int().tolist(),
            rank[:, :-1].numel(),
        ],
        "coverage": coverage(made, cell.truth, everybody),
        "one_mode": {"targets": int(single.sum()), **coverage(made, cell.truth, single)},
        "ess": [float(made.ess.quantile(q)) for q in (0.1, 0.5, 0.9)],
        "modes": float(made.modes.count.double().mean()),
        "status": {name: statuses.count(name) for name in dict.fromkeys(statuses)},
        "cost": all_in,
        "solve_cost": once,
        "cost_ratio": all_in / once,
        "seconds": made.seconds,
        "solve_seconds": seconds,
    }


@app.default
def main(
    *models: Path,
    out: Path = Path("docs/records/calibration.json"),
    measured: tuple[str, ...] = MEASURED,
    noise: tuple[float, ...] = NOISE,
    targets: int = 200,
    draws: int = 100,
    seed: int = 0,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, and write the record.

    Args:
        models: folders of trajectories whose architecture is of the zoo, or packaged.
        out: the record; cells that it holds of the same settings are kept.
        measured: 1.5k, 2k and 4k for so many Gaussian measurements, or all.
        noise: levels, as shares of the measurements' spread.
        targets: of each cell.
        draws: of each target.
        seed: of everything random.
        short: 4 targets and two cells: shows that it runs.
    """
    torch.set_num_threads(1)
    if short:
        measured, noise, targets, draws = measured[1:2], noise[1:], 4, 20
    began = time.perf_counter()
    record = json.loads(out.read_text()) if out.is_file() else {}
    settings = {"targets": targets, "draws": draws, "seed": seed}
    if record.get("settings") != settings:
        record = {"settings": settings, "cells": {}} | {
            name: record[name] for name in ("two_modes", "rival") if name in record
        }
    for model in models or (Path("packaged"),):
        packaged = str(model) == "packaged"
        trajectory = surfing.zoo.packaged() if packaged else surfing.Trajectory.open(model)
        for amount in measured:
            for share in noise:
                name = f"{model.name} {amount} {share:g}"
                if name in record["cells"]:
                    continue
                cell = Cell.of(trajectory, amount, share, targets, seed)
                record["cells"][name] = measure(cell, draws=draws, seed=seed)
                print(name, _line(record["cells"][name]), flush=True)
                record |= provenance(seed, began=began)
                write_record(out, record)
    print(summary(record))
    return record


def _line(cell: dict[str, Any]) -> str:
    held = " ".join(f"{level}: {c[0]:.3f}" for level, c in cell["coverage"].items())
    one = cell["one_mode"]
    return (
        f"p {cell['p']:.3f}, held {held}, with one mode ({one['targets']}) {one['0.95'][0]:.3f}, "
        f"ess {cell['ess'][1]:.0f}, cost {cell['cost']:.0f}, {cell['cost_ratio']:.1f} solves"
    )


def summary(record: dict[str, Any]) -> str:
    """A line: in how many cells ranks are uniform, what intervals hold, what it costs."""
    cells: Sequence[dict[str, Any]] = list(record["cells"].values())
    if not cells:
        return "no cells"
    even = sum(cell["p"] >= 0.01 for cell in cells)
    held = [cell["one_mode"]["0.95"][0] for cell in cells if cell["one_mode"]["targets"] >= 20]
    ratio = max(cell["cost_ratio"] for cell in cells)
    span = f"{min(held):.3f} to {max(held):.3f}" if held else "no cell"
    return (
        f"ranks not rejected at .01 in {even} of {len(cells)} cells; 95% intervals with one mode: "
        f"{span}; at most {ratio:.1f} times the cost of one solve"
    )


if __name__ == "__main__":
    app(result_action="return_none")

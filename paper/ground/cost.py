"""Success against cost: every way a point, restarts of direct Adam a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from paper.ground.comparing import (
    Pair,
    all_in,
    first_found,
    mean_cost,
    of_first,
    restarted,
    total,
)
from paper.ground.groups import Group, groups
from paper.ground.pictures import grid, intervals, marker_of, style_of, with_legend
from paper.ground.tasks import DIRECT, RIDE
from surfing.report.tables import count

__all__ = ["AT_COST", "COST_CAPTION", "success_at_cost"]

Record = Mapping[str, Any]

AT_COST = "ground-cost.png"
"""The picture at the top of the page."""

COST_CAPTION = (
    "Latents found against cost, with 95% intervals. The line: direct Adam started again, up to "
    "the ride's cost, on the first 60 targets of models where it was run anew and on all of the "
    "others; where fewer were run than it pays for, those, which flatters the ride. Hollow "
    "markers: ways with a penalty, or that start again until solved."
)
"""Under that picture."""

_POINTS = 60
_TICKS = (30, 100, 300, 1000, 3000, 9000)


@dataclass(frozen=True)
class Panel:
    """One share of the signal that was measured.

    Attributes:
        title: what was measured, of how many models.
        points: by way, forward-equivalents a target all in, and (found, targets).
        restarts: of direct Adam, forward-equivalents and the share that they find.
    """

    title: str
    points: Mapping[str, tuple[float, Pair]]
    restarts: tuple[list[float], list[float]]


def success_at_cost(record: Record, out: Path) -> list[Path]:
    """The models together, all ways on the same networks and targets."""
    panels = list(_panels(record))
    if not panels:
        return []
    figure, axes = grid(len(panels))
    for ax, panel in zip(axes, panels):
        _draw(ax, panel)
    axes[0].set_ylabel("latents found", fontsize=8)
    return [with_legend(figure, axes, out / AT_COST)]


def _panels(record: Record) -> Iterator[Panel]:
    for group in groups(record):
        models, main = group.together()
        if not models:
            continue
        number = min(len(cell["error"]) for cells in main.values() for cell in cells)
        points = {}
        for way in group.ways:
            cells = group.of(way)
            if all(m in cells and cells[m]["targets"] >= number for m in models):
                own = [of_first(cells[model], number) for model in models]
                points[way] = fmean(map(all_in, own)), total(map(first_found, own))
        title = f"{group.what}: {len(models)} models, {number} targets"
        yield Panel(title, points, _restarts(group, models))


def _restarts(group: Group, models: list[str]) -> tuple[list[float], list[float]]:
    """For shares of the ride's cost, from where it pays for a start of some model to all of it.

    Where it pays for less than one start of a model, as many of its targets have one; where fewer
    were run than it pays for, it is told with those.
    """
    rides, cells = group.of(RIDE), group.of_restarts()
    if not all(model in rides and model in cells for model in models):
        return [], []
    ride = {model: all_in(rides[model]) for model in models}
    each = {model: mean_cost(cells[model]) for model in models}
    least = min(each[model] / ride[model] for model in models)
    parts = np.geomspace(least, 1.0, _POINTS).tolist() if least < 1 else []
    found = [fmean(restarted(cells[m], part * ride[m] / each[m]) for m in models) for part in parts]
    return [part * fmean(ride.values()) for part in parts], found


def _draw(ax: Axes, panel: Panel) -> None:
    costs, found = panel.restarts
    if costs:
        ax.plot(costs, found, label=f"{DIRECT}, restarts", **style_of(DIRECT) | {"lw": 1.4})
    for way, (cost, pair) in panel.points.items():
        intervals(ax, [cost], [pair], label=way, **marker_of(way))
    ax.set_xscale("log")
    ax.set_xticks(_TICKS, [count(tick) for tick in _TICKS])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(_TICKS[0], 1.2 * _TICKS[-1])
    ax.set_ylim(-0.03, 1.03)
    ax.set_title(panel.title, fontsize=8, loc="left")
    ax.set_xlabel("forward-equivalents a target, all in", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)

"""Success against cost: one curve per method, each with its name at its end."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from surfing import check
from surfing.report.intervals import wilson
from surfing.report.palette import INK, LINES
from surfing.report.tables import count

__all__ = ["affordable", "leading", "success_against_cost"]

Curve = Sequence[tuple[float, int, int]]

_LINE = 0.155
"""Inches from one line of a label to the next."""


def success_against_cost(
    curves: Mapping[str, Curve], *, most: int = 6, ax: Axes | None = None
) -> Axes:
    """Success rates with 95% Wilson bands against cost, each method named at the end of its curve.

    A budget at which a method was not tried at all (no trials) is not drawn.

    Args:
        curves: by method, points (forward-equivalents per target, successes, trials).
        most: how many methods are drawn: those with the highest mean share. The title says how
            many are not.
        ax: draw into this one; the names are written to its right.

    Raises:
        InputError: `most` is not positive.
    """
    check.integer("most", most, low=1)
    if ax is None:
        ax = Figure(figsize=(6.6, 3.6), layout="constrained").subplots()
    drawn = leading(curves, most)
    ends: list[tuple[float, str, str]] = []
    for (name, points), (colour, dashes, marker) in zip(drawn.items(), LINES * len(drawn)):
        share = _draw(ax, points, colour, dashes, marker)
        ends.append((share, name, colour))
    # Of curves that end alike the one that was ahead before is named first.
    ends.sort(key=lambda end: -sum(met / n for _, met, n in drawn[end[1]]) / len(curves[end[1]]))
    _frame(ax, sorted({cost for points in drawn.values() for cost, _, _ in points}))
    _name(ax, ends)
    if len(drawn) < len(curves):
        told = f"the {len(drawn)} best of {len(curves)} methods by their mean share"
        ax.set_title(told, fontsize=8, color=INK, loc="left")
    return ax


def affordable(points: Curve) -> list[tuple[float, int, int]]:
    """The points at which anything was tried, in the order of their cost."""
    return sorted(point for point in points if point[2] > 0)


def leading(curves: Mapping[str, Curve], most: int) -> dict[str, list[tuple[float, int, int]]]:
    """The curves with the highest mean share, in the order in which they were given.

    A budget that a method could not afford counts as none found, so that a method is not drawn
    for its last point alone.
    """
    known = {name: kept for name, points in curves.items() if (kept := affordable(points))}
    mean = {
        name: sum(met / n for _, met, n in points) / len(curves[name])
        for name, points in known.items()
    }
    best = set(sorted(mean, key=lambda name: -mean[name])[:most])
    return {name: points for name, points in known.items() if name in best}


def _draw(
    ax: Axes, points: Sequence[tuple[float, int, int]], colour: str, dashes: str, marker: str
) -> float:
    """One curve and its band; the share at its end."""
    cost = [point[0] for point in points]
    bands = [wilson(met, n) for _, met, n in points]
    share = [met / n for _, met, n in points]
    low, high = [band[0] for band in bands], [band[1] for band in bands]
    ax.fill_between(cost, low, high, color=colour, alpha=0.08, linewidth=0)
    ax.plot(cost, share, color=colour, ls=dashes, marker=marker, ms=4.5, lw=1.6, clip_on=False)
    return share[-1]


def _frame(ax: Axes, costs: Sequence[float]) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(_spaced(costs)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(0, 1)
    ax.set_xlabel("cost, forward-equivalents per target", fontsize=9)
    ax.set_ylabel("targets found", fontsize=9)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    ax.grid(axis="y", color="#e6e6e6", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, colors=INK)


def _spaced(costs: Sequence[float]) -> list[float]:
    """The budgets themselves, less those too close to the last one kept."""
    kept: list[float] = []
    for cost in costs:
        if not kept or cost >= 1.5 * kept[-1]:
            kept.append(cost)
    return kept


def _name(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names beside the ends of their curves, moved apart where they would overlap."""
    if not ends:
        return
    box = ax.get_position()
    tall = max(0.5, ax.figure.bbox.height / ax.figure.dpi * box.height)
    ordered = sorted(ends, key=lambda end: -end[0])
    labels = [textwrap.fill(name, 30) for _, name, _ in ordered]
    heights = [(1 + label.count("\n")) * _LINE / tall + 0.015 for label in labels]
    places = _apart([share for share, _, _ in ordered], heights)
    for place, label, (share, _, colour) in zip(places, labels, ordered):
        ax.annotate(
            label,
            xy=(1.0, share),
            xytext=(1.09, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=8,
            color=colour,
            va="center",
            ha="left",
            linespacing=1.05,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Centres of labels, from the top down: as near to what is wanted as there is room."""
    places: list[float] = []
    for want, height in zip(wanted, heights):
        above = places[-1] - heights[len(places) - 1] / 2 if places else 1.0 + height
        places.append(min(want, above - height / 2))
    low = heights[-1] / 2 - 0.1
    for i in range(len(places) - 1, -1, -1):
        places[i] = max(places[i], low)
        low = places[i] + heights[i] / 2 + (heights[i - 1] / 2 if i else 0)
    return places

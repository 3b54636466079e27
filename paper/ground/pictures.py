"""Pictures of the record: samples, latents found, distances from the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from paper.ground.comparing import FOUND, Pair
from paper.ground.groups import ANNEALED, CARRIED, EVERY, LATE, LM_DIRECT, RECOVER, STAGES
from paper.ground.model import MODELS, parts_of, place
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.text import labelled
from paper.ground.ways import AGAIN
from surfing import files
from surfing.report.intervals import wilson
from surfing.report.palette import LINES
from surfing.report.tables import count

__all__ = [
    "along",
    "contact_sheet",
    "cumulative",
    "found_by_model",
    "grid",
    "intervals",
    "marker_of",
    "on_the_wave",
    "saved",
    "style_of",
    "with_legend",
]


def contact_sheet(samples: Mapping[str, Sequence[Sequence[Sequence[int]]]], path: Path) -> Path:
    """A strip of 24 samples a model, taken as they come."""
    names = [*(m for m in MODELS if m in samples), *(m for m in samples if m not in MODELS)]
    columns = 3
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(9.6, 1.3 * lines), layout="constrained")
    for ax, name in zip(figure.subplots(lines, columns, squeeze=False).ravel(), names):
        images = np.asarray(samples[name][:24], dtype=np.uint8)
        strip = images.reshape(3, 8, *images.shape[1:]).transpose(0, 2, 1, 3)
        strip = strip.reshape(3 * images.shape[1], -1)
        ax.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(labelled(name), fontsize=7, pad=2)
    for ax in figure.axes:
        ax.set_axis_off()
    return saved(figure, path, dpi=110)


def found_by_model(panels: Mapping[str, Mapping[str, Mapping[str, Pair]]], path: Path) -> Path:
    """Shares found with their intervals, model by model.

    Args:
        panels: by title and way, (found, targets) of each model.
        path: where the picture goes.
    """
    models = sorted({m for ways in panels.values() for pairs in ways.values() for m in pairs},
                    key=place)  # fmt: skip
    figure = Figure(figsize=(9.6, 0.6 + 2.1 * len(panels)), layout="constrained")
    axes = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False).ravel())
    for ax, (title, ways) in zip(axes, panels.items()):
        for number, (way, pairs) in enumerate(ways.items()):
            shift = 0.13 * (number - (len(ways) - 1) / 2)
            intervals(ax, [models.index(m) + shift for m in pairs], list(pairs.values()),
                      label=way, **marker_of(way) | {"ms": 4})  # fmt: skip
        ax.set_ylim(-0.03, 1.03)
        ax.set_ylabel("latents found", fontsize=8)
        ax.tick_params(axis="y", labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(title, fontsize=9, loc="left")
        ax.set_xticks(range(len(models)), [_short(model) for model in models], fontsize=7)
    return with_legend(figure, axes, path, columns=4)


def intervals(ax: Axes, places: Sequence[float], pairs: Sequence[Pair], **style: Any) -> None:
    """Shares found as points with their 95% intervals."""
    shares = [found / targets for found, targets in pairs]
    bands = [wilson(*pair) for pair in pairs]
    below = [max(0.0, s - low) for s, (low, _) in zip(shares, bands)]
    above = [max(0.0, high - s) for s, (_, high) in zip(shares, bands)]
    ax.errorbar(places, shares, (below, above), lw=1, **style)


def _short(model: str) -> str:
    kind, latents, *_ = parts_of(model)
    return f"{kind.upper()}\nk={latents}"


_MARKERS = {
    DIRECT: 0,
    RIDE: 1,
    LM_DIRECT: 2,
    STAGES: 3,
    CARRIED: 5,
    RECOVER: 4,
}
"""Place in the palette of the ways whose shares are drawn."""

_HOLLOW = {
    ANNEALED: (2, "s"),
    LATE: (3, "v"),
    EVERY: (3, "P"),
    f"{LM_DIRECT}{AGAIN}": (2, "D"),
    f"{STAGES}{AGAIN}": (3, "^"),
}
"""Place in the palette and marker of the other ways."""

_LOOK = {
    DIRECT: (0, 2.6),
    RIDE: (1, 2.6),
    LM_DIRECT: (0, 1.1),
    STAGES: (1, 1.1),
    ANNEALED: (2, 1.1),
    LATE: (3, 1.1),
    EVERY: (5, 1.1),
    CARRIED: (2, 2.2),
    f"{LM_DIRECT}{AGAIN}": (0, 1.8),
    f"{STAGES}{AGAIN}": (1, 1.8),
    RECOVER: (4, 1.8),
}
"""Place in the palette and width of each way's line: Adam's are thick."""


def cumulative(
    panels: Mapping[str, Sequence[Mapping[str, Any]]],
    path: Path,
    *,
    key: str = "error",
    label: str = "||z - z*||, dotted: .01",
    mark: float | None = FOUND,
) -> Path:
    """Figures 2 and 4: cumulative shares of the targets by how near first starts come.

    Args:
        panels: by title, the cells of one model and one number of measurements.
        path: where the picture goes.
        key: of the distances in a cell.
        label: of their axis.
        mark: a distance to be told apart.
    """
    figure, axes = grid(len(panels))
    for ax, (title, cells) in zip(axes, panels.items()):
        _curves(ax, cells, key)
        if mark is not None:
            ax.axvline(mark, color="#888888", lw=0.8, ls=":")
        ax.set_title(title, fontsize=8)
        ax.set_xlabel(label, fontsize=8)
        ax.set_ylabel("share of targets below", fontsize=8)
    for ax in axes:
        ax.set_xlim(min(a.get_xlim()[0] for a in axes), max(a.get_xlim()[1] for a in axes))
    return with_legend(figure, axes, path)


def _curves(ax: Axes, cells: Sequence[Mapping[str, Any]], key: str) -> None:
    for cell in cells:
        errors = np.sort([row[0] for row in cell[key]]).clip(1e-6)
        share = np.arange(1, len(errors) + 1) / len(errors)
        ax.step(errors, share, where="post", label=cell["method"], **style_of(cell["method"]))
    ax.set_xscale("log")
    ax.set_ylim(-0.03, 1.03)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=7)


def grid(number: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, side by side and below one another."""
    columns = {4: 2, 8: 4}.get(number, min(3, number))
    lines = -(-number // columns)
    size = (0.8 + 2.6 * columns, 1.2 + 2.5 * lines)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(lines, columns, sharey=True, squeeze=False).ravel())
    for ax in axes[number:]:
        ax.set_axis_off()
    return figure, axes[:number]


def with_legend(figure: Figure, axes: Sequence[Axes], path: Path, *, columns: int = 3) -> Path:
    """Saved with one legend for all panels, in the order of the ways."""
    shown = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels())}
    names = sorted(shown, key=lambda name: [*_LOOK, name].index(name))
    figure.legend([shown[name] for name in names], names, loc="outside lower center",
                  ncols=min(columns, len(names)), frameon=False, fontsize=8)  # fmt: skip
    return saved(figure, path)


def along(
    ax: Axes, ways: Mapping[str, Sequence[tuple[int, Pair]]], *, ticks: Sequence[int]
) -> None:
    """Shares found of each way along a logarithmic axis, with their intervals.

    Args:
        ax: drawn into.
        ways: (place, (found, targets)) in order, by way.
        ticks: places that are named.
    """
    for way, points in ways.items():
        at = [place for place, _ in points]
        bands = [wilson(*pair) for _, pair in points]
        style = style_of(way)
        ax.fill_between(at, [b[0] for b in bands], [b[1] for b in bands],
                        color=style["color"], alpha=0.08, lw=0)  # fmt: skip
        ax.plot(at, [found / targets for _, (found, targets) in points], label=way, **style)
    ax.set_xscale("log")
    ax.set_xticks(ticks, [count(tick) for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("latents found", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def style_of(way: str) -> dict[str, Any]:
    """How the line of a way is drawn, the same in all pictures."""
    place, wide = _LOOK[way]
    colour, dashes, _ = LINES[place]
    return {"color": colour, "ls": dashes, "lw": wide}


def marker_of(way: str) -> dict[str, Any]:
    """How the point of a way is drawn, the same in all pictures; the others are hollow."""
    if way in _MARKERS:
        colour, _, marker = LINES[_MARKERS[way]]
        return {"color": colour, "fmt": marker, "ms": 6}
    place, marker = _HOLLOW[way]
    return {"color": LINES[place][0], "fmt": marker, "ms": 6, "mfc": "white"}


def on_the_wave(rides: Mapping[str, Sequence[float]], path: Path) -> Path:
    """Share of targets near the truth's minimiser, network by network.

    Args:
        rides: by name, a share a network.
        path: where the picture goes.
    """
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    ax = figure.subplots()
    for (name, shares), (colour, dashes, _) in zip(rides.items(), LINES):
        ax.plot(range(len(shares)), shares, color=colour, ls=dashes, lw=1.6, label=name)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("network", fontsize=8)
    ax.set_ylabel("targets on the wave", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return saved(figure, path)


def saved(figure: Figure, path: Path, dpi: int = 120) -> Path:
    """The picture, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    return path

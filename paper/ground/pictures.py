"""Pictures of the record: samples, latents found, distances from the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.ground.comparing import FOUND
from paper.ground.model import MODELS
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.tuning import picked
from surfing.report.intervals import wilson
from surfing.report.palette import LINES

__all__ = ["contact_sheet", "distances", "found_by_model", "labelled"]


def labelled(model: str) -> str:
    """A model for people: wgan-gp-k10 is WGAN-GP, k=10."""
    name, _, rest = model.partition("-k")
    k, _, more = rest.partition("-")
    told = {"": "", "w": f", width {more[1:]}", "x": f", {more[1:]} times the steps"}[more[:1]]
    return f"{name.upper()}, k={k}{told}"


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
    return _saved(figure, path, dpi=110)


def found_by_model(record: Mapping[str, Any], path: Path) -> Path:
    """Shares found while step sizes were chosen, with intervals: the picked ones."""
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    panels = (("all", "all pixels measured"), ("2k", "2k Gaussian measurements"))
    for ax, (where, title) in zip(figure.subplots(2, 1, sharex=True), panels):
        lines = [line for line in picked(record) if line.where == where]
        for number, way in enumerate((DIRECT, RIDE)):
            pairs = [line.found(way) for line in lines]
            colour, _, marker = LINES[number]
            places = [i + 0.16 * (2 * number - 1) for i in range(len(lines))]
            _intervals(ax, places, pairs, color=colour, fmt=marker, label=way)
        ax.set_title(title, fontsize=9, loc="left")
        ax.set_xticks(range(len(lines)), [_short(line.model) for line in lines], fontsize=7)
    figure.axes[0].legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
    return _saved(figure, path)


def _intervals(
    ax: Axes, places: Sequence[float], pairs: Sequence[tuple[int, int]], **style: Any
) -> None:
    shares = [found / targets for found, targets in pairs]
    bands = [wilson(*pair) for pair in pairs]
    below = [max(0.0, s - low) for s, (low, _) in zip(shares, bands)]
    above = [max(0.0, high - s) for s, (_, high) in zip(shares, bands)]
    ax.errorbar(places, shares, (below, above), ms=4, lw=1, **style)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("latents found", fontsize=8)
    ax.tick_params(axis="y", labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def _short(model: str) -> str:
    name, _, k = model.rpartition("-k")
    return f"{name.upper()}\nk={k}"


def distances(cells: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Figure 2: cumulative shares of ||z - z*|| of first starts, a panel a model."""
    models = [m for m in MODELS if any(c["model"] == m for c in cells)]
    columns = 4
    lines = -(-len(models) // columns)
    figure = Figure(figsize=(9.6, 1.9 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    methods = list(dict.fromkeys(c["method"] for c in cells))
    for ax, model in zip(axes, models):
        for cell in (c for c in cells if c["model"] == model):
            colour, dashes, _ = LINES[methods.index(cell["method"]) % len(LINES)]
            errors = np.sort([row[0] for row in cell["error"]])
            share = np.arange(1, len(errors) + 1) / len(errors)
            wide = 2.4 if cell["method"].startswith("Adam") else 1.2
            ax.step(errors.clip(1e-6), share, where="post", color=colour, ls=dashes, lw=wide)
        ax.axvline(FOUND, color="#888888", lw=0.8, ls=":")
        ax.set_xscale("log")
        ax.set_title(labelled(model), fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=7)
    for ax in axes[len(models) :]:
        ax.set_axis_off()
    for number, method in enumerate(methods):
        colour, dashes, _ = LINES[number % len(LINES)]
        wide = 2.4 if method.startswith("Adam") else 1.2
        axes[0].plot([], [], color=colour, ls=dashes, lw=wide, label=method)
    figure.supxlabel("||z - z*||, dotted: .01", fontsize=8)
    figure.supylabel("share of targets below", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=7)  # fmt: skip
    return _saved(figure, path)


def _saved(figure: Figure, path: Path, dpi: int = 120) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path

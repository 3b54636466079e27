"""Pictures of a recovery. Each takes `ax` or `figure` where you have one, and returns it.

No global style is changed and no window opened: figures are made without pyplot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from surfing.errors import InputError
from surfing.report.landscape import Slice
from surfing.report.palette import INK, LINES, as_pixels, error_pixels, value_range

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["drift_profile", "landscape_path", "recovery_grid"]

_PATH, _END = "#e69f00", "#d55e00"
"""On the grey and blue shades of a surface."""


def recovery_grid(
    targets: Float[Tensor, "n channels h w"],
    methods: Mapping[str, Float[Tensor, "n channels h w"]],
    *,
    figure: Figure | SubFigure | None = None,
    title: str | None = None,
    error_scale: float | None = None,
) -> Figure | SubFigure:
    """Targets, what each method made of them, and where it is wrong.

    One column per target. Below the targets each method has a row of images and a row of absolute
    errors (white: none). In all images a larger value is lighter.

    Args:
        targets: signals; one channel, or three in the same range.
        methods: signals by the method's name, in the order of the targets.
        figure: draw into this one.
        title: above it.
        error_scale: the error that is shown darkest; by default half the targets' range.

    Raises:
        InputError: shapes that don't agree.
    """
    for name, images in methods.items():
        if images.shape != targets.shape:
            raise InputError(
                f"methods[{name!r}]: expected {tuple(targets.shape)}, got {tuple(images.shape)}."
            )
    low, high = value_range(targets)
    scale = (high - low) / 2 if error_scale is None else error_scale
    rows: list[tuple[str, np.ndarray]] = [("target", as_pixels(targets, low, high))]
    for name, images in methods.items():
        error = (images.double() - targets.double()).abs().mean(1)
        rows.append((name, as_pixels(images, low, high)))
        rows.append(("error", error_pixels(error / max(scale, 1e-12))))
    columns = len(targets)
    if figure is None:
        figure = Figure(figsize=(0.62 * columns + 1.1, 0.62 * len(rows) + (0.5 if title else 0.2)))
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    frame = {
        "left": min(0.9, 1.0 / width),
        "right": 1 - min(0.04, 0.1 / width),
        "bottom": 0.1 / height,
        "top": 1 - (0.4 if title else 0.1) / height,
    }
    axes = figure.subplots(
        len(rows), columns, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06, **frame}
    )
    for line, (name, pictures) in zip(axes, rows):
        for ax, picture in zip(line, pictures):
            ax.imshow(picture, interpolation="nearest")
            _bare(ax)
        line[0].set_ylabel(
            name, rotation=0, ha="right", va="center", fontsize=9, color=INK, labelpad=6
        )
    if title:
        figure.suptitle(
            title,
            fontsize=10,
            color=INK,
            x=frame["left"],
            ha="left",
            y=1 - 0.12 / height,
            va="top",
        )
    return figure


def drift_profile(
    steps: Sequence[int], drift: Sequence[float | None], *, ax: Axes | None = None
) -> Axes:
    """How far G moves from each checkpoint to the next.

    Args:
        steps: of the checkpoints, n of them.
        drift: RMS changes, n - 1 of them; None where unknown.
        ax: draw into this one.

    Raises:
        InputError: lengths that don't agree.
    """
    if len(drift) != len(steps) - 1:
        raise InputError(
            f"drift: expected {len(steps) - 1}, one less than steps, got {len(drift)}."
        )
    ax = _axes(ax, (4.6, 3.0))
    known = [(step, d) for step, d in zip(steps[1:], drift) if d is not None]
    ax.plot(
        [step for step, _ in known],
        [d for _, d in known],
        color=LINES[0][0],
        marker="o",
        markersize=3,
        lw=1.2,
    )
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("training step")
    ax.set_ylabel("RMS change of G")
    _plain(ax)
    return ax


def landscape_path(
    surface: Slice, *, ax: Axes | None = None, truth: Float[Tensor, " k"] | None = None
) -> Axes:
    """A path on the surface of its last stage: dark is low.

    Args:
        surface: of :func:`surfing.report.slice_through`.
        ax: draw into this one.
        truth: the latent that was looked for.
    """
    ax = _axes(ax, (4.2, 3.8))
    height = torch.log10(surface.risk.double().clamp(min=1e-12)).cpu().numpy()
    across, up = surface.across.cpu().numpy(), surface.up.cpu().numpy()
    # The valley's floor is a narrow spike on a log scale: shades follow ranks, not values.
    levels = np.unique(np.quantile(height, np.linspace(0, 1, 22)))
    if len(levels) > 2:
        ax.contourf(across, up, height, levels=levels, cmap="bone", norm=_by_rank(levels))
        ax.contour(across, up, height, levels=levels, colors="white", linewidths=0.25, alpha=0.6)
    path = surface.path.cpu().numpy()
    ax.plot(path[:, 0], path[:, 1], color=_PATH, lw=1.6, marker="o", markersize=3.5)
    ax.plot(*path[0], color=_PATH, marker="o", markersize=8, mfc="none", mew=1.6)
    ax.plot(*path[-1], color=_END, marker="o", markersize=7)
    if truth is not None:
        spot = surface.project(truth[None])[0].cpu().numpy()
        ax.plot(*spot, color="white", marker="x", markersize=9, mew=2)
    ax.set_aspect("equal")
    ax.set_xlabel("first direction of the path")
    ax.set_ylabel("second direction")
    _plain(ax)
    return ax


def _by_rank(levels: np.ndarray) -> object:
    from matplotlib.colors import BoundaryNorm

    return BoundaryNorm(levels, colormaps["bone"].N, extend="neither")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return Figure(figsize=size, layout="constrained").subplots() if ax is None else ax


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("#cccccc")
        spine.set_linewidth(0.5)


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, colors=INK)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(9)

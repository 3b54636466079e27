"""The linear regions of a ReLU network around a path, seen on the plane through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from surfing.errors import InputError
from surfing.report.landscape import slice_through

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray

    from surfing.descent.regions.piecewise import PiecewiseAffine

__all__ = ["linear_regions"]

_TINTS = ("#8fc1c9", "#f3cf98", "#b9b3dc", "#b7d3a5", "#eeb1a6", "#d9d3c0", "#a9c4e6", "#e3bfd6")
_REST = "#f1f1ef"
_PATH = "#b3380e"


def linear_regions(
    network: PiecewiseAffine,
    path: Float[Tensor, "stages k"],
    *,
    stage: int | None = None,
    tau: float = float("inf"),
    size: int = 301,
    margin: float = 0.3,
    ax: Axes | None = None,
) -> Axes:
    """The regions of one stage's network on the plane of a path, which is drawn up to there.

    Regions of S(z, theta, tau) about the point before (a ring), which is where Algorithm 2 looked
    for this one (a star), are coloured, no two neighbours alike; the others are grey. For k = 2 the
    plane is the latent space itself, turned; else that of the path's main directions.

    Args:
        network: the generator at that stage.
        path: latents, stage by stage, k at least 2.
        stage: number of the network's stage on the path; the last where left out.
        tau: how far from its kink a neuron may be and still change side.
        size: points along each side.
        margin: how much wider than the path the square is, as a share of the path's extent.
        ax: draw into this one.

    Raises:
        InputError: a path of another shape, or not finite, or no such stage.
    """
    stage = len(path) - 1 if stage is None else stage
    if not 0 <= stage < len(path):
        raise InputError(f"stage: expected one of the path's {len(path)}, got {stage}.")
    path = path.detach().double().cpu()
    surface = slice_through(lambda z: z.new_zeros(len(z)), path, size=size, margin=margin)
    across, up = surface.across.numpy(), surface.up.numpy()
    plane = torch.stack(torch.meshgrid(surface.up, surface.across, indexing="ij"), -1).flip(-1)
    grid = surface.origin + plane.reshape(-1, 2) @ surface.basis
    heights = torch.cat(network.preactivations(grid), 1)
    before = path[max(0, stage - 1)][None]
    centre = torch.cat(network.preactivations(before), 1)
    held = (centre.abs() > tau) & ((heights > 0) != (centre > 0))
    shades = _shades(heights > 0, ~held.any(1), size)
    if ax is None:
        ax = Figure(figsize=(4.2, 3.8), layout="constrained").subplots()
    extent = (across[0], across[-1], up[0], up[-1])
    ax.imshow(shades, origin="lower", extent=extent, interpolation="nearest", aspect="equal")
    for neuron in heights.T.reshape(-1, size, size).numpy():
        if neuron.min() < 0 < neuron.max():
            ax.contour(across, up, neuron, levels=[0.0], colors="white", linewidths=0.8)
    _draw_path(ax, surface.path[: stage + 1].numpy())
    ax.set_xlim(*extent[:2])
    ax.set_ylim(*extent[2:])
    ax.tick_params(labelsize=8)
    return ax


def _draw_path(ax: Axes, path: Float[ndarray, "stages 2"]) -> None:
    ax.plot(path[:, 0], path[:, 1], color=_PATH, lw=1.2, marker="o", ms=3)
    if len(path) > 1:
        ax.plot(*path[-2], color=_PATH, marker="o", ms=8, mfc="white", mew=1.6)
    ax.plot(*path[-1], color=_PATH, marker="*", ms=12, mec="white", mew=0.8)


def _shades(sides: Tensor, searched: Tensor, size: int) -> Float[ndarray, "size size rgb"]:
    """A tint for every region that was searched, another than its neighbours'."""
    _, number = torch.unique(sides, dim=0, return_inverse=True)
    numbers = number.reshape(size, size).numpy()
    tints = np.array([to_rgb(tint) for tint in _TINTS])[_coloured(numbers)]
    tints[np.unique(numbers[~searched.reshape(size, size).numpy()])] = to_rgb(_REST)
    shades: ndarray = tints[numbers]
    return shades


def _coloured(numbers: ndarray) -> ndarray:
    """A colour for every region, the first that no neighbour before it has."""
    pairs = np.concatenate(
        [
            np.stack([numbers[:, 1:], numbers[:, :-1]], -1).reshape(-1, 2),
            np.stack([numbers[1:], numbers[:-1]], -1).reshape(-1, 2),
        ]
    )
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1), axis=0)
    colours = np.zeros(numbers.max() + 1, int)
    for region in range(len(colours)):
        before = pairs[pairs[:, 1] == region, 0]
        taken = set(colours[before])
        free = (c for c in range(len(_TINTS)) if c not in taken)
        colours[region] = next(free, region % len(_TINTS))
    return colours

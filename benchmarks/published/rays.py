"""Crosshole radar tomography with straight rays: travel times of a velocity field.

Cells of 0.1 m between two boreholes, sources in the left one, receivers in the right one. A travel
time is the sum over cells of the ray's length there times the slowness 1 / velocity.

Source: Laloy et al. 2019, section 3 and companion code; Siddon 1985 for the lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["CELL", "CHANNEL", "MATRIX", "Rays", "Survey", "cell_lengths"]

CELL = 0.1
"""Side of a cell, in m."""

CHANNEL, MATRIX = 0.06, 0.08
"""Velocities in channels and around them, in m/ns."""


@dataclass(frozen=True)
class Survey:
    """Where sources and receivers are, in m; depths count from the top of the grid.

    Args:
        rows: cells down.
        columns: cells across.
        depths: of sources and of receivers alike.
        margin: of both boreholes from the grid's edges.
    """

    rows: int = 125
    columns: int = 60
    depths: tuple[float, ...] = tuple(0.5 * i for i in range(1, 25))
    margin: float = 0.01

    def rays(self) -> np.ndarray:
        """(rays, 4): x and depth of source and receiver; each source to all receivers in turn."""
        right = self.columns * CELL - self.margin
        pairs = [(self.margin, s, right, r) for s in self.depths for r in self.depths]
        return np.array(pairs)


def cell_lengths(rays: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Length of each straight ray in each cell.

    A ray is cut where it crosses a line of the grid; each piece belongs to the cell of its middle.
    A ray along a line between two rows belongs half to each.

    Args:
        rays: (rays, 4) x and depth of the two ends, in m.
        rows: cells down.
        columns: cells across.

    Returns:
        (rays, rows * columns) lengths in m, columns of the grid first when flattened.
    """
    lengths = np.zeros((len(rays), columns, rows))
    for ray, (x0, y0, x1, y1) in enumerate(rays):
        cuts = _cuts(x0, x1, columns) | _cuts(y0, y1, rows) | {0.0, 1.0}
        at = np.array(sorted(cuts))
        middle, share = (at[1:] + at[:-1]) / 2, np.diff(at)
        across = (x0 + middle * (x1 - x0)) / CELL
        down = (y0 + middle * (y1 - y0)) / CELL
        piece = share * np.hypot(x1 - x0, y1 - y0)
        for side in (-1e-7, 1e-7):
            cell = np.clip(np.floor(down + side), 0, rows - 1).astype(int)
            np.add.at(lengths[ray], (np.floor(across).astype(int), cell), piece / 2)
    return lengths.reshape(len(rays), -1)


def _cuts(start: float, end: float, cells: int) -> set[float]:
    """Where, as a share of the way, an axis' grid lines are crossed."""
    if start == end:
        return set()
    share = (np.arange(cells + 1) * CELL - start) / (end - start)
    return {float(value) for value in share if 0 < value < 1}


class Rays:
    """The forward operator: share of channel in each cell to travel times in ns.

    Args:
        survey: the geometry.
        steepness: of the sigmoid that stands for the threshold at one half; None for the values
            as they are.
    """

    def __init__(self, survey: Survey | None = None, *, steepness: float | None = None) -> None:
        self.survey = survey or Survey()
        lengths = cell_lengths(self.survey.rays(), self.survey.rows, self.survey.columns)
        # Rows first when flattened, as torch's pictures are.
        shape = (len(lengths), self.survey.columns, self.survey.rows)
        ordered = lengths.reshape(shape).transpose(0, 2, 1).reshape(len(lengths), -1)
        self.lengths = torch.from_numpy(np.ascontiguousarray(ordered))
        self.steepness = steepness

    def __call__(self, x: Float[Tensor, "rows 1 125 60"]) -> Float[Tensor, "rows m"]:
        """Travel times of fields with values from 0 (matrix) to 1 (channel)."""
        if self.steepness is not None:
            x = torch.sigmoid(self.steepness * (x - 0.5))
        slowness = 1 / (MATRIX + (CHANNEL - MATRIX) * x)
        return slowness.flatten(1) @ self.lengths.to(x).T

    def of_binary(self, x: Float[Tensor, "rows 1 125 60"]) -> Float[Tensor, "rows m"]:
        """Travel times of the fields cut at one half: true channels, no derivative."""
        slowness = torch.where(x >= 0.5, 1 / CHANNEL, 1 / MATRIX)
        return slowness.to(x).flatten(1) @ self.lengths.to(x).T

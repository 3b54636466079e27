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


def cell_lengths(rays: np.ndarray, rows: int, columns: int) -> Float[Tensor, "rays cells"]:
    """Length of each straight ray in each cell.

    A ray is cut where it crosses a line of the grid; each piece belongs to the cell of its middle.
    A ray along a line between two rows belongs to the upper one.

    Args:
        rays: (rays, 4) x and depth of the two ends, in m.
        rows: cells down.
        columns: cells across.

    Returns:
        (rays, rows * columns) lengths in m, row after row.
    """
    lengths = np.zeros((len(rays), rows, columns))
    for ray, (x0, y0, x1, y1) in enumerate(rays):
        cuts = _cuts(x0, x1, columns) | _cuts(y0, y1, rows) | {0.0, 1.0}
        at = np.array(sorted(cuts))
        middle, share = (at[1:] + at[:-1]) / 2, np.diff(at)
        across = _cell(x0 + middle * (x1 - x0), columns)
        down = _cell(y0 + middle * (y1 - y0), rows)
        np.add.at(lengths[ray], (down, across), share * np.hypot(x1 - x0, y1 - y0))
    return torch.from_numpy(lengths.reshape(len(rays), -1))


def _cell(place: np.ndarray, cells: int) -> np.ndarray:
    return np.clip(np.ceil(place / CELL - 1e-9) - 1, 0, cells - 1).astype(int)


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
        as_published: read the field column after column where the lengths are row after row. The
            published travel times were made so (the companion code flattens the two in different
            orders): a scrambled section, not the one between the boreholes.
    """

    def __init__(
        self,
        survey: Survey | None = None,
        *,
        steepness: float | None = None,
        as_published: bool = False,
    ) -> None:
        survey = survey or Survey()
        lengths = cell_lengths(survey.rays(), survey.rows, survey.columns)
        if as_published:
            lengths = lengths.view(-1, survey.columns, survey.rows).mT.reshape(len(lengths), -1)
        self.lengths = lengths.T.contiguous()
        self.steepness = steepness

    def __call__(self, x: Float[Tensor, "rows 1 125 60"]) -> Float[Tensor, "rows m"]:
        """Travel times of fields with values from 0 (matrix) to 1 (channel)."""
        if self.steepness is not None:
            x = torch.sigmoid(self.steepness * (x - 0.5))
        slowness = 1 / (MATRIX + (CHANNEL - MATRIX) * x)
        return slowness.flatten(1) @ self._lengths(x)

    def of_binary(self, x: Float[Tensor, "rows 1 125 60"]) -> Float[Tensor, "rows m"]:
        """Travel times of the fields cut at one half: true channels, no derivative."""
        fast, slow = x.new_tensor(1 / MATRIX), x.new_tensor(1 / CHANNEL)
        slowness = torch.where(x >= 0.5, slow, fast)
        return slowness.flatten(1) @ self._lengths(x)

    def _lengths(self, like: Tensor) -> Float[Tensor, "cells m"]:
        # Kept where it was last used: a copy at each pass would cost as much as the product.
        if self.lengths.dtype != like.dtype or self.lengths.device != like.device:
            self.lengths = self.lengths.to(like)
        return self.lengths

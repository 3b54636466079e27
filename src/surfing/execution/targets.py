"""What is known of targets: measurements, and what belongs to each of them, cut row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Targets", "followed", "rows_of"]


@dataclass(frozen=True)
class Targets:
    """Measurements with their noise levels, inputs and starts, as the caller gave them.

    Args:
        y: (targets, ...), in memory or read as rows are asked for.
        noise: None, a number, one for each target, or the shape of y.
        given: by name, (targets, ...).
        z0: (targets, ...).
        behind: how many are begun after these and wait for the same worker.
    """

    y: Any
    noise: Any = None
    given: Mapping[str, Any] | None = None
    z0: Any = None
    behind: int = 0

    def __len__(self) -> int:
        return len(self.y) if hasattr(self.y, "__len__") and np.ndim(self.y) != 0 else 0

    def rows(self, part: range) -> Targets:
        """Of some targets, in memory and in this machine's byte order."""
        cut = slice(part.start, part.stop)
        noise = self.noise
        if np.ndim(noise) > 0 and self._by_target(noise):
            noise = _rows(noise, cut)
        given = self.given
        if isinstance(given, Mapping):
            given = {name: _rows(value, cut) for name, value in given.items()}
        z0 = None if self.z0 is None else _rows(self.z0, cut)
        return Targets(_rows(self.y, cut), noise, given, z0, self.behind)

    def take(self, index: Tensor) -> Targets:
        """Of some targets by number; what is in memory alone."""
        noise = self.noise
        if np.ndim(noise) > 0 and self._by_target(noise):
            noise = noise[index]
        given = self.given
        if isinstance(given, Mapping):
            given = {name: value[index] for name, value in given.items()}
        return Targets(self.y[index], noise, given, None if self.z0 is None else self.z0[index])

    def to(self, place: torch.device | None) -> Targets:
        """Measurements on another device; what belongs to them is moved when it is used."""
        y = self.y.to(place) if isinstance(self.y, Tensor) else torch.as_tensor(self.y).to(place)
        z0 = self.z0 if self.z0 is None else torch.as_tensor(self.z0).to(place)
        return replace(self, y=y, z0=z0)

    def _by_target(self, noise: Any) -> bool:
        """Whether the noise has a line for each target, rather than one for all of them."""
        return len(noise) == len(self.y) and np.ndim(noise) in (1, np.ndim(self.y[0:1]))


def _rows(values: Any, cut: slice) -> Any:
    rows = values[cut]
    if isinstance(rows, Tensor):
        return rows.clone()  # a view would take the whole along to a worker
    if isinstance(rows, np.ndarray):
        return torch.from_numpy(np.array(rows, dtype=rows.dtype.newbyteorder("=")))
    return rows


def rows_of(y: Any, part: range) -> Any:
    """Some rows in memory, in this machine's byte order, with what goes with each target."""
    return y.rows(part) if isinstance(y, Targets) else _rows(y, slice(part.start, part.stop))


def followed(rows: Any, targets: int) -> Any:
    """Rows behind which so many more targets wait: what is limited in time has to be shared."""
    return replace(rows, behind=rows.behind + targets) if isinstance(rows, Targets) else rows

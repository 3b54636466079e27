"""Which stages a ride visits: real numbers on the trajectory, ending at its last checkpoint."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.generator import State
    from surfing.trajectory import Trajectory

__all__ = ["AbstractSchedule", "EqualDrift", "EveryCheckpoint", "EveryNth", "Final", "Stages"]

Measure = Callable[["State"], "Float[Tensor, 'probes m']"]
"""theta -> A G_theta(probes), for schedules that look at how far the network moves."""


class AbstractSchedule(abc.ABC):
    """Which stages to visit."""

    @abc.abstractmethod
    def positions(self, trajectory: Trajectory, measure: Measure) -> list[float]:
        """Strictly increasing stages in [0, len - 1], the last one len - 1."""


@dataclass(frozen=True)
class EveryNth(AbstractSchedule):
    """Every nth checkpoint, counted back from the last.

    Args:
        n: stride, at least 1.
        start: share of the checkpoints to skip, in [0, 1).
    """

    n: int = 1
    start: float = 0.0

    def __post_init__(self) -> None:
        _check_count("n", self.n)
        _check_start(self.start)

    def positions(self, trajectory: Trajectory, measure: Measure) -> list[float]:
        """Stages of the ride."""
        last = len(trajectory) - 1
        first = round(self.start * last)
        return sorted(float(i) for i in range(last, first - 1, -self.n))


@dataclass(frozen=True)
class EveryCheckpoint(EveryNth):
    """Every checkpoint, as in the paper.

    Args:
        start: share of the checkpoints to skip, in [0, 1).
    """

    n: int = 1

    def __init__(self, start: float = 0.0) -> None:
        object.__setattr__(self, "start", start)
        self.__post_init__()


@dataclass(frozen=True)
class Final(AbstractSchedule):
    """The last checkpoint alone: direct descent."""

    def positions(self, trajectory: Trajectory, measure: Measure) -> list[float]:
        """One stage."""
        return [float(len(trajectory) - 1)]


@dataclass(frozen=True)
class Stages(AbstractSchedule):
    """Stages by hand.

    Args:
        at: increasing real numbers; the last checkpoint is added where it is missing.
    """

    at: tuple[float, ...]

    def positions(self, trajectory: Trajectory, measure: Measure) -> list[float]:
        """Stages of the ride."""
        last = float(len(trajectory) - 1)
        at = [float(s) for s in self.at]
        if any(not 0 <= s <= last for s in at) or any(a >= b for a, b in itertools.pairwise(at)):
            raise InputError(
                f"schedule: expected increasing stages in [0, {last:g}], got {list(self.at)}."
            )
        return at if at and at[-1] == last else [*at, last]


@dataclass(frozen=True)
class EqualDrift(AbstractSchedule):
    """Stages between which theta -> A G_theta(probes) moves by equal amounts.

    Args:
        count: stages, the last included.
        start: share of the arc length to skip, in [0, 1).
    """

    count: int = 10
    start: float = 0.0

    def __post_init__(self) -> None:
        _check_count("count", self.count)
        _check_start(self.start)

    def positions(self, trajectory: Trajectory, measure: Measure) -> list[float]:
        """Stages of the ride, real-valued: checkpoints are interpolated."""
        last = len(trajectory) - 1
        if self.count == 1 or last == 0:
            return [float(last)]
        arc = arc_length(trajectory, measure)
        if not float(arc[-1]) > 0:
            return [float(last)]
        marks = torch.linspace(self.start, 1, self.count, dtype=torch.float64) * arc[-1]
        stages = [_invert(arc, float(mark)) for mark in marks[:-1]]
        distinct = [s for i, s in enumerate(stages) if i == 0 or s > stages[i - 1] + 1e-9]
        return [*(s for s in distinct if s < last - 1e-9), float(last)]


def arc_length(trajectory: Trajectory, measure: Measure) -> Float[Tensor, " stages"]:
    """Cumulated RMS change of A G_theta(probes) from checkpoint to checkpoint; starts at 0."""
    lengths = [0.0]
    before = measure(trajectory[0].state)
    for checkpoint in trajectory[1:]:
        now = measure(checkpoint.state)
        step = (now.double() - before.double()).square().mean().sqrt()
        lengths.append(lengths[-1] + float(step))
        before = now
    return torch.tensor(lengths, dtype=torch.float64)


def _invert(arc: Tensor, mark: float) -> float:
    """The real-valued stage at which the arc length is `mark`."""
    right = int(torch.searchsorted(arc, torch.tensor(mark, dtype=arc.dtype)))
    right = min(max(right, 1), len(arc) - 1)
    low, high = float(arc[right - 1]), float(arc[right])
    return right - 1 + ((mark - low) / (high - low) if high > low else 0.0)


def _check_count(name: str, value: int) -> None:
    check.integer(name, value, low=1)


def _check_start(value: float) -> None:
    check.number("start", value, low=0, high=1, open_high=True)

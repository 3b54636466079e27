"""Which moments of training to record: values of their own, given to a Recorder."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from surfing import check
from surfing.errors import InputError

__all__ = ["ByDrift", "Every", "LogSpaced", "QuadraticSpaced", "Schedule", "pick_schedule"]


class Schedule(Protocol):
    """Says when. Any object with this method will do."""

    def due(self, previous: int, step: int, drift: Callable[[], float]) -> bool:
        """Is there a moment to record in (previous, step]?

        Args:
            previous: the step that was asked about before.
            step: generator steps taken by now.
            drift: measures how far G moved since the last checkpoint; costs a forward of the
                probes, and only when called.
        """
        ...


@dataclass(frozen=True)
class Every:
    """Every n-th step.

    >>> Every(100).due(199, 200, drift=lambda: 0.0)
    True
    """

    steps: int

    def __post_init__(self) -> None:
        check.integer("Every: steps", self.steps, low=1)

    def due(self, previous: int, step: int, drift: Callable[[], float]) -> bool:
        """See :meth:`Schedule.due`."""
        return step // self.steps > previous // self.steps


class _Spaced:
    """Fixed steps up to a last one, and beyond it the last spacing again and again."""

    @property
    def steps(self) -> tuple[int, ...]:
        raise NotImplementedError

    def due(self, previous: int, step: int, drift: Callable[[], float]) -> bool:
        """See :meth:`Schedule.due`."""
        return self._passed(step) > self._passed(previous)

    def _passed(self, step: int) -> int:
        *_, before_last, last = (0, *self.steps)
        beyond = max(0, step - last) // (last - before_last)
        return bisect.bisect_right(self.steps, step) + beyond


@dataclass(frozen=True)
class LogSpaced(_Spaced):
    """`count` steps from 1 to `last`, each the same factor after the one before.

    Early steps that round to the same number are recorded once. Training that goes on after
    `last` is recorded at the last spacing.
    """

    count: int = 100
    last: int = 20_000

    def __post_init__(self) -> None:
        check.integer("LogSpaced: count", self.count, low=2)
        check.integer("LogSpaced: last", self.last, low=2)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The steps, strictly increasing."""
        powers = (math.log(self.last) * i / (self.count - 1) for i in range(self.count))
        return tuple(sorted({round(math.exp(power)) for power in powers} | {self.last}))


@dataclass(frozen=True)
class QuadraticSpaced(_Spaced):
    """Steps last (i / count)^2 for i = 1..count: dense early, where training moves fast.

    Early steps that round to the same number are recorded once. Training that goes on after
    `last` is recorded at the last spacing.
    """

    count: int = 100
    last: int = 20_000

    def __post_init__(self) -> None:
        check.integer("QuadraticSpaced: count", self.count, low=2)
        check.integer("QuadraticSpaced: last", self.last, low=2)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The steps, strictly increasing."""
        steps = {round(self.last * (i / self.count) ** 2) for i in range(1, self.count + 1)}
        return tuple(sorted(steps - {0}))


@dataclass(frozen=True)
class ByDrift:
    """When G has moved far enough: RMS change on the probe latents since the last checkpoint.

    Attributes:
        threshold: in the units of the signal, above 0; e.g. 0.05 for images in [0, 1].
        probes: how many latents G is evaluated on.
        check_every: steps between two looks, each a forward pass of the probes.
    """

    threshold: float
    probes: int = 64
    check_every: int = 10

    def __post_init__(self) -> None:
        check.number("ByDrift: threshold", self.threshold, low=0, open_low=True)
        check.integer("ByDrift: probes", self.probes, low=1)
        check.integer("ByDrift: check_every", self.check_every, low=1)

    def due(self, previous: int, step: int, drift: Callable[[], float]) -> bool:
        """See :meth:`Schedule.due`."""
        # `not <` rather than `>=`: a generator that became NaN has moved.
        return Every(self.check_every).due(previous, step, drift) and not drift() < self.threshold


def pick_schedule(every: int | None, schedule: Schedule | None) -> Schedule:
    """What a recorder's arguments `every` and `schedule` mean together."""
    if every is not None and schedule is not None:
        raise InputError("every: give either every or schedule, not both.")
    if schedule is None:
        return Every(100 if every is None else every)
    if isinstance(schedule, type) or not callable(getattr(schedule, "due", None)):
        raise InputError(f"schedule: expected e.g. Every(100), got {schedule!r}.")
    return schedule

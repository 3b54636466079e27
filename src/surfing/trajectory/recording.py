"""Recording: what is kept of a training, and how; the same for every way to record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from surfing.errors import InputError
from surfing.latents import Latent
from surfing.trajectory.manifest import DTYPES, MAX_CHECKPOINTS
from surfing.trajectory.schedules import Schedule, pick_schedule

__all__ = ["Recording", "RecordingOptions"]


class RecordingOptions(TypedDict, total=False):
    """The keywords of :class:`Recording`, for those that hand them on."""

    latent: Latent | None
    every: int | None
    schedule: Schedule | None
    max_checkpoints: int
    dtype: str
    average: float | None
    architecture: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    probes: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What is kept of a training, and how.

    Args are those of :class:`surfing.trajectory.recorder.Recorder`, which says what each means.

    Raises:
        InputError: a bad argument.

    >>> Recording(every=0)
    Traceback (most recent call last):
    surfing.errors.InputError: Every: steps: expected an integer of at least 1, got 0.
    """

    latent: Latent | None = None
    every: int | None = None
    schedule: Schedule | None = None
    max_checkpoints: int = 1000
    dtype: str = "float32"
    average: float | None = None
    architecture: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    probes: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        pick_schedule(self.every, self.schedule)
        count, average = self.max_checkpoints, self.average
        fits = isinstance(count, int) and 2 <= count <= MAX_CHECKPOINTS
        if isinstance(count, bool) or not fits:
            raise InputError(
                f"max_checkpoints: expected an integer in [2, {MAX_CHECKPOINTS}], got {count!r}."
            )
        if self.dtype not in DTYPES:
            raise InputError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}.")
        if average is not None and not (isinstance(average, float) and 0 < average < 1):
            raise InputError(f"average: expected a decay in (0, 1) such as 0.99, got {average!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed: expected an integer of at least 0, got {self.seed!r}.")

    @property
    def moments(self) -> Schedule:
        """When to record."""
        return pick_schedule(self.every, self.schedule)

    def options(self) -> dict[str, Any]:
        """Its keywords again."""
        return dict(vars(self))

"""Recording: what is kept of a training, and how; the same for every way to record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from surfing import check
from surfing.errors import InputError
from surfing.latents import Latent
from surfing.trajectory.manifest import (
    DTYPES,
    MAX_CHECKPOINTS,
    MAX_STEP,
    Manifest,
    check_representable,
)
from surfing.trajectory.schedules import ByDrift, Schedule, pick_schedule
from surfing.trajectory.store import versions

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
    surfing.errors.InputError: Every: steps: expected a positive integer, got 0.
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
        check.integer("max_checkpoints", self.max_checkpoints, low=2, high=MAX_CHECKPOINTS)
        if self.dtype not in DTYPES:
            raise InputError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}.")
        average = self.average
        if average is not None and not (isinstance(average, float) and 0 < average < 1):
            raise InputError(f"average: expected a decay in (0, 1) such as 0.99, got {average!r}.")
        for name in ("probes", "seed"):  # into the manifest, which is JSON
            whole = check.integer(name, getattr(self, name), low=0, high=MAX_STEP)
            object.__setattr__(self, name, whole)
        _check_latent(self.latent, self.moments)
        for name, value in (("architecture", self.architecture), ("metadata", self.metadata)):
            if value is not None and not isinstance(value, Mapping):
                raise InputError(f"{name}: expected a dictionary of JSON values, got {value!r}.")
        check_representable(self.manifest())

    @property
    def moments(self) -> Schedule:
        """When to record."""
        return pick_schedule(self.every, self.schedule)

    @property
    def probe_count(self) -> int:
        """On how many latents drift is measured; 0 where it is not."""
        if self.latent is None:
            return 0
        return self.moments.probes if isinstance(self.moments, ByDrift) else self.probes

    def manifest(self) -> Manifest:
        """What the directory says of it, before there is a checkpoint."""
        probes = {"count": self.probe_count, "seed": self.seed} if self.probe_count else None
        described = {"schedule": repr(self.moments), **versions(), **dict(self.metadata or {})}
        return Manifest(
            dtype=self.dtype,
            latent=None if self.latent is None else self.latent.to_dict(),
            architecture=self.architecture,
            metadata=described,
            average=self.average,
            probes=probes,
        )

    def options(self) -> dict[str, Any]:
        """Its keywords again."""
        return dict(vars(self))


def _check_latent(latent: object, schedule: Schedule) -> None:
    if latent is None and isinstance(schedule, ByDrift):
        raise InputError("latent: ByDrift measures G on latents; give their law, e.g. Normal(20).")
    if latent is not None and (isinstance(latent, type) or not isinstance(latent, Latent)):
        raise InputError(f"latent: expected a law such as Normal(20), got {latent!r}.")

"""Recorder: keep the moments of a training run that surfing will need."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn

from surfing import check
from surfing.errors import CorruptTrajectoryError, GeneratorError, InputError
from surfing.generator import State, unwrap
from surfing.latents import Latent
from surfing.trajectory.average import RunningAverage
from surfing.trajectory.lock import DirectoryLock
from surfing.trajectory.manifest import Entry
from surfing.trajectory.probe import Probe, rms_distance
from surfing.trajectory.recording import Recording
from surfing.trajectory.schedules import Schedule
from surfing.trajectory.store import make_directory, open_for_writing, read_state
from surfing.trajectory.tensors import combine, signature, snapshot, state_to_bytes
from surfing.trajectory.thinning import most_redundant

__all__ = ["Recorder"]

_log = logging.getLogger(__name__)


class Recorder:
    """Record a generator's training into a directory, within a budget of checkpoints.

    The random weights at step 0 are recorded at once, and the last state when the recorder is
    closed, also by an exception: the trajectory ends at the weights that it has then, though they
    were changed after the last step, by an average or the best weights put back. Every checkpoint
    is on disk, complete and hashed, before :meth:`step` returns; whatever kills the process, the
    directory opens and can be resumed.

    Beyond `max_checkpoints`, the checkpoint whose removal leaves the smallest gap is dropped, so
    that those that stay are near-evenly spaced in drift: the RMS change of G on fixed probe latents
    (see :mod:`surfing.trajectory.probe`). Without a `latent` there are no probes, and the spacing
    is in steps.

    Args:
        path: the directory; made if it is not there.
        generator: the live module, also inside DDP, ``torch.compile`` or ``AveragedModel``. It is
            only ever read. In distributed training, record on rank 0 only.
        latent: the law of z, kept in the manifest.
        every: record every so many steps; 100 where no `schedule` is given either.
        schedule: when to record instead: `Every`, `LogSpaced`, `QuadraticSpaced`, `ByDrift`.
        max_checkpoints: at most so many are kept, at least 2.
        dtype: how floating tensors are stored: "float32", "float16" (2.35 times smaller; loaded
            as float32 again) or "float64".
        average: decay in (0, 1) of a running average of weights and buffers, a step at a time,
            recorded beside the raw ones: ``Trajectory.open(path, average=True)``.
        architecture: ``{"name": ..., "arguments": {...}}``, from which the zoo builds the module.
        metadata: anything else worth keeping, JSON values.
        probes: number of probe latents; 0 for none. `ByDrift` brings its own number.
        seed: of the probe latents.
        resume: go on with the trajectory that `path` holds, if it holds one.
        resume_from: the step where the training loop itself resumes; implies `resume`. Later
            checkpoints are dropped: the loop will pass those steps again, with other weights.
        overwrite: delete the trajectory that `path` holds, if it holds one.

    Raises:
        InputError: a bad argument. Nothing was written.
        OutputExistsError: `path` holds a trajectory; neither `resume` nor `overwrite` was given.
        LockedTrajectoryError: another recorder is writing there.
        TrajectoryError: the directory can't be written.

    >>> import tempfile
    >>> from surfing.latents import Normal
    >>> generator = nn.Linear(2, 3)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with Recorder(directory, generator, latent=Normal(2), every=2) as recorder:
    ...         for _ in range(5):
    ...             recorded = recorder.step()
    ...     recorder.steps
    (0, 2, 4, 5)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        generator: nn.Module,
        *,
        latent: Latent | None = None,
        every: int | None = None,
        schedule: Schedule | None = None,
        max_checkpoints: int = 1000,
        dtype: str = "float32",
        average: float | None = None,
        architecture: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        probes: int = 64,
        seed: int = 0,
        resume: bool = False,
        resume_from: int | None = None,
        overwrite: bool = False,
    ) -> None:
        if not isinstance(generator, nn.Module):
            raise GeneratorError(
                f"generator: expected a torch.nn.Module, got {type(generator).__name__}."
            )
        kept = Recording(
            latent=latent,
            every=every,
            schedule=schedule,
            max_checkpoints=max_checkpoints,
            dtype=dtype,
            average=average,
            architecture=architecture,
            metadata=metadata,
            probes=probes,
            seed=seed,
        )
        if resume_from is not None:
            resume_from = check.integer("resume_from", resume_from, low=0)
        if overwrite and (resume or resume_from is not None):
            raise InputError("overwrite: give either resume or overwrite, not both.")
        self._module = unwrap(generator)
        self._schedule = kept.moments
        self._limit = max_checkpoints
        self._probe: Probe | None = None
        if latent is not None and kept.probe_count:
            self._probe = Probe(self._module, latent, probes=kept.probe_count, seed=seed)
        state = snapshot(self._module.state_dict())
        self._signals: Tensor | None = None
        if self._probe is not None:
            self._probe.signals(state)

        self.path: Path = Path(path)
        self._step = 0
        self._closed = False
        self._written: int | None = None
        self._warned: set[str] = set()
        make_directory(self.path)
        self._lock = DirectoryLock(self.path)
        try:
            self._store = open_for_writing(
                self.path,
                kept.manifest(),
                resume=resume or resume_from is not None,
                overwrite=overwrite,
            )
            self._begin(state, resume_from)
        except BaseException:
            self._lock.release()
            raise

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of the checkpoints that are kept at present."""
        return tuple(entry.step for entry in self._entries)

    @property
    def step_number(self) -> int:
        """Generator steps counted so far."""
        return self._step

    def step(self, steps: int = 1) -> bool:
        """Count generator steps, by default one; call it after the optimiser's step.

        Returns:
            Whether a checkpoint was recorded.

        Raises:
            TrajectoryError: it can't be written, e.g. because the disk is full. What was recorded
                before is kept, and the recorder can go on.
        """
        return self.at(self._step + check.integer("steps", steps, low=0))

    def at(self, step: int) -> bool:
        """Say how many generator steps were taken in all, for loops that know it themselves.

        Returns:
            Whether a checkpoint was recorded.

        Raises:
            InputError: the number went back; see :meth:`resume_from`.
        """
        self._check_open()
        step = check.integer("step", step, low=0)
        if step < self._step:
            raise InputError(
                f"step: expected at least {self._step}, the last one, got {step}. Where training "
                "resumes from an earlier step, call resume_from(step) first."
            )
        previous, self._step = self._step, step
        if self._average is not None:
            self._average.follow(self._module.state_dict(), step)
        if step == previous or not self._schedule.due(previous, step, self._moved):
            return False
        return self.record()

    def record(self) -> bool:
        """Record the present state, whatever the schedule says.

        Returns:
            False where this step was recorded already.
        """
        self._check_open()
        if self._entries and self._entries[-1].step >= self._step:
            return False
        state = snapshot(self._module.state_dict())
        signals = None if self._probe is None else self._probe.signals(state)
        drift = self._drift_to(signals) if self._entries else None
        try:
            self._write(state, drift)
        except BaseException:
            self._signals = None
            self._store.settle()
            raise
        self._signals, self._written = signals, self._step
        self._warn_unless_finite(state)
        return True

    def resume_from(self, step: int) -> None:
        """Go on from an earlier step: checkpoints beyond it are dropped.

        Call it when the training loop restored its own checkpoint, which may be older than the
        last one recorded here, and the generator holds the weights of that step.
        """
        self._check_open()
        step = check.integer("step", step, low=0)
        kept = [entry for entry in self._entries if entry.step <= step]
        if len(kept) < len(self._entries):
            self._store.commit(kept)
        self._step, self._written = step, None
        self._signals = None
        self._restore_average()
        if not kept:
            self.record()

    def close(self) -> None:
        """Record the last state and let go of the directory; harmless when called twice."""
        if self._closed:
            return
        try:
            if self._written == self._step:
                self._rewrite_where_changed()
            self.record()
        finally:
            self._closed = True
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception as second:
            if error is None:
                raise
            # What ended the training matters more than that its last state could not be kept.
            error.add_note(f"surfing: the last state could not be recorded: {second}")

    def __repr__(self) -> str:
        held = f"{len(self._entries)} of at most {self._limit} checkpoints"
        return f"Recorder({str(self.path)!r}, {self._schedule!r}, step {self._step}, {held})"

    @property
    def _entries(self) -> tuple[Entry, ...]:
        return self._store.manifest.entries

    def _write(self, state: State, drift: float | None) -> None:
        raw = self._store.put(state, self._step)
        average = None
        if self._average is not None:
            average = self._store.put(self._average.state, self._step, average=True)
        entry = Entry(self._step, raw, average, drift)
        self._store.commit(self._thinned((*self._entries, entry)))
        kept, most = len(self._entries), self._limit
        _log.info("%s: recorded step %d, %d of at most %d", self.path, self._step, kept, most)

    def _rewrite_where_changed(self) -> None:
        """Drop the last checkpoint where the module changed after its last step.

        What ends a training may put an average, or the best weights, into the module: the
        trajectory is to end at the module that is left. The entry goes before its file does, so
        that the manifest names complete files at every moment.
        """
        entries = self._entries
        if not entries or not self._differs(entries[-1]):
            return
        _log.info("%s: the weights changed after step %d: recorded anew", self.path, self._step)
        self._store.commit(entries[:-1])
        self._signals = None

    def _differs(self, entry: Entry) -> bool:
        live = state_to_bytes(snapshot(self._module.state_dict()), self._store.manifest.dtype)
        return hashlib.sha256(live).hexdigest() != entry.raw.sha256

    def _begin(self, state: State, resume_from: int | None) -> None:
        decay = self._store.manifest.average
        self._average = None if decay is None else RunningAverage(state, decay)
        if self._entries:
            self._check_fits(state)
            _log.info("%s: going on after step %d", self.path, self._entries[-1].step)
            self.resume_from(self._entries[-1].step if resume_from is None else resume_from)
            return
        self._step = resume_from or 0
        self._restore_average()
        self.record()

    def _check_fits(self, state: State) -> None:
        last = self._entries[-1].raw
        if signature(read_state(self.path, last)) != signature(state):
            raise GeneratorError(
                f"generator: its parameters and buffers differ in name or shape from those in "
                f"{self.path / last.name}. Resume with the generator that was recorded."
            )

    def _restore_average(self) -> None:
        if self._average is None:
            return
        file = self._entries[-1].average if self._entries else None
        if file is None:
            self._average.restart(snapshot(self._module.state_dict()), self._step)
        else:
            # From the step it was recorded at: the next `follow` makes up for the steps between.
            self._average.restart(read_state(self.path, file), self._entries[-1].step)

    def _moved(self) -> float:
        if self._probe is None:
            raise InputError(
                "schedule: it asks for the drift, which takes probe latents. Give the Recorder "
                "`latent` and at least one of `probes`."
            )
        drift = self._drift_to(self._probe.signals(self._module.state_dict()))
        return float("nan") if drift is None else drift

    def _drift_to(self, signals: Tensor | None) -> float | None:
        """Distance from the last checkpoint; None where it can't be known."""
        if signals is None:
            return None
        if self._signals is None:
            self._signals = self._signals_of(self._entries[-1])
        return None if self._signals is None else _finite(rms_distance(self._signals, signals))

    def _signals_of(self, entry: Entry) -> Tensor | None:
        if self._probe is None:
            return None
        try:
            state = read_state(self.path, entry.raw)
        except CorruptTrajectoryError as error:
            # A file that went bad meanwhile must not end the training; `verify` will name it.
            self._warn_once(entry.raw.name, f"drift unknown: {error}")
            return None
        device = next(iter(self._module.state_dict().values())).device
        return self._probe.signals(combine([state], lambda tensor: tensor.to(device)))

    def _thinned(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        kept = list(entries)
        while len(kept) > self._limit:
            index = most_redundant(kept)
            before, after = self._signals_of(kept[index - 1]), self._signals_of(kept[index + 1])
            drift = None
            if before is not None and after is not None:
                drift = _finite(rms_distance(before, after))
            kept[index + 1] = replace(kept[index + 1], drift=drift)
            del kept[index]
        return tuple(kept)

    def _check_open(self) -> None:
        if self._closed:
            raise InputError(f"{self.path}: this recorder was closed; open another with resume.")

    def _warn_unless_finite(self, state: State) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
            self._warn_once(
                "not finite",
                f"{self.path}: the generator's weights are not all finite at step {self._step}; "
                "the training has diverged. Checkpoints from here on are of no use.",
            )

    def _warn_once(self, about: str, text: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            warnings.warn(text, stacklevel=4)


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None

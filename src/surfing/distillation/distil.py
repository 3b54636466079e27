"""Make a trajectory for a generator of which there is one checkpoint."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from surfing.check import integer
from surfing.distillation.curriculum import Curriculum, Linearisation
from surfing.distillation.student import Student, Training
from surfing.distillation.teacher import Teacher
from surfing.errors import InputError, NotATrajectoryError, OutputExistsError
from surfing.generator import State
from surfing.latents import Latent
from surfing.progress import with_progress
from surfing.trajectory.lock import DirectoryLock
from surfing.trajectory.manifest import MAX_STEP, Entry, Manifest, check_representable
from surfing.trajectory.probe import Probe, rms_distance
from surfing.trajectory.store import (
    Store,
    make_directory,
    open_for_writing,
    read_manifest,
    read_state,
    versions,
)
from surfing.trajectory.tensors import state_to_bytes
from surfing.trajectory.trajectory import Trajectory

__all__ = ["distil"]

_log = logging.getLogger(__name__)


@with_progress("distil: stages")
def distil(
    generator: nn.Module,
    latent: Latent,
    *,
    out: str | os.PathLike[str],
    curriculum: Curriculum | None = None,
    steps: int = 60,
    batch_size: int = 128,
    learning_rate: float = 5e-3,
    architecture: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Make a path for a generator of which there is one checkpoint.

    A copy of the generator is trained, on latents of the law alone, to imitate simpler and simpler
    functions: by default (1 - w) G + w L, L the best affine approximation of G, at w = .1 ... 1.
    Each copy continues from the one before. In the other order they are a trajectory from a
    generator whose surface is nearly a bowl to the generator itself, bit for bit: there is no gap
    at its end. It depends on the generator alone: one path serves every operator.

    The trajectory in `out` is whole after every stage, with the generator as its last checkpoint,
    and the same call continues where it was interrupted: on a CPU it ends with the same bits, for a
    given number of threads. A finished one is opened and returned.

    Args:
        generator: the module with its trained weights, evaluated in eval mode. It is never touched.
        latent: the law of z that it was trained with.
        out: the directory; made if it is not there.
        curriculum: what is imitated; `Linearisation()` if None.
        steps: Adam steps of every stage.
        batch_size: latents per step.
        learning_rate: of Adam at the last level, a tenth of it at the generator; within every stage
            it falls along half a cosine.
        architecture: ``{"name": ..., "arguments": {...}}``, for generators of the zoo.
        metadata: anything else worth keeping, JSON values.
        seed: of the latents.
        device: where to compute; where the module lies if None.
        overwrite: start again, deleting the trajectory that `out` holds.
        progress: called with (stages done, stages in all).

    Returns:
        The trajectory. Its `metadata["distillation"]` has the settings, the `cost` in
        forward-equivalents, and the loss of every stage.

    Raises:
        InputError: a bad argument. Nothing was written.
        GeneratorError: the module can't be copied, has no parameters, or draws random numbers.
        OutputExistsError: `out` holds another trajectory, and `overwrite` was not given.
        SurfingError: the training diverged; the stages before are kept.

    Source: the imitation of a network by another is distillation (Hinton, Vinyals and Dean, 2015,
    arXiv 1503.02531); the homotopy from the affine fit is this project's own.
    """
    if isinstance(latent, type) or not isinstance(latent, Latent):
        raise InputError(
            f"latent: expected a law such as Normal(20), got {latent!r}.", argument="latent"
        )
    integer("seed", seed, low=0, high=MAX_STEP)
    chosen = Linearisation() if curriculum is None else curriculum
    _check_curriculum(chosen)
    training = Training(steps, batch_size, learning_rate)
    teacher = Teacher(generator, latent, None if device is None else torch.device(device))
    blank = _blank(teacher, chosen, training, seed, architecture, metadata)
    path = Path(out)
    made = _Path(path, teacher, chosen, training, seed)
    make_directory(path)
    lock = DirectoryLock(path)
    try:
        made.open(blank, overwrite=overwrite)
        made.fill(progress)
    finally:
        lock.release()
    return Trajectory.open(path, latent=latent)


def _check_curriculum(curriculum: object) -> None:
    if isinstance(curriculum, type) or not isinstance(curriculum, Curriculum):
        raise InputError(
            f"curriculum: expected an object like Linearisation(10), got {curriculum!r:.60}.",
            argument="curriculum",
        )
    levels = (0.0, *curriculum.levels)
    rising = all(a < b for a, b in itertools.pairwise(levels))
    if len(levels) == 1 or not rising or levels[-1] > 1:
        raise InputError(
            "curriculum: expected levels that rise from above 0 to at most 1, got "
            f"{levels[1:]!r:.60}.",
            argument="curriculum",
        )


def _blank(
    teacher: Teacher,
    curriculum: Curriculum,
    training: Training,
    seed: int,
    architecture: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
) -> Manifest:
    """The manifest before there is a checkpoint."""
    dtype = "float64" if teacher.dtype == torch.float64 else "float32"
    settings = {
        "curriculum": curriculum.to_dict(),
        **asdict(training),
        "seed": seed,
        "generator": hashlib.sha256(state_to_bytes(teacher.state, dtype)).hexdigest(),
    }
    made = {"settings": settings, "cost": 0, "loss": []}
    blank = Manifest(
        dtype=dtype,
        latent=teacher.latent.to_dict(),
        architecture=architecture,
        metadata={**dict(metadata or {}), **versions(), "distillation": made},
        probes={"count": len(teacher.probe(seed=seed).z), "seed": seed},
    )
    check_representable(blank)
    return blank


class _Path:
    """The stages on disk: the generator first, every copy before those that are there."""

    def __init__(
        self, path: Path, teacher: Teacher, curriculum: Curriculum, training: Training, seed: int
    ) -> None:
        self._path = path
        self._teacher = teacher
        self._curriculum = curriculum
        self._training = training
        self._seed = seed
        self._probe: Probe = teacher.probe(seed=seed)
        self._store: Store

    def open(self, blank: Manifest, *, overwrite: bool) -> None:
        """Go on with what is there, or begin with the generator."""
        going_on = not overwrite and self._is_ours(blank)
        self._store = open_for_writing(
            self._path,
            replace(blank, metadata=self._found().metadata) if going_on else blank,
            resume=going_on,
            overwrite=overwrite,
        )
        if not self._store.manifest.entries:
            last = len(self._curriculum.levels) * self._training.steps
            file = self._store.put(self._teacher.state, last)
            self._store.commit([Entry(last, file)])

    def fill(self, progress: Callable[[int, int], None] | None) -> None:
        """Train the copies that are missing."""
        levels = self._curriculum.levels
        done = len(self._store.manifest.entries) - 1
        self._tell(progress, done)
        if done == len(levels):
            return
        target = self._curriculum.target(self._teacher, seed=self._seed)
        student = Student(self._teacher, self._training, seed=self._seed)
        student.restore(self._first_state())
        for stage in range(done, len(levels)):
            loss = student.learn(target, levels[stage], stage)
            self._prepend(student.state, loss)
            self._tell(progress, stage + 1)

    def _prepend(self, state: State, loss: float) -> None:
        manifest = self._store.manifest
        entries = list(manifest.entries)
        file = self._store.put(state, entries[0].step - self._training.steps)
        before, after = self._probe.signals(state), self._probe.signals(self._on_device())
        entries[0] = replace(entries[0], drift=rms_distance(before, after))
        entry = Entry(entries[0].step - self._training.steps, file)
        made = dict(manifest.metadata["distillation"])
        made["cost"] = made["cost"] + self._teacher.spent
        made["loss"] = [loss, *made["loss"]]
        self._teacher.spent = 0
        metadata = {**manifest.metadata, "distillation": made}
        self._store.update(replace(manifest, entries=(entry, *entries), metadata=metadata))
        _log.info("%s: stage %d, loss %.3g", self._path, len(entries), loss)

    def _first_state(self) -> State:
        return read_state(self._path, self._store.manifest.entries[0].raw)

    def _on_device(self) -> State:
        return {n: t.to(self._teacher.device) for n, t in self._first_state().items()}

    def _found(self) -> Manifest:
        return read_manifest(self._path)

    def _is_ours(self, blank: Manifest) -> bool:
        """Does the directory hold a path with these very settings?"""
        try:
            found = self._found()
        except NotATrajectoryError:
            return False
        if not found.entries:
            return False
        there = found.metadata.get("distillation")
        if not isinstance(there, Mapping) or (
            there.get("settings") != blank.metadata["distillation"]["settings"]
        ):
            raise OutputExistsError(
                f"out: {self._path} holds another trajectory, or the path of another generator or "
                "of other settings. Choose another directory, or overwrite it."
            )
        return True

    def _tell(self, progress: Callable[[int, int], None] | None, done: int) -> None:
        if progress is not None:
            progress(done, len(self._curriculum.levels))

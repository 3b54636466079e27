"""Trajectory: what training left behind, in order."""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import torch
from torch import Tensor, nn

from surfing import check
from surfing.errors import CorruptTrajectoryError, EmptyTrajectoryError, InputError
from surfing.generator import Generator, State
from surfing.latents import Latent, latent_from_dict
from surfing.trajectory.checkpoint import Checkpoint, Directory, InFile, InMemory
from surfing.trajectory.interpolation import check_windows, interpolate, shrinking_averages
from surfing.trajectory.manifest import MAX_STEP
from surfing.trajectory.probe import Probe, rms_distance
from surfing.trajectory.store import read_manifest
from surfing.trajectory.tensors import signature, snapshot, without_wrappers
from surfing.trajectory.verification import Verification, verify_directory, verify_states
from surfing.trajectory.writing import write_trajectory

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Trajectory"]

MAX_LATENT_DIM = 1 << 24


class Trajectory(Sequence[Checkpoint]):
    """Checkpoints of one generator in order of training step.

    Made by :meth:`open` from a directory, read lazily, or by :meth:`from_state_dicts` in memory.
    An index gives a :class:`Checkpoint`, a slice another trajectory. The *stage* s is the position
    in [0, len - 1], real-valued in :meth:`at`; the *step* counts what training did.

    >>> import torch
    >>> states = [(step, {"w": torch.tensor([float(step)])}) for step in (0, 10, 30)]
    >>> trajectory = Trajectory.from_state_dicts(states)
    >>> trajectory.steps, trajectory[-1].step, trajectory.at(1.5)["w"].item()
    ((0, 10, 30), 30, 20.0)
    """

    pictured: ClassVar[Callable[[Trajectory], str]]
    """What a notebook shows. The package sets it: pictures are made far above this module."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        *,
        latent: Latent | None = None,
        architecture: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        path: Path | None = None,
    ) -> None:
        if not checkpoints:
            raise EmptyTrajectoryError("expected at least one checkpoint, got none.")
        self._checkpoints = tuple(checkpoints)
        self._latent = latent
        self._architecture = None if architecture is None else dict(architecture)
        self._metadata = dict(metadata or {})
        self._path = path

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        average: bool = False,
        latent: Latent | None = None,
    ) -> Self:
        """Open a directory that a Recorder, :meth:`save` or an import wrote.

        Only the manifest is read, and the files' presence and sizes are checked. A checkpoint is
        read, and its hash checked, when it is first used.

        Args:
            path: the directory.
            average: the running averages of the weights instead of the weights.
            latent: the law of z, where the manifest keeps none or one that is not known here.

        Raises:
            NotATrajectoryError: there is no manifest.
            EmptyTrajectoryError: there is no checkpoint in it.
            CorruptTrajectoryError: the manifest is damaged, or a file missing or of another size.
            InputError: no averages were recorded.
        """
        directory = Path(path)
        manifest = read_manifest(directory)
        if not manifest.entries:
            raise EmptyTrajectoryError(
                f"{directory}: expected at least one checkpoint, found none: the recorder was "
                "stopped before its first. Record again."
            )
        if average and any(entry.average is None for entry in manifest.entries):
            raise InputError(
                f"average: {directory} holds no running averages. Record with average=0.99, or "
                "use trajectory.smoothed()."
            )
        files = Directory(directory)
        checkpoints = [
            Checkpoint(
                entry.step,
                InFile(files, entry.average if average and entry.average else entry.raw),
                None if average else entry.drift,
            )
            for entry in manifest.entries
        ]
        if latent is None and manifest.latent is not None:
            latent = _latent(manifest.latent, directory)
        return cls(
            checkpoints,
            latent=latent,
            architecture=manifest.architecture,
            metadata=manifest.metadata,
            path=directory,
        )

    @classmethod
    def from_state_dicts(
        cls,
        states: Iterable[tuple[int, State]],
        *,
        latent: Latent | None = None,
        architecture: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Checkpoints in memory; the tensors are copied.

        Args:
            states: pairs of a step and a state dict, steps strictly increasing. What DDP,
                DataParallel, torch.compile and AveragedModel put before every name is stripped.
            latent: the law of z.
            architecture: ``{"name": ..., "arguments": {...}}``, for generators of the zoo.
            metadata: anything else.

        Raises:
            InputError: the steps don't increase, or the state dicts differ in name or shape.
            EmptyTrajectoryError: there are none.
        """
        checkpoints: list[Checkpoint] = []
        first: dict[str, tuple[int, ...]] | None = None
        for step, state in states:
            step = _checked_step(step, checkpoints[-1].step if checkpoints else -1)
            copy = without_wrappers(snapshot(state, f"states, step {step}"))
            first = first or signature(copy)
            if signature(copy) != first:
                raise InputError(
                    f"states: the state dict of step {step} differs in name or shape from the "
                    "first. Give checkpoints of one generator."
                )
            checkpoints.append(Checkpoint(step, InMemory(copy)))
        return cls(checkpoints, latent=latent, architecture=architecture, metadata=metadata)

    @property
    def steps(self) -> tuple[int, ...]:
        """Generator steps of the checkpoints, strictly increasing."""
        return tuple(checkpoint.step for checkpoint in self._checkpoints)

    @property
    def latent(self) -> Latent | None:
        """The law of z, where it is known."""
        return self._latent

    @property
    def architecture(self) -> dict[str, Any] | None:
        """A zoo name and its arguments, where they are known."""
        return self._architecture

    @property
    def metadata(self) -> dict[str, Any]:
        """Versions, schedule and whatever the recorder was given."""
        return self._metadata

    @property
    def path(self) -> Path | None:
        """The directory; None in memory."""
        return self._path

    @property
    def recorded_drift(self) -> tuple[float | None, ...]:
        """Recorded distances between neighbours, len - 1 of them; None where unknown."""
        return tuple(checkpoint.drift for checkpoint in self._checkpoints[1:])

    def __len__(self) -> int:
        return len(self._checkpoints)

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self._checkpoints)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Checkpoint | Self:
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        return self._checkpoints[index]

    def select(self, indices: Iterable[int]) -> Self:
        """The checkpoints at these indices.

        Raises:
            InputError: an index out of range, or not in order: steps increase. A path
                in another order is made by :meth:`from_state_dicts` with steps of its own.
            EmptyTrajectoryError: none.
        """
        chosen = [_index(i, len(self)) for i in indices]
        if any(b <= a for a, b in itertools.pairwise(chosen)):
            raise InputError(
                f"indices: expected them strictly increasing, got {chosen!r:.60}. For a path in "
                "another order, use from_state_dicts with steps of your own."
            )
        kept = [self._checkpoints[i] for i in chosen]
        for position, (before, i) in enumerate(itertools.pairwise(chosen), 1):
            if i != before + 1:
                kept[position] = replace(kept[position], drift=None)
        return self._with(kept, self._path)

    def state(self, index: int) -> dict[str, Tensor]:
        """Parameters and buffers at an index. The tensors are shared: don't write into them."""
        return self._checkpoints[_index(index, len(self))].state

    def at(self, stage: float) -> dict[str, Tensor]:
        """theta(s) at a real-valued stage: linear between neighbours.

            theta(s) = (1 - w) theta_i + w theta_{i+1},  i = floor(s), w = s - i,

        for floating tensors, batch-norm statistics included (a running variance stays positive);
        integers come from the nearer checkpoint. At a whole s, exactly that checkpoint.

        Args:
            stage: s in [0, len - 1].

        Raises:
            InputError: s is out of range.
        """
        last = len(self) - 1
        number = float(stage)
        if not 0 <= number <= last:
            raise InputError(f"stage: expected a number in [0, {last}], got {stage!r}.")
        index = int(number)
        if number == index:
            return self.state(index)
        return interpolate(self.state(index), self.state(index + 1), number - index)

    def smoothed(self, windows: Sequence[int] = (20, 10, 5, 2, 1)) -> Self:
        """A path of averages that ends at the last checkpoint.

        Adversarial training jitters: late checkpoints lie far apart at any spacing. The average of
        the last w of them (weights and batch-norm statistics) is still a good generator and lies
        closer to the last one, so averages over shrinking windows make a short, smooth path.

        Args:
            windows: how many of the last checkpoints each stage averages, strictly decreasing; 1
                is exactly the last. Windows longer than the trajectory are cut to its length.

        Returns:
            A trajectory in memory; a stage's step is the mean step of its window, rounded down.
        """
        cut = check_windows(windows, len(self))
        backwards = (checkpoint.state for checkpoint in reversed(self._checkpoints))
        stages = shrinking_averages(backwards, self.steps, cut)
        return self._with([Checkpoint(step, InMemory(state)) for step, state in stages], None)

    def distance(
        self,
        i: int,
        j: int,
        generator: nn.Module | Generator,
        *,
        probes: int = 64,
        seed: int = 0,
    ) -> float:
        """RMS distance between two checkpoints in function space; see :meth:`drift`."""
        probe = self._probe(generator, probes, seed)
        return rms_distance(probe.signals(self.state(i)), probe.signals(self.state(j)))

    def drift(
        self, generator: nn.Module | Generator, *, probes: int = 64, seed: int = 0
    ) -> Float[Tensor, " len-1"]:
        """How far G moves from each checkpoint to the next, in the units of the signal.

            d_i = sqrt( mean_j ||G_i(z_j) - G_{i+1}(z_j)||^2 / n ),  n entries per signal.

        Absolute, not relative to anything; what a recorder wrote down is in `recorded_drift`.

        Args:
            generator: the architecture.
            probes: how many latents z_j are drawn from the trajectory's latent law.
            seed: of the probes.

        Raises:
            InputError: the trajectory has no latent law.
            GeneratorError: the generator does not fit the checkpoints.
        """
        probe = self._probe(generator, probes, seed)
        before = probe.signals(self.state(0))
        moved = []
        for checkpoint in self._checkpoints[1:]:
            after = probe.signals(checkpoint.state)
            moved.append(rms_distance(before, after))
            before = after
        return torch.tensor(moved)

    def verify(self) -> Verification:
        """Read every file and check its hash and shapes, averages included.

        Raises:
            CorruptTrajectoryError: naming the first file that is damaged.
        """
        if self._path is not None:
            return verify_directory(self._path)
        return verify_states((c.step, c.state) for c in self._checkpoints)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        dtype: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the checkpoints into a directory of their own.

        Args:
            path: the directory; made if it is not there.
            dtype: "float32", "float16" or "float64"; by default float64 where a tensor is, else
                float32.
            overwrite: delete the trajectory that is there, if there is one.

        Raises:
            OutputExistsError: `path` holds a trajectory, and `overwrite` was not given.
        """
        if self._path is not None and Path(path).resolve() == self._path.resolve():
            raise InputError(f"path: expected another directory than the trajectory's own, {path}.")
        write_trajectory(
            Path(path),
            ((c.step, c.state, c.drift) for c in self._checkpoints),
            dtype=dtype,
            latent=self._latent,
            architecture=self._architecture,
            metadata=self._metadata,
            overwrite=overwrite,
        )

    def __repr__(self) -> str:
        where = "in memory" if self._path is None else repr(str(self._path))
        return (
            f"Trajectory({len(self)} checkpoints, steps {self.steps[0]}..{self.steps[-1]}, "
            f"latent={self._latent!r}, {where})"
        )

    def _repr_html_(self) -> str:
        return type(self).pictured(self)

    def _with(self, checkpoints: Sequence[Checkpoint], path: Path | None) -> Self:
        return type(self)(
            checkpoints,
            latent=self._latent,
            architecture=self._architecture,
            metadata=self._metadata,
            path=path,
        )

    def _probe(self, generator: nn.Module | Generator, probes: int, seed: int) -> Probe:
        if self._latent is None:
            raise InputError(
                "latent: distances are measured on latents, and this trajectory keeps no law. "
                "Open it with latent=Normal(k)."
            )
        return Probe(generator, self._latent, probes=probes, seed=seed)


def _latent(description: Mapping[str, Any], directory: Path) -> Latent:
    try:
        latent = latent_from_dict(description)
    except (InputError, OverflowError) as error:
        raise InputError(
            f"{directory}: {error} Open it with latent=..., an object like surfing.Normal."
        ) from error
    if latent.dim > MAX_LATENT_DIM:
        raise CorruptTrajectoryError(f"{directory}: a latent of {latent.dim} entries can't be.")
    return latent


def _index(index: int, count: int) -> int:
    number = operator.index(index)
    if not -count <= number < count:
        raise InputError(f"index: expected one in [{-count}, {count - 1}], got {index!r}.")
    return number % count


def _checked_step(step: object, before: int) -> int:
    whole = check.integer("states", step, high=MAX_STEP)
    if whole <= before:
        raise InputError(f"states: expected steps that strictly increase, got {step!r}.")
    return whole

"""A folder of checkpoint files that something else saved -> a trajectory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from surfing.errors import EmptyTrajectoryError, InputError
from surfing.latents import Latent
from surfing.trajectory.foreign import DEFAULT_PREFIX, Selection, read_foreign
from surfing.trajectory.numbering import compiled, steps_of
from surfing.trajectory.tensors import signature
from surfing.trajectory.trajectory import Trajectory
from surfing.trajectory.writing import write_trajectory

__all__ = ["import_checkpoints"]

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")


def import_checkpoints(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    prefix: str = DEFAULT_PREFIX,
    key: str | None = None,
    pattern: str | None = None,
    latent: Latent | None = None,
    architecture: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    dtype: str | None = None,
) -> Trajectory:
    """Write a trajectory from checkpoint files; the source is only read, and no code in it is run.

    A repository with one folder a step (``step-1000/model.safetensors``) will do as well: where the
    source holds no checkpoint file itself, its folders' names have the steps. Of several files in
    a folder, the only .safetensors one is taken.

    Files are ordered by the training step in their names, as a number: ``gen_9`` before
    ``gen_10``. It is the number after "step", "iter" or "kimg" if the names have one, else the one
    number that differs between them. The same source gives the same trajectory, byte for byte.

    Args:
        source: a folder of .pt, .pth, .ckpt or .safetensors files, or of one folder a step.
        out: a directory for the trajectory; made if it is not there.
        prefix: of the generator's keys in the state dict: only keys that have it are kept, and it
            is stripped. Where no key has the default "generator.", all keys are kept.
        key: where the state dict lies inside each file, dotted, e.g. "g_ema" or
            "models.generator". By default the usual places are searched.
        pattern: regular expression that a whole file name must match, suffix included; its first
            group, if it has one, is the step, e.g. ``r"gen_(\\d+)\\.pt"``. Of folders, what it
            must match is ``folder/file``.
        latent: the law of z.
        architecture: ``{"name": ..., "arguments": {...}}``, for generators of the zoo.
        metadata: anything else worth keeping, JSON values.
        dtype: how floating tensors are stored; by default float64 where one is, else float32.

    Raises:
        InputError: no step can be told from a name, two files have the same one, a file holds
            more than tensors, or the generator can't be found in it. Nothing is left behind.
        OutputExistsError: `out` holds a trajectory already.
    """
    folder = Path(source)
    files = _files(folder, pattern)
    names = _names(folder, files, pattern)
    if Path(out).resolve() == folder.resolve():
        raise InputError(f"out: expected another directory than the source, got {out}.")
    steps = steps_of(names, pattern)
    ordered = sorted(zip(steps, files, strict=True))
    write_trajectory(
        Path(out),
        _read_all(ordered, Selection(prefix, key)),
        dtype=dtype,
        latent=latent,
        architecture=architecture,
        metadata={**(metadata or {}), "imported": [_path(folder, file) for _, file in ordered]},
    )
    return Trajectory.open(out)


def _files(folder: Path, pattern: str | None) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"source: expected a folder of checkpoint files, got {folder}.")
    flat = _checkpoints(folder)
    nested = [] if flat else [_checkpoints(p) for p in sorted(folder.iterdir()) if p.is_dir()]
    if pattern is not None:
        wanted = compiled(pattern)
        flat = [p for p in flat if wanted.fullmatch(p.name)]
        nested = [[p for p in some if wanted.fullmatch(_path(folder, p))] for some in nested]
    found = flat + [_weights(some) for some in nested if some]
    if not found:
        matching = "" if pattern is None else f" that match {pattern!r}"
        raise EmptyTrajectoryError(
            f"source: expected {', '.join(SUFFIXES)} files{matching} in {folder}, found none."
        )
    return found


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _weights(files: list[Path]) -> Path:
    """Of one step's files, the weights; optimisers and schedulers lie beside them as .pt."""
    safe = [p for p in files if p.suffix.lower() == ".safetensors"]
    for some in (safe, files):
        if len(some) == 1:
            return some[0]
    raise InputError(
        f"source: expected one file of weights in {files[0].parent}, found "
        f"{', '.join(p.name for p in files)}. Say which with a pattern such as "
        f"r'.*/{re.escape(files[0].name)}'."
    )


def _names(folder: Path, files: list[Path], pattern: str | None) -> list[str]:
    """What the steps are read from."""
    if pattern is not None and compiled(pattern).groups:
        return [_path(folder, file) for file in files]
    return [file.name if file.parent == folder else file.parent.name for file in files]


def _path(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _read_all(
    ordered: list[tuple[int, Path]], selection: Selection
) -> Iterator[tuple[int, dict[str, Any], None]]:
    """One file at a time, so that memory holds one checkpoint."""
    expected: dict[str, tuple[int, ...]] | None = None
    for step, file in ordered:
        state = read_foreign(file, selection)
        found = signature(state)
        expected = expected or found
        if found != expected:
            differing = sorted(found.items() ^ expected.items())[0][0]
            raise InputError(
                f"{file}: it is no checkpoint of the same generator as {ordered[0][1].name}: they "
                f"differ in name or shape at {differing!r}. Leave it out with `pattern`."
            )
        yield step, state, None

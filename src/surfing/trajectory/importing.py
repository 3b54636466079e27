"""A folder of checkpoint files that something else saved -> a trajectory."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from surfing.errors import EmptyTrajectoryError, InputError
from surfing.latents import Latent
from surfing.trajectory.foreign import DEFAULT_PREFIX, Selection, kept_prefix, read_foreign
from surfing.trajectory.numbering import compiled, steps_of
from surfing.trajectory.sharded import indexed, joined
from surfing.trajectory.tensors import signature
from surfing.trajectory.trajectory import Trajectory
from surfing.trajectory.writing import write_trajectory

__all__ = ["import_checkpoints", "is_step", "weights_among"]

_log = logging.getLogger(__name__)

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


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

    A repository with one folder per step (``step-1000/model.safetensors``) will do too: where the
    source holds no checkpoint file itself, its folders' names have the steps. Of several files in
    a folder, the only .safetensors one is taken; one in parts, ``model-00001-of-00002.safetensors``
    or as its ``model.safetensors.index.json`` says, is joined, and counts as ``model.safetensors``.
    So will a repository in a model hub's cache, which
    holds ``refs`` and ``snapshots``, with one branch or tag per step; a name without a number, such
    as main, is left out.

    Files are ordered by the training step in their names, as a number: ``gen_9`` before
    ``gen_10``. It is the number after "step", "iter" or "kimg" if the names have one, else the one
    number that differs between them. The same source gives the same trajectory, byte for byte.

    Args:
        source: a folder of .pt, .pth, .ckpt or .safetensors files, of one folder per step, or of a
            repository in a model hub's cache.
        out: a directory for the trajectory; made if it is not there.
        prefix: of the generator's keys in the state dict: only keys that have it are kept, and it
            is stripped. Where no key has the default "generator.", all keys are kept; the
            trajectory's `metadata["imported_prefix"]` is empty then.
        key: where the state dict lies inside each file, dotted, e.g. "g_ema" or
            "models.generator". By default the usual places are searched.
        pattern: regular expression that a whole file name must match, suffix included; its first
            group, if it has one, is the step, e.g. ``r"gen_(\\d+)\\.pt"``. Of folders, what it
            must match is ``folder/file``; of revisions, ``revision/file``.
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
    names = _names(files, pattern)
    if Path(out).resolve() == folder.resolve():
        raise InputError(f"out: expected another directory than the source, got {out}.")
    steps = steps_of(names, pattern)
    ordered = sorted(zip(steps, files, strict=True))
    kept = kept_prefix(files[ordered[0][1]], Selection(prefix, key))
    write_trajectory(
        Path(out),
        _read_all([(step, files[label]) for step, label in ordered], Selection(prefix, key)),
        dtype=dtype,
        latent=latent,
        architecture=architecture,
        metadata={
            **(metadata or {}),
            "imported": [label for _, label in ordered],
            "imported_prefix": kept,
        },
    )
    made = Trajectory.open(out)
    if not kept:
        names = list(made.state(0))
        _log.warning(
            "%s: no name starts with %r: all %d were kept, from %s to %s. Where these are more "
            "than the generator's, give its prefix.",
            *(source, prefix, len(names), names[0], names[-1]),
        )
    return made


def weights_among(
    labels: Iterable[str],
    pattern: str | None,
    known: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Of files by label, ``file`` or ``folder/file``, the checkpoints: one a folder.

    Args:
        labels: of all files.
        pattern: that the label of a checkpoint must match.
        known: labels of shards, by the label that they share.

    Returns:
        The labels of the files that make up each checkpoint, by its label.

    Raises:
        InputError: a folder has several, a shard is missing, or the pattern chooses one shard.
    """
    wanted = None if pattern is None else compiled(pattern)
    weights = (n for n in labels if PurePosixPath(n).suffix.lower() in SUFFIXES)
    there = joined(weights, known)
    folders: dict[str, list[str]] = {}
    for label, parts in there.items():
        if wanted is None or wanted.fullmatch(label):
            folders.setdefault(label.rpartition("/")[0], []).append(label)
        elif len(parts) > 1 and any(wanted.fullmatch(part) for part in parts):
            name = PurePosixPath(label).name
            raise InputError(
                f"pattern: {pattern!r} chooses parts of {label}, which is in {len(parts)} files: "
                f"match the whole, as r'.*/{re.escape(name)}', and its parts are joined."
            )
    flat = folders.pop("", [])
    chosen = flat + [_weights(folder, files) for folder, files in folders.items()]
    return {label: there[label] for label in chosen}


def is_step(revision: str) -> bool:
    """Whether a branch or tag may be of a step: main is not."""
    return any(c.isdigit() for c in revision)


def _files(folder: Path, pattern: str | None) -> dict[str, tuple[Path, ...]]:
    """The files of each checkpoint by its label."""
    if not folder.is_dir():
        raise InputError(f"source: expected a folder of checkpoint files, got {folder}.")
    places = _folders(folder)
    there = {
        _label(name, file.name): file
        for name, place in places.items()
        for file in _checkpoints(place)
    }
    known = {
        _label(name, whole): tuple(_label(name, part) for part in parts)
        for name, place in places.items()
        for whole, parts in indexed(place).items()
    }
    found = weights_among(there, pattern, known)
    if not found:
        matching = "" if pattern is None else f" that match {pattern!r}"
        raise EmptyTrajectoryError(
            f"source: expected {', '.join(SUFFIXES)} files{matching} in {folder}, found none."
        )
    return {label: tuple(there[part] for part in parts) for label, parts in found.items()}


def _label(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _folders(folder: Path) -> dict[str, Path]:
    """Those of the steps by name; the folder itself, without one, where it holds the files."""
    if _checkpoints(folder):
        return {"": folder}
    refs, snapshots = folder / "refs", folder / "snapshots"
    if not (refs.is_dir() and snapshots.is_dir()):
        return {place.name: place for place in sorted(folder.iterdir()) if place.is_dir()}
    found = {}
    for file in sorted(p for p in refs.rglob("*") if p.is_file()):
        name, commit = file.relative_to(refs).as_posix(), file.read_bytes()[:65].decode("latin-1")
        # A name whose files were never fetched is no step of what is here.
        if is_step(name) and _COMMIT.fullmatch(commit) and (snapshots / commit).is_dir():
            found[name] = snapshots / commit
    return found


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _weights(folder: str, labels: list[str]) -> str:
    """Of one step's files, the weights; optimisers and schedulers lie beside them as .pt."""
    safe = [label for label in labels if label.lower().endswith(".safetensors")]
    for some in (safe, labels):
        if len(some) == 1:
            return some[0]
    names = [PurePosixPath(label).name for label in labels]
    raise InputError(
        f"source: expected one file of weights in {folder}, found {', '.join(names)}. Say which "
        f"with a pattern such as r'.*/{re.escape(names[0])}'."
    )


def _names(labels: Iterable[str], pattern: str | None) -> list[str]:
    """What the steps are read from."""
    if pattern is not None and compiled(pattern).groups:
        return list(labels)
    return [PurePosixPath(label).parent.name or label for label in labels]


def _read_all(
    ordered: list[tuple[int, tuple[Path, ...]]], selection: Selection
) -> Iterator[tuple[int, dict[str, Any], None]]:
    """One file at a time, so that memory holds one checkpoint."""
    expected: dict[str, tuple[int, ...]] | None = None
    for step, files in ordered:
        state = read_foreign(files, selection)
        found = signature(state)
        expected = expected or found
        if found != expected:
            differing = sorted(found.items() ^ expected.items())[0][0]
            raise InputError(
                f"{files[0]}: it is no checkpoint of the same generator as "
                f"{ordered[0][1][0].name}: they "
                f"differ in name or shape at {differing!r}. Leave it out with `pattern`."
            )
        yield step, state, None

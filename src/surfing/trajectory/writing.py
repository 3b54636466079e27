"""Checkpoints that are there already, into a directory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from surfing.errors import EmptyTrajectoryError, InputError
from surfing.generator import State
from surfing.latents import Latent
from surfing.trajectory.lock import DirectoryLock
from surfing.trajectory.manifest import DTYPES, MAX_CHECKPOINTS, Entry, Manifest
from surfing.trajectory.store import make_directory, open_for_writing, versions

__all__ = ["write_trajectory"]


def write_trajectory(
    path: Path,
    checkpoints: Iterable[tuple[int, State, float | None]],
    *,
    dtype: str | None = None,
    latent: Latent | None = None,
    architecture: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write checkpoints one after the other; the manifest that names them comes last.

    Args:
        path: the directory; made if it is not there.
        checkpoints: step, state and drift (if it is known), steps strictly increasing.
        dtype: how floating tensors are stored; by default float64 where one is, else float32.
        latent: the law of z.
        architecture: a zoo name and its arguments.
        metadata: anything else.
        overwrite: delete the trajectory that is there, if there is one.

    Raises:
        OutputExistsError: there is one, and `overwrite` was not given.
        TrajectoryError: it can't be written.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}.")
    rows = iter(checkpoints)
    first = next(rows, None)
    if first is None:
        raise EmptyTrajectoryError("expected at least one checkpoint to write, got none.")
    blank = Manifest(
        dtype=dtype or _widest(first[1]),
        latent=None if latent is None else latent.to_dict(),
        architecture=architecture,
        metadata={**(metadata or {}), **versions()},
    )
    make_directory(path)
    lock = DirectoryLock(path)
    try:
        store = open_for_writing(path, blank, resume=False, overwrite=overwrite)
        entries: list[Entry] = []
        for step, state, drift in itertools.chain([first], rows):
            if len(entries) == MAX_CHECKPOINTS:
                raise InputError(f"expected at most {MAX_CHECKPOINTS} checkpoints; select some.")
            entries.append(Entry(step, store.put(state, step), None, drift if entries else None))
        store.commit(entries)
    finally:
        lock.release()


def _widest(state: State) -> str:
    return "float64" if any(t.dtype == torch.float64 for t in state.values()) else "float32"

"""Checkpoints that are there already, into a directory."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from surfing.errors import EmptyTrajectoryError, InputError
from surfing.generator import State
from surfing.latents import Latent
from surfing.trajectory.lock import DirectoryLock
from surfing.trajectory.manifest import (
    DTYPES,
    MAX_CHECKPOINTS,
    Entry,
    Manifest,
    check_representable,
)
from surfing.trajectory.store import Store, make_directory, open_for_writing, versions

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

    Where it fails, nothing of it is left behind.

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
        metadata={**dict(metadata or {}), **versions()},
    )
    check_representable(blank)
    made = not path.exists()
    make_directory(path)
    lock = DirectoryLock(path)
    try:
        store = open_for_writing(path, blank, resume=False, overwrite=overwrite)
        try:
            _fill(store, itertools.chain([first], rows))
        except BaseException:
            store.abandon()
            raise
    finally:
        lock.release()
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()  # only where nothing was left in it


def _fill(store: Store, checkpoints: Iterable[tuple[int, State, float | None]]) -> None:
    entries: list[Entry] = []
    for step, state, drift in checkpoints:
        if len(entries) == MAX_CHECKPOINTS:
            raise InputError(f"expected at most {MAX_CHECKPOINTS} checkpoints; select some.")
        entries.append(Entry(step, store.put(state, step), None, drift if entries else None))
    store.commit(entries)


def _widest(state: State) -> str:
    return "float64" if any(t.dtype == torch.float64 for t in state.values()) else "float32"

"""Share a trajectory: a folder with a card, which a model hub can hold as it is."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from surfing import files
from surfing.errors import InputError, TrajectoryError, require
from surfing.trajectory import Trajectory
from surfing.trajectory.importing import is_step, weights_among

__all__ = ["fetch_revisions", "from_pretrained", "save_pretrained"]

_CARD = "README.md"
_OURS = ("manifest.json", "*.safetensors")
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def save_pretrained(
    trajectory: Trajectory,
    folder: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a trajectory with a card into a folder that can be uploaded as it is.

    Args:
        trajectory: what to share.
        folder: made if it is not there. A README.md that it holds already is kept.
        dtype: how floating tensors are stored; see :meth:`Trajectory.save`.
        overwrite: replace the trajectory that is there, if there is one.

    Raises:
        OutputExistsError: the folder holds a trajectory, and `overwrite` was not given.
    """
    trajectory.save(folder, dtype=dtype, overwrite=overwrite)
    card = Path(folder) / _CARD
    if not card.exists():
        files.write(card, _card(trajectory, Path(folder).resolve().name))


def from_pretrained(
    name_or_folder: str | os.PathLike[str], *, revision: str | None = None
) -> Trajectory:
    """Open a trajectory that :func:`save_pretrained` wrote.

    Args:
        name_or_folder: a folder, or the name of a repository on the hub, ``owner/name``: its
            manifest and checkpoints are downloaded into the hub's cache, nothing else of it.
        revision: branch, tag or commit of the repository.

    Raises:
        InputError: neither a folder nor a name; a revision of a folder.
        TrajectoryError: the download failed, or what came is no trajectory.
        MissingExtraError: a name, and huggingface-hub is not installed.
    """
    if Path(name_or_folder).is_dir():
        if revision is not None:
            raise InputError(f"revision: the folder {name_or_folder} has none; leave it out.")
        return Trajectory.open(name_or_folder)
    name = os.fspath(name_or_folder)
    if not _REPOSITORY.fullmatch(name):
        raise InputError(
            f"name_or_folder: expected a folder or a repository's name, owner/name; got {name!r}, "
            "and no folder is there."
        )
    hub = require("huggingface_hub", "hub")
    try:
        folder = hub.snapshot_download(name, revision=revision, allow_patterns=list(_OURS))
    except Exception as error:  # of the network, the hub or the disk, each with its own class
        raise TrajectoryError(
            f"{name}: no folder of that name, and the download failed: {_reason(error)}"
        ) from error
    snapshot = Path(folder)
    assets = hub.cached_assets_path("surfing", namespace=name, subfolder=snapshot.name)
    return Trajectory.open(_without_links(snapshot, Path(assets)))


def fetch_revisions(name: str, *, pattern: str | None = None) -> Path:
    """Download a repository that keeps each step of a training as a branch or tag of its own.

    Of each revision whose name has a number, one file of weights, or its parts, chosen as by
    :func:`surfing.import_checkpoints`; what the hub's cache has already is not downloaded again.
    With HF_HUB_OFFLINE set, the cache is taken as it is.

    Args:
        name: of the repository, ``owner/name``.
        pattern: regular expression that ``revision/file`` must match.

    Returns:
        The repository's folder in the cache, for :func:`surfing.import_checkpoints`.

    Raises:
        InputError: not a name, or several files of weights in one revision.
        TrajectoryError: the download failed, or no revision is of a step.
        MissingExtraError: huggingface-hub is not installed.
    """
    if not _REPOSITORY.fullmatch(name):
        raise InputError(f"name: expected a repository's name, owner/name; got {name!r}.")
    hub, constants = require("huggingface_hub", "hub"), require("huggingface_hub.constants", "hub")
    cached = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    if constants.HF_HUB_OFFLINE:
        if cached.is_dir():
            return cached
        raise TrajectoryError(f"{name}: it is not in the hub's cache, and HF_HUB_OFFLINE is set.")
    try:
        files = _remote_weights(hub.HfApi(), name, pattern)
        for revision, file in files:
            hub.hf_hub_download(name, file, revision=revision)
    except InputError:
        raise
    except Exception as error:
        raise TrajectoryError(f"{name}: the download failed: {_reason(error)}") from error
    if not files:
        raise TrajectoryError(
            f"{name}: expected a branch or tag for each step, such as step1000, that holds a file "
            "of weights; found none."
        )
    return cached


def _remote_weights(api: Any, name: str, pattern: str | None) -> list[tuple[str, str]]:
    """(revision, file) of each step."""
    refs = api.list_repo_refs(name)
    revisions = dict.fromkeys(ref.name for ref in (*refs.branches, *refs.tags) if is_step(ref.name))
    labels = [
        f"{revision}/{file}"
        for revision in revisions
        for file in api.list_repo_files(name, revision=revision)
        if "/" not in file
    ]
    chosen = weights_among(labels, pattern).values()
    parts = (label.rpartition("/") for files in chosen for label in files)
    return [(revision, file) for revision, _, file in parts]


def _reason(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{first:.200}"


def _without_links(snapshot: Path, out: Path) -> Path:
    """The snapshot's files in a directory of their own.

    In the hub's cache a snapshot is made of symbolic links, which a trajectory refuses, for they
    may lead anywhere. `out` is named after a commit: what is in it never changes.
    """
    for pattern in reversed(_OURS):  # the manifest last: it names files that are there
        for file in sorted(snapshot.glob(pattern)):
            if not (out / file.name).exists():
                partial = out / f".{os.getpid()}-{file.name}"
                _link(file.resolve(), partial)
                partial.replace(out / file.name)
    return out


def _link(file: Path, out: Path) -> None:
    try:
        os.link(file, out)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(file, out)


def _card(trajectory: Trajectory, name: str) -> str:
    size = sum(tensor.numel() for tensor in trajectory.state(-1).values())
    latent = "not known" if trajectory.latent is None else f"`{trajectory.latent!r}`"
    architecture = (trajectory.architecture or {}).get("name")
    return f"""---
library_name: surfing
tags:
- surfing
- inverse-problems
---

# {name}

Checkpoints of one generator along its training, for recovering its latents from measurements.

| | |
| --- | --- |
| checkpoints | {len(trajectory)}, steps {trajectory.steps[0]} to {trajectory.steps[-1]} |
| numbers in each | {size} |
| law of the latents | {latent} |
| architecture | {architecture or "the generator's own code is needed: `generator=`"} |

```python
import surfing
from surfing.integrations.hub import from_pretrained

trajectory = from_pretrained("{name}")  # a folder, or owner/name on the hub
solution = surfing.recover(trajectory, y, operator=operator)
```
"""

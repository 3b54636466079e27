"""What a folder says of its run, and of the measurements that its shards were solved from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surfing import files
from surfing.errors import InputError, LockedTrajectoryError, OutputExistsError, TrajectoryError
from surfing.trajectory.lock import LOCK_NAME, DirectoryLock

__all__ = [
    "as_json",
    "begin",
    "check_measured",
    "fingerprint",
    "locked",
    "read_run",
    "write_json",
]

_FORMAT = 1
_RUN = "run.json"
_RESULTS = (
    *("z.npy", "x.npy", "result.json", "learned.safetensors"),
    *("weights.npy", "mean.npy", "std.npy", "low.npy", "high.npy", "x_mean.npy", "x_std.npy"),
)


def as_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as they come back from a file: tuples are lists, all keys are text.

    Raises:
        InputError: something in them has no JSON form.
    """
    try:
        return dict(json.loads(json.dumps(dict(facts), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"facts: expected JSON values ({error}); give paths as text, arrays as lists."
        ) from error


def locked(out: Path) -> DirectoryLock:
    """Two that write one folder would each undo what the other does."""
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"out: {out} is a file; name a folder.", argument="out")
    out.mkdir(parents=True, exist_ok=True)
    try:
        return DirectoryLock(out)
    except LockedTrajectoryError as error:
        raise OutputExistsError(
            f"out: another process is writing to {out}. Let it end, or name another folder.",
            argument="out",
        ) from error
    except TrajectoryError as error:
        raise InputError(f"out: {error}", argument="out") from error


def begin(out: Path, facts: Mapping[str, Any], *, targets: int, size: int, overwrite: bool) -> int:
    """Say in the folder what the run is, and return its shards' size.

    Args:
        out: the folder, locked.
        facts: from :func:`as_json`.
        targets: how many there are.
        size: of shards, where the run has not begun.
        overwrite: delete another run's results.

    Raises:
        OutputExistsError: another run, or something else, is there.
    """
    found = read_run(out)
    if found is not None:
        differing = _differing(found["facts"], facts)
        if found.get("targets", targets) != targets:  # folders of before don't say it
            differing.append("number of targets")
        if not differing and not overwrite:
            return int(found["shard"])
        if not overwrite:
            raise OutputExistsError(
                f"out: {out} holds a run with another {', '.join(differing)}. Repeat its "
                "arguments to go on with it, name another folder, or say overwrite.",
                argument="out",
            )
        _clear(out)
    elif not _is_unused(out):
        raise OutputExistsError(
            f"out: {out} exists and holds no run; name another folder.", argument="out"
        )
    (out / "shards").mkdir(parents=True, exist_ok=True)
    run = {"format": _FORMAT, "key": _key(facts), "shard": size, "targets": targets}
    write_json(out / _RUN, run | {"facts": dict(facts)})
    return size


def read_run(out: Path) -> dict[str, Any] | None:
    """What a folder says of its run; None where it holds none.

    Raises:
        OutputExistsError: it says it in a way that can't be read.
    """
    try:
        found = json.loads((out / _RUN).read_text(encoding="utf-8"))
        readable = found["format"] == _FORMAT and found["key"] == _key(found["facts"])
        readable = readable and isinstance(found["shard"], int) and found["shard"] > 0
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        readable = False
    if not readable:
        raise OutputExistsError(
            f"out: {out / _RUN} is damaged, or of another version; name another folder.",
            argument="out",
        )
    return dict(found)


def _is_unused(out: Path) -> bool:
    """Empty, or left by a start that was killed before it had said what the run is."""

    def left(path: Path) -> bool:
        empty = path.name == "shards" and path.is_dir() and not any(path.iterdir())
        return empty or path.name == LOCK_NAME or path.name.startswith(files.TEMPORARY)

    return all(map(left, out.iterdir()))


def _differing(found: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Names of facts that are not the same.

    None and False say as much as no word of it, so that a folder of before there was an option is
    one that did not use it.
    """

    def said(of: Mapping[str, Any], name: str) -> Any:
        value = of.get(name)
        return None if value is False else value

    return sorted(name for name in {**found, **facts} if said(found, name) != said(facts, name))


def _key(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _clear(out: Path) -> None:
    """What a run wrote, and nothing else. Its run.json stays until the next one replaces it."""
    kinds = ("shards/*.safetensors", "shards/*.json", "parquet/*.parquet")
    pieces = [path for kind in kinds for path in out.glob(kind)]
    for path in [*pieces, *(out / name for name in _RESULTS)]:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a file whole or not at all."""
    files.write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def fingerprint(rows: Tensor) -> dict[str, Any]:
    """What tells some measurements from others: shape, type and a hash of their bytes."""
    data = rows.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return {
        "shape": list(rows.shape),
        "dtype": str(rows.dtype).removeprefix("torch."),
        "sha256": hashlib.sha256(data.data).hexdigest(),
    }


def check_measured(path: Path, ids: range, rows: Tensor) -> None:
    """See that a finished shard was solved from these measurements; folders of before don't say.

    Args:
        path: what was written of them, by :func:`fingerprint`.
        ids: of the shard.
        rows: the measurements that it would be solved from now.

    Raises:
        OutputExistsError: it was solved from others.
    """
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return
    if before != fingerprint(rows):
        raise OutputExistsError(
            f"out: {path.parents[1]} holds solutions of other measurements: targets {ids.start} to "
            f"{ids.stop - 1} are not those of before. Give the same ones in the same order, name "
            "another folder, or say overwrite.",
            argument="out",
        )

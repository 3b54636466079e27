"""A long run in bounded pieces: each is written whole or not at all, and is done only once.

OUT/run.json            what the run is: hashes of its inputs, its arguments
OUT/shards/00000000-00000256.safetensors    one Solution each, by target
OUT/mix.json            what the pilot found; kept, so that every shard goes by the same
OUT/z.npy, x.npy, result.json               the whole, once every shard is there
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.lib.format import open_memmap

from surfing.errors import (
    InputError,
    LockedTrajectoryError,
    MeasurementError,
    OutputExistsError,
    TrajectoryError,
)
from surfing.execution.dataset import opened
from surfing.execution.parquet import write_solution
from surfing.execution.solve import Executor, Measurements, Progress, Solve, rows_of
from surfing.solution import Solution, Status
from surfing.trajectory.lock import LOCK_NAME, DirectoryLock

__all__ = ["Shards"]

_log = logging.getLogger(__name__)

_FORMAT = 1
_RUN = "run.json"
_RESULTS = ("z.npy", "x.npy", "result.json", "mix.json")


@dataclass(frozen=True)
class Shards:
    """The folder of one run; it is this process's alone until the `with` block ends.

    Args:
        out: the folder.
        targets: how many there are.
        size: targets in each shard but the last.
        lock: of the folder.
    """

    out: Path
    targets: int
    size: int
    lock: DirectoryLock

    @classmethod
    def open(
        cls, out: Path, facts: Mapping[str, Any], *, targets: int, size: int, overwrite: bool
    ) -> Shards:
        """Begin a run, or find the one that was begun with the same facts.

        Args:
            out: the folder; made if it is not there.
            facts: all that the result depends on, JSON values.
            targets: how many there are.
            size: targets a shard; a run that goes on keeps the size it began with.
            overwrite: delete another run's results.

        Raises:
            OutputExistsError: `out` holds another run, or something else, or is being written to.
        """
        if isinstance(size, bool) or size < 1:
            raise InputError(f"shard: expected a positive number of targets, got {size}.")
        lock = _locked(out)
        try:
            kept = _begin(out, facts, size, overwrite=overwrite)
        except BaseException:
            lock.release()
            raise
        return cls(out, targets, kept, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def ranges(self) -> list[range]:
        """The targets of each shard."""
        return [
            range(low, min(low + self.size, self.targets))
            for low in range(0, self.targets, self.size)
        ]

    def path(self, ids: range) -> Path:
        """Where a shard's solution lies."""
        return self.out / "shards" / f"{ids.start:08d}-{ids.stop:08d}.safetensors"

    def done(self, ids: range) -> bool:
        """Whether a shard is there; a damaged one is named, and counts as not there."""
        if not self.path(ids).is_file():
            return False
        try:
            return len(Solution.load(self.path(ids))) == len(ids)
        except InputError as error:
            warnings.warn(f"{error} It is computed again.", stacklevel=2)
            return False

    def run(
        self,
        solve: Solve,
        y: Measurements,
        executor: Executor,
        *,
        place: torch.device | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Solve what is not solved yet, and write each shard when it is.

        Targets are known by their number in `y`, wherever they are solved.

        Args:
            solve: what to do with a shard.
            y: one line a target, perhaps still on the disk; a Ray Dataset too.
            executor: who does it.
            place: the device that measurements are moved to.
            progress: called with (targets done, targets in all), those of before included.

        Returns:
            How many shards were there already.

        Raises:
            MeasurementError: `y` has another number of targets.
        """
        y = opened(y)
        if len(y) != self.targets:
            raise MeasurementError(f"y: expected {self.targets} targets, got {len(y)}.")
        waiting = [part for part in self.ranges() if not self.done(part)]
        before = self.targets - sum(map(len, waiting))

        def tick(done: int, total: int) -> None:
            if progress is not None:
                progress(before + done, before + total)

        solved = executor.run(
            solve,
            waiting,
            lambda part: rows_of(y, part).to(place),
            ids=range(self.targets),
            progress=tick,
        )
        for part, solution in solved:
            solution.save(self.path(part), overwrite=True)
            _log.info("%s: targets %d to %d are done", self.out, part.start, part.stop - 1)
        return len(self.ranges()) - len(waiting)

    def solutions(self) -> Iterator[tuple[range, Solution]]:
        """One shard after the other."""
        for ids in self.ranges():
            yield ids, Solution.load(self.path(ids))

    def keep(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What the run found out once and goes by from then on: made, or read where it is there.

        Args:
            name: of the file, without .json.
            make: called where it is not there.
        """
        path = self.out / f"{name}.json"
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            there = None
        if isinstance(there, dict):
            return there
        _write_json(path, made := make())
        return made

    def gather(self, *, parquet: bool = False) -> dict[str, Any]:
        """Write z.npy, x.npy and result.json, a shard in memory at a time.

        Args:
            parquet: write a folder of parquet files too, one a shard.

        Returns:
            What result.json holds.
        """
        risk, status, cost = (np.zeros(self.targets) for _ in range(3))
        arrays: dict[str, np.memmap[Any, Any]] = {}
        notes: dict[str, None] = {}
        seconds, method = 0.0, ""
        for ids, solution in self.solutions():
            place = slice(ids.start, ids.stop)
            for name, values in (("z", solution.z), ("x", solution.x)):
                whole = values.detach().cpu().numpy()
                if name not in arrays:
                    shape = (self.targets, *whole.shape[1:])
                    part = self.out / f".{name}.npy.part"
                    arrays[name] = open_memmap(part, mode="w+", dtype=whole.dtype, shape=shape)
                arrays[name][place] = whole
            risk[place], cost[place] = solution.risk.numpy(), solution.cost.numpy()
            status[place] = solution.status.numpy()
            notes |= dict.fromkeys(solution.notes)
            seconds, method = seconds + solution.seconds, solution.method
            if parquet:
                name = self.path(ids).with_suffix(".parquet").name
                write_solution(self.out / "parquet" / name, ids, solution)
        for name, array in arrays.items():
            array.flush()
            os.replace(self.out / f".{name}.npy.part", self.out / f"{name}.npy")
        result = _summary(risk, status, cost)
        result |= {"method": method, "seconds": seconds, "notes": list(notes)}
        _write_json(self.out / "result.json", result)
        return result


def _locked(out: Path) -> DirectoryLock:
    """Two that write one folder would each undo what the other does."""
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"out: {out} is a file; name a folder.")
    out.mkdir(parents=True, exist_ok=True)
    try:
        return DirectoryLock(out)
    except LockedTrajectoryError as error:
        raise OutputExistsError(
            f"out: another process is writing to {out}. Let it end, or name another folder."
        ) from error
    except TrajectoryError as error:
        raise InputError(f"out: {error}") from error


def _begin(out: Path, facts: Mapping[str, Any], size: int, *, overwrite: bool) -> int:
    """Say in the folder what the run is, and return its shards' size."""
    found = _read_run(out)
    if found is not None:
        differing = _differing(found["facts"], facts)
        if not differing and not overwrite:
            return int(found["shard"])
        if not overwrite:
            raise OutputExistsError(
                f"out: {out} holds a run with another {', '.join(differing)}. Repeat its "
                "arguments to go on with it, name another folder, or say overwrite."
            )
        _clear(out)
    elif not _is_unused(out):
        raise OutputExistsError(f"out: {out} exists and holds no run; name another folder.")
    (out / "shards").mkdir(parents=True, exist_ok=True)
    run = {"format": _FORMAT, "key": _key(facts), "shard": size, "facts": dict(facts)}
    _write_json(out / _RUN, run)
    return size


def _summary(risk: np.ndarray, status: np.ndarray, cost: np.ndarray) -> dict[str, Any]:
    ends = [Status(int(s)) for s in status]
    residual = np.sqrt(2 * risk)
    occurring = sorted(set(ends), key=lambda end: (-ends.count(end), end))
    return {
        "targets": len(ends),
        "met": sum(end.success for end in ends),
        "residual_median": _number(np.median(residual)),
        "cost_mean": _number(cost.mean()),
        "ends": [
            {"status": end.name.lower(), "targets": ends.count(end), "meaning": end.message}
            for end in occurring
        ],
        "status": [end.name.lower() for end in ends],
        "residual": [_number(value) for value in residual],
        "cost": [_number(value) for value in cost],
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _read_run(out: Path) -> dict[str, Any] | None:
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
            f"out: {out / _RUN} is damaged, or of another version; name another folder."
        )
    return dict(found)


def _is_unused(out: Path) -> bool:
    """Empty, or left by a start that was killed before it had said what the run is."""

    def left(path: Path) -> bool:
        empty = path.name == "shards" and path.is_dir() and not any(path.iterdir())
        return empty or path.name == LOCK_NAME or path.name.startswith(f".{_RUN}.")

    return all(map(left, out.iterdir()))


def _differing(found: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    names = {**found, **facts}
    return sorted(name for name in names if found.get(name) != facts.get(name))


def _key(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _clear(out: Path) -> None:
    """What a run wrote, and nothing else. Its run.json stays until the next one replaces it."""
    pieces = [*(out / "shards").glob("*.safetensors"), *(out / "parquet").glob("*.parquet")]
    for path in [*pieces, *(out / name for name in _RESULTS)]:
        path.unlink(missing_ok=True)


def _write_json(path: Path, value: object) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

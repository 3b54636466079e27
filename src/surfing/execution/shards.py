"""A long run in bounded pieces: each is written whole or not at all, and is done only once.

OUT/run.json            what the run is: hashes of its inputs, its arguments
OUT/shards/00000000-00000256.safetensors    one Solution each, by target
OUT/shards/00000000-00000256.json           which measurements it was solved from
OUT/learned.safetensors starts learned once; kept, so that every shard uses the same
OUT/z.npy, x.npy, result.json               the whole, once every shard is there
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.lib.format import open_memmap

from surfing import check, files
from surfing.errors import InputError, MeasurementError
from surfing.execution.dataset import opened
from surfing.execution.executor import Executor, Measurements, Progress, Solve
from surfing.execution.manifest import (
    as_json,
    begin,
    check_measured,
    fingerprint,
    locked,
    read_run,
    write_json,
)
from surfing.execution.parquet import write_solution
from surfing.execution.solve import shards_of
from surfing.execution.targets import Targets, rows_of
from surfing.solution import Solution, Status, remarks
from surfing.trajectory.lock import DirectoryLock

__all__ = ["Shards"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shards:
    """The folder of one run; it is this process's alone until the `with` block ends.

    Args:
        out: the folder.
        targets: how many there are.
        size: targets in each shard but the last.
        lock: of the folder.
        read: of one shard's file: what has a length and the method `save`.
    """

    out: Path
    targets: int
    size: int
    lock: DirectoryLock
    read: Callable[[Path], Any] = Solution.load

    @classmethod
    def open(
        cls,
        out: Path | str,
        facts: Mapping[str, Any],
        *,
        targets: int,
        size: int,
        overwrite: bool,
        read: Callable[[Path], Any] = Solution.load,
    ) -> Shards:
        """Begin a run, or find the one that was begun with the same facts.

        Args:
            out: the folder; made if it is not there.
            facts: all that the result depends on but the measurements, JSON values; one that is
                None or False is as good as left out.
            targets: how many there are.
            size: targets per shard; a run that is continued keeps the size it began with.
            overwrite: delete another run's results.
            read: of one shard's file, where it holds something else than solutions.

        Raises:
            InputError: a bad argument.
            OutputExistsError: `out` holds another run, or something else, or is being written to.
        """
        out, facts = Path(out), as_json(facts)
        size = check.integer("shard", size, low=1)
        targets = check.integer("targets", targets, low=0)
        lock = locked(out)
        try:
            kept = begin(out, facts, targets=targets, size=size, overwrite=overwrite)
        except BaseException:
            lock.release()
            raise
        return cls(out, targets, kept, lock, read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def ranges(self) -> list[range]:
        """The targets of each shard."""
        return shards_of(self.targets, self.size)

    def path(self, ids: range) -> Path:
        """Where a shard's solution lies."""
        return self.out / "shards" / f"{ids.start:08d}-{ids.stop:08d}.safetensors"

    def _measured(self, ids: range) -> Path:
        return self.path(ids).with_suffix(".json")

    def done(self, ids: range) -> bool:
        """Whether a shard is there; a damaged one is named, and counts as not there."""
        if not self.path(ids).is_file():
            return False
        try:
            return len(self.read(self.path(ids))) == len(ids)
        except InputError as error:
            warnings.warn(f"{error} It is computed again.", stacklevel=2)
            return False

    def run(
        self,
        solve: Solve,
        y: Measurements | Targets,
        executor: Executor,
        *,
        place: torch.device | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Solve what is not solved yet, and write each shard when it is.

        Targets are known by their number in `y`, wherever they are solved.

        Args:
            solve: what to do with a shard.
            y: one line per target, perhaps still on the disk; a Ray Dataset too.
            executor: who does it.
            place: the device that measurements are moved to.
            progress: called with (targets done, targets in all), those of before included.

        Returns:
            How many shards were there already.

        Raises:
            MeasurementError: `y` has another number of targets.
            OutputExistsError: shards that are done were solved from other measurements.
        """
        y = y if isinstance(y, Targets) else opened(y)
        if len(y) != self.targets:
            raise MeasurementError(f"y: expected {self.targets} targets, got {len(y)}.")
        waiting, read = [], dict[range, dict[str, Any]]()
        for part in self.ranges():
            if self.done(part):
                check_measured(self._measured(part), part, _measured_rows(y, part))
            else:
                waiting.append(part)
        before = self.targets - sum(map(len, waiting))

        def tick(done: int, total: int) -> None:
            if progress is not None:
                progress(before + done, before + total)

        def measured(part: range) -> Any:
            rows = rows_of(y, part)
            read[part] = fingerprint(rows.y if isinstance(rows, Targets) else rows)
            return rows.to(place)

        ids = range(self.targets)
        for part, solution in executor.run(solve, waiting, measured, ids=ids, progress=tick):
            write_json(self._measured(part), read.pop(part))  # a shard that is there is known
            solution.save(self.path(part), overwrite=True)
            _log.info("%s: targets %d to %d are done", self.out, part.start, part.stop - 1)
        return len(self.ranges()) - len(waiting)

    def solutions(self) -> Iterator[tuple[range, Any]]:
        """One shard after the other, as `read` gives it."""
        for ids in self.ranges():
            yield ids, self.read(self.path(ids))

    @classmethod
    def finished(cls, out: Path | str) -> tuple[Solution, dict[str, Any]]:
        """The solution of a finished run, and the facts that it depends on.

        Raises:
            InputError: no such run, or not all of its shards are there.
        """
        folder = Path(out)
        found = read_run(folder)
        if found is None:
            raise InputError(f"solution: {folder} is not the folder of a run.")
        files_there = sorted((folder / "shards").glob("*.safetensors"))
        parts = [Solution.load(file) for file in files_there]
        count = sum(map(len, parts))
        if count == 0 or count != found.get("targets", count):
            raise InputError(
                f"solution: {folder} holds {count} of {found.get('targets', '?')} targets; give "
                "the command that began it once more to finish it."
            )
        return Solution.joined(parts), dict(found["facts"])

    def gather(self, *, parquet: bool = False) -> dict[str, Any]:
        """Write z.npy, x.npy and result.json, a shard in memory at a time.

        Args:
            parquet: write a folder of parquet files too, one a shard.

        Returns:
            What result.json holds.
        """
        risk, status, cost, far, unknown = (np.zeros(self.targets) for _ in range(5))
        arrays: dict[str, np.memmap[Any, Any]] = {}
        notes: dict[str, None] = {}
        seconds, method, k = 0.0, "", 1
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
            far[place] = np.nan if solution.distance is None else solution.distance.numpy()
            unknown[place] = solution.undetermined.numpy()
            k = solution.z.shape[1]
            notes |= dict.fromkeys(solution.notes)
            seconds, method = seconds + solution.seconds, solution.method
            if parquet:
                name = self.path(ids).with_suffix(".parquet").name
                write_solution(self.out / "parquet" / name, ids, solution)
        for name, array in arrays.items():
            array.flush()
            files.publish(self.out / f".{name}.npy.part", self.out / f"{name}.npy")
        if parquet:
            self._drop_strangers()
        result = _summary(risk, status, cost)
        said = remarks(torch.from_numpy(far), torch.from_numpy(unknown).long(), k)
        result |= {"method": method, "seconds": seconds, "notes": [*notes, *said]}
        write_json(self.out / "result.json", result)
        return result

    def _drop_strangers(self) -> None:
        """Parquet files of other shards; whoever reads the folder reads all of them."""
        mine = {self.path(ids).stem for ids in self.ranges()}
        for file in (self.out / "parquet").glob("*.parquet"):
            if re.fullmatch(r"\d{8,}-\d{8,}", file.stem) and file.stem not in mine:
                file.unlink()


def _measured_rows(y: Any, part: range) -> torch.Tensor:
    rows: torch.Tensor = rows_of(y.y if isinstance(y, Targets) else y, part)
    return rows


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

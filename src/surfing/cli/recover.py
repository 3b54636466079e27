"""``surfing recover``: measurements in, latents out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surfing.cli.common import Common, Report, Screen, Tick
from surfing.cli.inputs import (
    digest,
    load_generator,
    open_run,
    pick_device,
    read_measurements,
    source_digest,
    state_digest,
)
from surfing.cli.shards import Shards
from surfing.continuation import surf
from surfing.continuation.binding import bind
from surfing.descent import Stopping
from surfing.errors import InputError, MeasurementError
from surfing.report import Column, Table
from surfing.report.tables import count, number, seconds
from surfing.solution import Solution
from surfing.trajectory import Trajectory

__all__ = ["recover"]


def recover(
    run: str,
    /,
    *,
    measurements: Path,
    out: Path,
    operator: str | None = None,
    operator_seed: int = 0,
    generator: str | None = None,
    latent: str | None = None,
    starts: int = 4,
    noise: float | None = None,
    shard: int = 256,
    overwrite: bool = False,
    common: Common | None = None,
) -> Report:
    """Recover latents and signals from measurements.

    Targets are worked on in shards, each written when it is done: after an interruption the same
    command goes on from there. Results don't depend on the size of the shards.

    Args:
        run: a trajectory's folder, or packaged.
        measurements: .npy, .npz or .safetensors: one line a target, as the operator returns it.
        out: folder for z.npy, x.npy, result.json and the shards.
        operator: gaussian:20, inpainting:0.5, downsampling:4, blur:2.0, mri:4 or
            phase-retrieval:400; the identity where left out.
        operator_seed: of the operator's own random numbers.
        generator: package.module:callable that makes the module that was trained; may be left out
            where the trajectory names an architecture of the zoo.
        latent: normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law.
        starts: start points a target; the best by measurement risk is kept.
        noise: standard deviation of the noise in each measurement.
        shard: targets worked on at a time.
        overwrite: delete the results that OUT holds of another run.
    """
    common = common or Common()
    screen = Screen(common)
    trajectory = open_run(run, pick_device(common.device), latent=latent)
    job = Job(
        trajectory,
        load_generator(generator, trajectory),
        read_measurements(measurements),
        operator=operator,
        operator_seed=operator_seed,
        starts=starts,
        noise=noise,
        seed=common.seed,
    )
    job.check()
    facts = job.facts() | {"measurements": digest(measurements)}
    shards = Shards.open(out, facts, targets=len(job.y), size=shard, overwrite=overwrite)
    with screen.progress("recovering") as tick:
        there = shards.run(lambda ids: job.solve(ids, shards, tick))
    result = shards.gather()
    screen.say(_table(result).rich(), f"{_resumed(there)}Written to {out}.")
    return {"out": out, "shards_found": there, **result}


@dataclass(frozen=True)
class Job:
    """What to recover from what, and how.

    Args:
        trajectory: checkpoints of training.
        generator: their architecture.
        y: one line a target, perhaps still on the disk.
        operator: by name, or None.
        operator_seed: of the operator's random numbers.
        starts: start points a target.
        noise: standard deviation, or None.
        seed: of the starts.
    """

    trajectory: Trajectory
    generator: nn.Module
    y: np.ndarray | Tensor
    operator: str | None
    operator_seed: int
    starts: int
    noise: float | None
    seed: int

    def check(self) -> None:
        """Find whatever is wrong before anything is written.

        Raises:
            SurfingError: an argument, the measurements, or that they don't fit each other.
        """
        if self.starts < 1:
            raise InputError(f"--starts: expected a positive number, got {self.starts}.")
        Stopping(noise=self.noise)
        _check_finite(self.y)
        # One target tells whether shapes and types fit, without the others in memory.
        part = self.part(range(1))
        try:
            bind(
                self.trajectory,
                part,
                generator=self.generator,
                operator=self.operator,
                latent=None,
                operator_seed=self.operator_seed,
            )
        except MeasurementError as error:
            said = str(error).replace(str(tuple(part.shape)), str(tuple(self.y.shape)))
            raise MeasurementError(f"--measurements: {said}") from error

    def facts(self) -> dict[str, Any]:
        """All that the result depends on, but the measurements."""
        latent = self.trajectory.latent
        return {
            "trajectory": state_digest(self.trajectory),
            "generator": source_digest(self.generator),
            "latent": None if latent is None else latent.to_dict(),
            "operator": self.operator,
            "operator_seed": self.operator_seed,
            "starts": self.starts,
            "noise": self.noise,
            "seed": self.seed,
        }

    def part(self, ids: range) -> Tensor:
        """Some targets' measurements, in memory, on the trajectory's device."""
        device = next(t.device for t in self.trajectory[-1].state.values())
        rows = self.y[ids.start : ids.stop]
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(np.array(rows, dtype=rows.dtype.newbyteorder("=")))
        return rows.to(device)

    def solve(self, ids: range, shards: Shards, tick: Tick) -> Solution:
        """One shard. Targets are known by their number in the file, wherever they are solved."""
        before = shards.ranges().index(ids)

        def advance(done: int, total: int) -> None:
            tick(before * total + done, len(shards.ranges()) * total)

        return surf(
            self.trajectory,
            self.part(ids),
            generator=self.generator,
            operator=self.operator,
            operator_seed=self.operator_seed,
            starts=self.starts,
            stopping=Stopping(noise=self.noise),
            seed=self.seed,
            ids=ids,
            progress=advance,
        )


_AT_A_TIME = 1 << 22


def _check_finite(y: np.ndarray | Tensor) -> None:
    bad: list[int] = []
    rows = max(1, _AT_A_TIME // math.prod(y.shape[1:]))
    for low in range(0, len(y), rows):
        part = np.asarray(y[low : low + rows])
        lost = ~np.isfinite(part).reshape(len(part), -1).all(1)
        bad += (np.flatnonzero(lost) + low).tolist()
    if bad:
        raise MeasurementError(
            f"--measurements: {len(bad)} of {len(y)} targets hold NaN or infinity, the first is "
            f"target {bad[0]}; drop or mask them."
        )


def _table(result: dict[str, Any]) -> Table:
    columns = [
        Column("status", "ended", right=False),
        Column("targets", "targets", count),
        Column("meaning", "that is", right=False),
    ]
    spent = seconds(result["seconds"])
    title = (
        f"{result['met']} of {result['targets']} targets meet their measurements; residual norm "
        f"{number(result['residual_median'])} (median), cost {count(result['cost_mean'])} "
        f"forward-equivalents a target, {spent}"
    )
    return Table(title, columns, tuple(result["ends"]), tuple(result["notes"]))


def _resumed(there: int) -> str:
    if there == 0:
        return ""
    return f"{there} shard{'s were' if there > 1 else ' was'} done already. "

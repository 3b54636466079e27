"""``surfing recover``: measurements in, latents out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from surfing.cli.common import Common, Report, Screen, as_typed
from surfing.cli.inputs import (
    digest,
    load_generator,
    open_run,
    pick_device,
    read_measurements,
    source_digest,
    state_digest,
)
from surfing.continuation import Mix, Pilot
from surfing.continuation import recover as recover_targets
from surfing.continuation.attempt import Bench
from surfing.continuation.polish import check_polish
from surfing.continuation.recover import bench_of, block_size
from surfing.continuation.stored import bench_of_first
from surfing.errors import InputError, MeasurementError, require
from surfing.execution import Executor, Local, Measurements, Ray, Shards, Solve, ready
from surfing.report import Column, Table
from surfing.report.tables import count, number, seconds
from surfing.trajectory import Trajectory

__all__ = ["recover"]

_OPTIONS = ("budget", "noise", "polish", "batch_invariant", "workers", "shard", "out")
"""Arguments of the library that are options here, under the same names."""


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
    budget: float = 2000,
    noise: float | None = None,
    batch_invariant: bool = False,
    polish: bool = False,
    executor: Literal["local", "ray"] = "local",
    workers: int | None = None,
    shard: int | None = None,
    parquet: bool = False,
    overwrite: bool = False,
    common: Common | None = None,
) -> Report:
    """Recover latents and signals from measurements.

    Targets are worked on in shards, each written when it is done: after an interruption the same
    command goes on from there. Results depend neither on the executor nor on the number of
    workers, nor on the size of the shards where that is a multiple of the default, or with
    --batch-invariant.

    Args:
        run: a trajectory's folder, or packaged.
        measurements: .npy, .npz or .safetensors, or .parquet or a folder of such: one line a
            target, as the operator returns it.
        out: folder for z.npy, x.npy, result.json and the shards.
        operator: gaussian:20, inpainting:0.5, downsampling:4, blur:2.0, mri:4 or
            phase-retrieval:400; the identity where left out.
        operator_seed: of the operator's own random numbers.
        generator: package.module:callable that makes the module that was trained; may be left out
            where the trajectory names an architecture of the zoo.
        latent: normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law.
        budget: what each target may spend, in passes through the generator.
        noise: standard deviation of the noise in each measurement.
        batch_invariant: give a target the same bits whatever targets are beside it; takes longer.
        polish: take a few more steps in double precision, beyond the budget; z.npy and x.npy hold
            float64 then.
        executor: local, in this process, or ray, on the workers of a Ray cluster: the one that
            RAY_ADDRESS names, or one on this machine.
        workers: of the cluster; one a CPU where left out.
        shard: targets worked on at a time; 256 on a CPU and 4096 on a GPU where left out.
        parquet: write a folder of parquet files too, one a shard.
        overwrite: delete the results that OUT holds of another run.
    """
    common = common or Common()
    screen = Screen(common)
    trajectory = open_run(run, device := pick_device(common.device), latent=latent)
    job = Job(
        trajectory,
        load_generator(generator, trajectory),
        read_measurements(measurements),
        operator=operator,
        operator_seed=operator_seed,
        budget=budget,
        noise=noise,
        batch_invariant=batch_invariant,
        polish=polish,
        seed=common.seed,
    )
    with as_typed(*_OPTIONS):
        by = _executor(executor, workers, device)
    if parquet:
        require("pyarrow.parquet", "ray")
    bench = job.check()
    facts = job.facts() | {"measurements": digest(measurements)}
    size = block_size(device) if shard is None else shard
    with (
        as_typed(*_OPTIONS),
        ready(by),
        Shards.open(out, facts, targets=len(job.y), size=size, overwrite=overwrite) as shards,
        screen.progress("recovering") as tick,
    ):
        mix = shards.keep("mix", lambda: Pilot().choose(bench).to_dict())
        solver, place = job.solver(mix), bench.problem.device
        there = shards.run(solver, job.y, by, place=place, progress=tick)
        result = shards.gather(parquet=parquet) | {"mix": mix}
    screen.say(_table(result).rich(), f"{_resumed(there)}Written to {out}.")
    return {"out": out, "shards_found": there, **result}


def _executor(name: str, workers: int | None, device: torch.device) -> Executor:
    if name == "local":
        if workers is not None:
            raise InputError(
                "--workers: expected with --executor ray; this process is one.",
                argument="--workers",
            )
        return Local()
    return Ray(workers=workers, gpus=0.0 if device.type == "cpu" else 1.0)


@dataclass(frozen=True)
class Job:
    """What to recover from what, and how.

    Args:
        trajectory: checkpoints of training.
        generator: their architecture.
        y: one row per target, perhaps still on the disk.
        operator: by name, or None.
        operator_seed: of the operator's random numbers.
        budget: forward-equivalents per target.
        noise: standard deviation, or None.
        batch_invariant: whether a target's bits must not depend on the others.
        polish: whether to end in double precision.
        seed: of everything random.
    """

    trajectory: Trajectory
    generator: nn.Module
    y: Measurements
    operator: str | None
    operator_seed: int
    budget: float
    noise: float | None
    batch_invariant: bool
    polish: bool
    seed: int

    def check(self) -> Bench:
        """Find whatever is wrong before anything is written.

        Returns:
            What the pilot works on: one target, whose measurements it does not look at.

        Raises:
            SurfingError: an argument, the measurements, or that they don't fit each other.
        """
        _check_finite(self.y)
        make = partial(
            bench_of,
            self.trajectory,
            generator=self.generator,
            operator=self.operator,
            budget=self.budget,
            noise=self.noise,
            seed=self.seed,
            operator_seed=self.operator_seed,
            batch_invariant=self.batch_invariant,
        )
        try:
            with as_typed(*_OPTIONS):
                bench = bench_of_first(self.y, make, self.trajectory)
                if self.polish:
                    check_polish(bench.problem, bench.networks[1])
                return bench
        except MeasurementError as error:
            raise MeasurementError(f"--measurements: {error}", argument="--measurements") from error

    def facts(self) -> dict[str, Any]:
        """All that the result depends on, but the measurements."""
        latent = self.trajectory.latent
        return {
            "trajectory": state_digest(self.trajectory),
            "generator": source_digest(self.generator),
            "latent": None if latent is None else latent.to_dict(),
            "operator": self.operator,
            "operator_seed": self.operator_seed,
            "budget": self.budget,
            "noise": self.noise,
            "batch_invariant": self.batch_invariant,
            "polish": self.polish,
            "seed": self.seed,
        }

    def solver(self, mix: dict[str, Any]) -> Solve:
        """What is done with a shard; the pilot's answer goes along."""
        return partial(
            recover_targets,
            self.trajectory,
            generator=self.generator,
            operator=self.operator,
            budget=self.budget,
            noise=self.noise,
            mix=Mix.from_dict(mix),
            seed=self.seed,
            operator_seed=self.operator_seed,
            batch_invariant=self.batch_invariant,
            polish=self.polish,
        )


_AT_A_TIME = 1 << 22


def _check_finite(y: Measurements) -> None:
    bad: list[int] = []
    rows = max(1, _AT_A_TIME // max(1, math.prod(y[0:1].shape)))
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

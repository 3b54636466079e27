"""``surfing recover``: measurements in, latents out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from surfing.cli.common import Common, Report, Screen, as_typed
from surfing.cli.inputs import (
    digest,
    load_generator,
    load_operator,
    open_run,
    pick_device,
    read_array,
    read_given,
    read_measurements,
    read_noise,
    read_prior,
    source_digest,
    state_digest,
)
from surfing.descent import Stopping
from surfing.errors import InputError, MeasurementError, require
from surfing.execution import Executor, Local, Measurements, Ray, Shards
from surfing.execution.targets import Targets
from surfing.portfolio.bank import learned_for
from surfing.portfolio.limits import deadline
from surfing.portfolio.solver import BlockSolver, solver_of
from surfing.problem import ForwardModel
from surfing.report import Column, Table
from surfing.report.tables import count, number
from surfing.report.tables import seconds as in_seconds
from surfing.starts import LearnedStarts
from surfing.trajectory import Trajectory

__all__ = ["check_finite", "executor_named", "file_fact", "recover", "resumed"]

_OPTIONS = (
    *("budget", "seconds", "noise", "prior", "given", "z0", "learned", "polish"),
    *("batch_invariant", "workers", "shard", "out", "operator"),
)
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
    seconds: float | None = None,
    noise: str | None = None,
    prior: str | None = None,
    given: list[str] | None = None,
    z0: Path | None = None,
    learned: Path | None = None,
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
    command continues from there. Results depend neither on the executor nor on the number of
    workers, nor on the size of the shards where that is a multiple of the default, or with
    --batch-invariant.

    Args:
        run: a trajectory's folder, or packaged.
        measurements: .npy, .npz or .safetensors, or .parquet or a folder of such: one line for
            each target, as the operator returns it.
        out: folder for z.npy, x.npy, result.json and the shards.
        operator: gaussian:20, inpainting:0.5, downsampling:4, blur:2.0, mri:4 or
            phase-retrieval:400, or package.module:callable; the identity where left out.
        operator_seed: of the operator's own random numbers.
        generator: package.module:callable that makes the module that was trained; may be left out
            where the trajectory names an architecture of the zoo.
        latent: normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law.
        budget: what each target may spend, in passes through the generator.
        seconds: wall time of the whole run, shared evenly by blocks of targets: after it no
            further step is begun.
        noise: standard deviation of the noise: a number, or a .npy of one for each target or in
            the shape of the measurements, inf where nothing was measured.
        prior: weight of the law's penalty that is kept in the answer, or law for the MAP estimate,
            which needs a noise level.
        given: NAME=FILE.npy, (targets, ...): inputs of generator and operator that differ by
            target; may be repeated.
        z0: .npy of latents to try first, (targets, k) or (targets, n, k).
        learned: learned starts that LearnedStarts.save wrote, for this model.
        batch_invariant: give a target the same bits whatever targets are beside it; takes longer.
        polish: take a few more steps in double precision, beyond the budget; z.npy and x.npy hold
            float64 then.
        executor: local, in this process, or ray, on the workers of a Ray cluster: the one that
            RAY_ADDRESS names, or one on this machine.
        workers: of the cluster; one per CPU where left out.
        shard: targets worked on at a time; 256 on a CPU and 4096 on a GPU where left out.
        parquet: write a folder of parquet files too, one per shard.
        overwrite: delete the results that OUT holds of another run.
    """
    common = common or Common()
    screen = Screen(common)
    trajectory = open_run(run, device := pick_device(common.device), latent=latent)
    y = read_measurements(measurements)
    job = Job(
        trajectory,
        load_generator(generator, trajectory),
        Targets(
            y,
            noise=read_noise(noise),
            given=read_given(given),
            z0=None if z0 is None else read_array("--z0", z0),
        ),
        operator=operator,
        operator_seed=operator_seed,
        budget=budget,
        prior=read_prior(prior),
        seconds=seconds,
        batch_invariant=batch_invariant,
        polish=polish,
        seed=common.seed,
    )
    with as_typed(*_OPTIONS):
        by = executor_named(executor, workers, device)
    if parquet:
        require("pyarrow.parquet", "ray")
    solver = job.check()
    files = {"noise": noise, "z0": z0, "learned": learned}
    facts = job.facts() | {"measurements": digest(measurements)}
    facts |= {name: file_fact(value) for name, value in files.items()}
    facts |= {"given": None if not given else {n: file_fact(f) for n, f in _pairs(given)}}
    size = solver.block if shard is None else shard
    with (
        as_typed(*_OPTIONS),
        by.ready(),
        Shards.open(out, facts, targets=len(y), size=size, overwrite=overwrite) as shards,
        screen.progress("recovering") as tick,
    ):
        tick(0, len(y))
        known = _learned(out, solver, job, learned)
        solver = solver.with_learned(known, math.inf if learned is not None else len(y))
        there = shards.run(solver, job.targets, by, place=solver.model.device, progress=tick)
        result = shards.gather(parquet=parquet)
    once = 0.0 if known is None else known.cost
    result |= {"cost_once": once}
    screen.say(_table(result).rich(), f"{resumed(there)}Written to {out}.")
    return {"out": out, "shards_found": there, **result}


def _learned(out: Path, solver: BlockSolver, job: Job, given: Path | None) -> LearnedStarts | None:
    """Starts that were named, that the run began with, or that are learned now and kept."""
    kept = out / "learned.safetensors"
    if given is not None:
        return LearnedStarts.open(given, solver.model)
    if kept.is_file():
        return LearnedStarts.open(kept, solver.model)
    known = learned_for(solver, len(job.targets), given=job.targets.given)
    if known is not None:
        known.save(kept)
    return known


def file_fact(value: object) -> object:
    """What tells one run's option from another's: a file's hash, or the words themselves."""
    path = Path(str(value)) if value is not None else None
    return (
        digest(path)
        if path is not None and path.is_file()
        else (None if path is None else str(value))
    )


def _pairs(given: list[str]) -> list[tuple[str, str]]:
    return [(name, path) for name, _, path in (each.partition("=") for each in given)]


def executor_named(name: str, workers: int | None, device: torch.device) -> Executor:
    """Who works on the shards.

    Raises:
        InputError: workers of this process.
    """
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
        targets: measurements, perhaps still on the disk, and what belongs to them.
        operator: by name, or None.
        operator_seed: of the operator's random numbers.
        budget: forward-equivalents for each target.
        prior: weight, "law" or None.
        seconds: limit of the whole run.
        batch_invariant: whether a target's bits must not depend on the others.
        polish: whether to end in double precision.
        seed: of everything random.
    """

    trajectory: Trajectory
    generator: nn.Module
    targets: Targets
    operator: str | None
    operator_seed: int
    budget: float
    prior: float | str | None
    seconds: float | None
    batch_invariant: bool
    polish: bool
    seed: int

    def check(self) -> BlockSolver:
        """Find whatever is wrong before anything is written.

        Returns:
            What is done with a shard.

        Raises:
            SurfingError: an argument, the measurements, or that they don't fit each other.
        """
        check_finite(self.targets.y)
        try:
            with as_typed(*_OPTIONS):
                model = ForwardModel(
                    self.trajectory,
                    generator=self.generator,
                    operator=load_operator(self.operator),
                    operator_seed=self.operator_seed,
                    batch_invariant=self.batch_invariant,
                )
                solver = solver_of(
                    model,
                    budget=self.budget,
                    prior=self.prior,
                    stopping=Stopping(polish=self.polish),
                    seed=self.seed,
                    until=deadline(self.seconds, batch_invariant=self.batch_invariant),
                )
                first = self.targets.rows(range(1)).to(model.device)
                solver.check(first, whole=len(self.targets))
                return solver
        except MeasurementError as error:
            raise MeasurementError(f"--measurements: {error}", argument="--measurements") from error

    def facts(self) -> dict[str, Any]:
        """All that the result depends on, but what comes from files."""
        latent = self.trajectory.latent
        return {
            "trajectory": state_digest(self.trajectory),
            "generator": source_digest(self.generator),
            "latent": None if latent is None else latent.to_dict(),
            "operator": self.operator,
            "operator_seed": self.operator_seed,
            "budget": self.budget,
            "prior": self.prior,
            "seconds": self.seconds,
            "batch_invariant": self.batch_invariant,
            "polish": self.polish,
            "seed": self.seed,
        }


_AT_A_TIME = 1 << 22


def check_finite(y: Measurements) -> None:
    """See that all measurements are numbers, a part in memory at a time.

    Raises:
        MeasurementError: some are not.
    """
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
        Column("status", "ended", lambda name: name.replace("_", " "), right=False),
        Column("targets", "targets", count),
        Column("meaning", "that is", right=False),
    ]
    spent = in_seconds(result["seconds"])
    title = (
        f"{result['met']} of {result['targets']} targets meet their measurements; residual norm "
        f"{number(result['residual_median'])} (median), cost {count(result['cost_mean'])} "
        f"forward-equivalents for each target and "
        f"{count(result.get('cost_once', 0.0))} once, {spent}"
    )
    return Table(title, columns, tuple(result["ends"]), tuple(result["notes"]))


def resumed(there: int) -> str:
    """What is said of shards that were there already."""
    if there == 0:
        return ""
    return f"{there} shard{'s were' if there > 1 else ' was'} done already. "

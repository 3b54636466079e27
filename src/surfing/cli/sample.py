"""``surfing sample``: measurements and their noise in, draws of the posterior out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap

from surfing import files
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
from surfing.cli.recover import check_finite, executor_named, file_fact, resumed
from surfing.errors import InputError, MeasurementError
from surfing.execution import Shards
from surfing.execution.manifest import write_json
from surfing.execution.targets import Targets
from surfing.portfolio.limits import block_size
from surfing.posterior import Draws, DrawsStatus, Poisson
from surfing.posterior.block import BlockSampler
from surfing.posterior.sample import ESTIMATE, sampler_of, starts_for
from surfing.problem import ForwardModel
from surfing.report import Column, Table
from surfing.report.tables import count, number
from surfing.report.tables import seconds as in_seconds
from surfing.starts import LearnedStarts

__all__ = ["sample"]

_OPTIONS = (
    *("noise", "draws", "prior", "budget", "starts", "given", "z0", "learned"),
    *("batch_invariant", "workers", "shard", "out", "operator"),
)
_LEVEL = 0.95


def sample(
    run: str,
    /,
    *,
    measurements: Path,
    noise: str,
    out: Path,
    draws: int = 100,
    operator: str | None = None,
    operator_seed: int = 0,
    generator: str | None = None,
    latent: str | None = None,
    prior: str = "law",
    budget: float = 2000,
    starts: int | None = None,
    given: list[str] | None = None,
    z0: Path | None = None,
    learned: Path | None = None,
    signals: bool = False,
    batch_invariant: bool = False,
    executor: Literal["local", "ray"] = "local",
    workers: int | None = None,
    shard: int | None = None,
    overwrite: bool = False,
    common: Common | None = None,
) -> Report:
    """Draw latents from the posterior: how sure a recovery is.

    Targets are worked on in shards, each written when it is done: after an interruption the same
    command continues from there. OUT gets z.npy (targets, draws, k), weights.npy, and of every
    latent mean.npy, std.npy and the ends low.npy and high.npy of a 95% interval.

    Args:
        run: a trajectory's folder, or packaged.
        measurements: .npy, .npz or .safetensors, or .parquet or a folder of such: one line for
            each target, as the operator returns it.
        noise: standard deviation of the noise: a number, or a .npy of one for each target or in
            the shape of the measurements, inf where nothing was measured; poisson or poisson:GAIN
            for counts; estimate where the level is not known.
        out: folder for the results and the shards.
        draws: of each target.
        operator: as of surfing recover; the identity where left out.
        operator_seed: of the operator's own random numbers.
        generator: package.module:callable that makes the module that was trained; may be left out
            where the trajectory names an architecture of the zoo.
        latent: normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law.
        prior: law, or a weight as of surfing recover.
        budget: what each target may spend on finding its modes, in passes through the generator.
        starts: of each target; with more a mode is less likely missed; some ten where left out.
        given: NAME=FILE.npy, (targets, ...): what generator and operator are told of each target;
            may be repeated.
        z0: .npy of latents to start from too, (targets, k) or (targets, n, k).
        learned: learned starts that LearnedStarts.save wrote, for this model.
        signals: write x_mean.npy and x_std.npy too, of the signals by pixel.
        batch_invariant: evaluate generator and operator so that no target's bits depend on others.
        executor: local, in this process, or ray, on the workers of a Ray cluster.
        workers: of the cluster; one per CPU where left out.
        shard: targets worked on at a time; 256 on a CPU and 4096 on a GPU where left out.
        overwrite: delete the results that OUT holds of another run.
    """
    common = common or Common()
    screen = Screen(common)
    trajectory = open_run(run, device := pick_device(common.device), latent=latent)
    y = read_measurements(measurements)
    check_finite(y)
    net = load_generator(generator, trajectory)
    read = read_given(given)
    with as_typed(*_OPTIONS):
        by = executor_named(executor, workers, device)
        model = ForwardModel(
            trajectory,
            generator=net,
            operator=load_operator(operator),
            operator_seed=operator_seed,
            batch_invariant=batch_invariant,
        )
        sampler, level = sampler_of(
            model,
            noise=_noise(noise),
            draws=draws,
            prior=read_prior(prior) or "law",
            budget=budget,
            starts=starts,
            seed=common.seed,
        )
    start = None if z0 is None else read_array("--z0", z0)
    job = _Job(sampler, Targets(y, noise=level, given=read, z0=start))
    job.check()
    facts = {
        "what": "sample",
        "trajectory": state_digest(trajectory),
        "generator": source_digest(net),
        "latent": None if trajectory.latent is None else trajectory.latent.to_dict(),
        "measurements": digest(measurements),
        **{"operator": operator, "operator_seed": operator_seed, "prior": prior},
        **{"draws": draws, "budget": budget, "starts": starts, "seed": common.seed},
        **{"batch_invariant": batch_invariant, "noise": file_fact(noise)},
        **{"z0": file_fact(z0), "learned": file_fact(learned)},
        "given": None if not given else sorted(f"{g} {file_fact(_file(g))}" for g in given),
    }
    size = block_size(model) if shard is None else shard
    with (
        as_typed(*_OPTIONS),
        by.ready(),
        Shards.open(
            out, facts, targets=len(y), size=size, overwrite=overwrite, read=Draws.open
        ) as shards,
        screen.progress("sampling") as tick,
    ):
        tick(0, len(y))
        job = job.with_learned(out, learned)
        solve: Any = job.sampler  # executors hand on whatever a block's work returns
        there = shards.run(solve, job.targets, by, place=model.device, progress=tick)
        result = _gathered(shards, model if signals else None, read)
    known = job.sampler.solver.learned
    result |= {"cost_once": 0.0 if known is None else known.cost}
    screen.say(_table(result).rich(), f"{resumed(there)}Written to {out}.")
    return {"out": out, "shards_found": there, **result}


@dataclass(frozen=True)
class _Job:
    """What is done with a shard, and all targets.

    Args:
        sampler: of a block.
        targets: perhaps still on the disk.
    """

    sampler: BlockSampler
    targets: Targets

    def check(self) -> None:
        """Find whatever is wrong before anything is written."""
        try:
            with as_typed(*_OPTIONS):
                first = self.targets.rows(range(1)).to(self.sampler.model.device)
                self.sampler.check(first, whole=len(self.targets))
        except MeasurementError as error:
            raise MeasurementError(f"--measurements: {error}", argument="--measurements") from error

    def with_learned(self, out: Path, given: Path | None) -> _Job:
        """With starts that were named, that the run began with, or that are learned and kept."""
        kept, model = out / "learned.safetensors", self.sampler.model
        if given is not None:
            known = LearnedStarts.open(given, model)
            return _Job(self.sampler.with_learned(known, math.inf), self.targets)
        if kept.is_file():
            known = LearnedStarts.open(kept, model)
        else:
            made = starts_for(
                self.sampler, len(self.targets), given=self.targets.given, learned=None
            )
            if made is None:
                return self
            known = made
            known.save(kept)
        return _Job(self.sampler.with_learned(known, len(self.targets)), self.targets)


def _noise(text: str) -> Any:
    """A number, a file, estimate, poisson or poisson:GAIN."""
    if text == ESTIMATE:
        return ESTIMATE
    name, _, gain = text.partition(":")
    if name != "poisson":
        try:
            return read_noise(text)
        except InputError as error:
            raise InputError(
                "--noise: expected a number, a .npy file, poisson, poisson:GAIN or estimate, got "
                f"{text!r} ({error}).",
                argument="--noise",
            ) from error
    try:
        return Poisson(float(gain)) if gain else Poisson()
    except ValueError as error:
        raise InputError(
            f"--noise: expected poisson:GAIN with a number > 0, got {text!r}.", argument="--noise"
        ) from error


def _file(pair: str) -> str:
    return pair.partition("=")[2]


def _gathered(shards: Shards, model: ForwardModel | None, given: Any) -> dict[str, Any]:
    """Write the arrays and result.json, a shard in memory at a time."""
    arrays: dict[str, Any] = {}
    told: dict[str, list[Any]] = {name: [] for name in ("status", "ess", "misfit", "noise", "cost")}
    modes, notes, seconds = [], dict[str, None](), 0.0
    for ids, draws in shards.solutions():
        place = slice(ids.start, ids.stop)
        low, high = draws.interval(_LEVEL)
        named = {"z": draws.z, "weights": draws.weights, "mean": draws.mean, "std": draws.std}
        named |= {"low": low, "high": high}
        if model is not None:
            mine = None if given is None else {n: v[place] for n, v in given.items()}
            seen = draws.signals(levels=(), model=model, given=mine)
            named |= {"x_mean": seen.mean, "x_std": seen.std}
        for name, values in named.items():
            whole = values.detach().cpu().numpy()
            if name not in arrays:
                part = shards.out / f".{name}.npy.part"
                shape = (shards.targets, *whole.shape[1:])
                arrays[name] = open_memmap(part, mode="w+", dtype=whole.dtype, shape=shape)
            arrays[name][place] = whole
        for name, values in told.items():
            values += getattr(draws, name).tolist()
        modes += [m[m > 0].tolist() for m in draws.modes.mass]
        notes |= dict.fromkeys(draws.notes)
        seconds += draws.seconds
    for name, array in arrays.items():
        array.flush()
        files.publish(shards.out / f".{name}.npy.part", shards.out / f"{name}.npy")
    ends = [DrawsStatus(int(s)) for s in told.pop("status")]
    plain = {name: [_number(v) for v in values] for name, values in told.items()}
    result = {
        "targets": len(ends),
        "ends": [
            {"status": e.label, "targets": ends.count(e), "meaning": e.message}
            for e in sorted(set(ends), key=lambda e: (-ends.count(e), e))
        ],
        "ess_median": _number(np.median(told["ess"])) if ends else None,
        "cost_mean": _number(np.mean(told["cost"])) if ends else None,
        "seconds": seconds,
        "notes": list(notes),
        "status": [end.label for end in ends],
        "mode_masses": modes,
        **plain,
    }
    write_json(shards.out / "result.json", result)
    return result


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _table(result: dict[str, Any]) -> Table:
    columns = [
        Column("status", "draws", right=False),
        Column("targets", "targets", count),
        Column("meaning", "that is", right=False),
    ]
    title = (
        f"{result['targets']} targets; effective sample size {number(result['ess_median'])} "
        f"(median), cost {count(result['cost_mean'])} forward-equivalents for each target and "
        f"{count(result['cost_once'])} once, {in_seconds(result['seconds'])}"
    )
    return Table(title, columns, tuple(result["ends"]), tuple(result["notes"]))

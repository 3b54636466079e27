"""``surfing view``: the surface, the surfers on it, and what they found, as one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from surfing import check
from surfing.cli.common import Common, Report, Screen, Tick
from surfing.cli.inputs import PACKAGED, load_generator, open_run, pick_device, read_measurements
from surfing.continuation import direct, surf
from surfing.errors import InputError
from surfing.evaluation.curves import read_curves
from surfing.evaluation.selftest import own_samples
from surfing.execution.parquet import Column
from surfing.posterior import Draws
from surfing.problem import as_operator
from surfing.report.page import view as write
from surfing.solution import Solution
from surfing.trajectory import Trajectory

__all__ = ["view"]

_DRAWN = 48


def view(
    run: str,
    /,
    *,
    measurements: Path | None = None,
    solution: Path | None = None,
    operator: str | None = None,
    generator: str | None = None,
    latent: str | None = None,
    targets: int | None = None,
    starts: int = 1,
    comparison: Path | None = None,
    draws: Path | None = None,
    featured: int = 8,
    out: Path | None = None,
    overwrite: bool = False,
    common: Common | None = None,
) -> Report:
    """Write one HTML page that shows a recovery: the surface, the surfers, the reconstructions.

    Without --measurements the targets are signals that the trained generator makes of latents of
    its law. They are surfed, and beside that descended on directly from the same starts.

    Args:
        run: a trajectory's folder, or packaged.
        measurements: targets of your own, as for surfing recover.
        solution: a file that Solution.save wrote, to be shown instead of a new ride; it needs
            --measurements.
        operator: as in surfing recover; the identity where left out.
        generator: package.module:callable, where the trajectory names no architecture of the zoo.
        latent: normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law.
        targets: how many to draw, 48 where left out, or to take of the measurements, all.
        starts: start points per target.
        comparison: compare.json of surfing compare, or budget.json of python -m paper budget:
            the page draws success against cost from it.
        draws: what surfing sample wrote for the same --measurements, its folder or a file that
            Draws.save wrote: the page shows how sure each target is.
        featured: how many targets get a surface.
        out: the page; surfing-view.html, surfing-view-2.html, ... where left out.
        overwrite: replace OUT if it exists.
    """
    common = common or Common()
    screen = Screen(common)
    if targets is not None:
        check.integer("--targets", targets, low=1)
    if solution is not None and measurements is None:
        raise InputError("--solution: needs the --measurements that it was found from.")
    if draws is not None and measurements is None:
        raise InputError("--draws: needs the --measurements that they were drawn for.")
    drawn = None if draws is None else _draws(draws)
    curves = None if comparison is None else read_curves(comparison, cell=Path(run).name)
    device = pick_device(common.device)
    trajectory = open_run(run, device, latent=latent)
    module = load_generator(generator, trajectory)
    asked = _Asked(trajectory, module, operator, starts, common.seed)
    y, truth = asked.targets(measurements, targets)
    with screen.progress("surfing, and direct descent") as tick:
        ridden = asked.ride(y, tick) if solution is None else Solution.load(solution).to(device)
        beside = asked.descend(y)
    page = write(
        ridden,
        out,
        trajectory=trajectory,
        y=y,
        generator=module,
        operator=operator,
        operator_seed=common.seed,
        beside=beside,
        truth=truth,
        success=curves,
        draws=drawn,
        title=f"Surfing {'the packaged trajectory' if run == PACKAGED else Path(run).name}",
        featured=featured,
        overwrite=overwrite,
    )
    screen.say(ridden.summary(), f"Page: {page}")
    met = {"surfed": int(ridden.success.sum()), "direct": int(beside.success.sum())}
    return {"run": run, "page": page, "targets": len(ridden), "met": met}


@dataclass(frozen=True)
class _Asked:
    """What both methods get."""

    trajectory: Trajectory
    module: nn.Module
    operator: str | None
    starts: int
    seed: int

    def targets(self, path: Path | None, count: int | None) -> tuple[Tensor, Tensor | None]:
        """Measurements, and the latents they come from where these were drawn."""
        device = next(iter(self.trajectory[-1].state.values())).device
        if path is not None:
            return _read(path, count).to(device), None
        drawn = own_samples(self.trajectory, self.module, count or _DRAWN, seed=self.seed)
        shape = tuple(drawn.x.shape[1:])
        forward = as_operator(self.operator, shape, seed=self.seed, device=device)
        with torch.no_grad():
            return forward(drawn.x), drawn.z

    def ride(self, y: Tensor, tick: Tick) -> Solution:
        """Along the checkpoints."""
        return surf(
            self.trajectory,
            y,
            generator=self.module,
            operator=self.operator,
            operator_seed=self.seed,
            starts=self.starts,
            seed=self.seed,
            progress=tick,
        )

    def descend(self, y: Tensor) -> Solution:
        """On the trained network alone."""
        return direct(
            self.trajectory,
            y,
            generator=self.module,
            operator=self.operator,
            operator_seed=self.seed,
            starts=self.starts,
            seed=self.seed,
        )


def _draws(path: Path) -> Draws:
    """Of a file, or of all shards of a folder of surfing sample."""
    if path.is_file():
        return Draws.open(path)
    shards = sorted((path / "shards").glob("*.safetensors"))
    if not shards:
        raise InputError(
            "--draws: expected a folder that surfing sample wrote, or a file of draws, got "
            f"{path}.",
            argument="--draws",
        )
    return Draws.joined([Draws.open(shard) for shard in shards])


def _read(path: Path, count: int | None) -> Tensor:
    y = read_measurements(path)
    if isinstance(y, Column):
        raise InputError("--measurements: expected .npy, .npz or .safetensors, got .parquet.")
    part = y[: len(y) if count is None else count]
    return part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))

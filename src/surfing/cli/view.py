"""``surfing view``: the surface, the surfers on it, and what they found, as one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from surfing import check
from surfing.cli.common import Common, Report, Screen, Tick, as_typed
from surfing.cli.inputs import PACKAGED, digest, pick_device, read_rows, state_digest
from surfing.cli.measuring import SHARED, Measuring
from surfing.continuation import direct, surf
from surfing.errors import InputError
from surfing.evaluation.curves import read_curves
from surfing.evaluation.samples import noisy, own_z
from surfing.execution import Shards
from surfing.posterior import Draws
from surfing.problem import ForwardModel
from surfing.report.page import view as write
from surfing.solution import Solution

__all__ = ["view"]

_DRAWN = 48


def view(
    run: str,
    /,
    *,
    measurements: Path | None = None,
    solution: Path | None = None,
    targets: int | None = None,
    starts: int = 1,
    comparison: Path | None = None,
    draws: Path | None = None,
    featured: int = 8,
    size: int | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    measuring: Measuring | None = None,
    common: Common | None = None,
) -> Report:
    """Write one HTML page that shows a recovery: the surface, the surfers, the reconstructions.

    Without --measurements the targets are signals that the trained generator makes of latents of
    its law. The page compares surfing with direct descent from the same starts.

    Args:
        run: a trajectory's folder, or packaged.
        measurements: targets of your own, as for surfing recover.
        solution: the folder that surfing recover wrote, or a file that Solution.save wrote, to be
            shown instead of a new ride; it needs --measurements. Of a folder, operator, noise and
            prior need not be named again; the generator does, and files do.
        targets: how many to draw, 48 where left out, or to take of the measurements, all.
        starts: start points per target.
        comparison: compare.json of surfing compare, or budget.json of python -m paper budget:
            the page draws success against cost from it.
        draws: what surfing sample wrote for the same --measurements, its folder or a file that
            Draws.save wrote: the page shows how sure each target is.
        featured: how many targets get a surface.
        size: points along each side of a surface; where left out, as fine as some seconds allow.
        out: the page; surfing-view.html, surfing-view-2.html, ... where left out.
        overwrite: replace OUT if it exists.
    """
    common, measuring = common or Common(), measuring or Measuring()
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
    ridden: Solution | None = None
    facts: Mapping[str, Any] | None = None
    if solution is not None and measurements is not None:
        ridden, facts = _read(solution)
        if facts is not None:
            measuring = _as_told(facts, measurements, measuring)
        ridden = ridden.to(device)
    model = measuring.model(run, device)
    if facts is not None:
        _check_run(facts, model)
    asked = _Asked(model, measuring.arguments(), starts, common.seed)
    if ridden is not None and targets is not None and targets != len(ridden):
        raise InputError(f"--targets: expected the {len(ridden)} of --solution, got {targets}.")
    with as_typed(*SHARED, "starts"):
        y, truth = asked.targets(measurements, targets)
        if ridden is not None and len(ridden) != len(y):
            raise InputError(
                f"--solution: has {len(ridden)} targets, the measurements have {len(y)}."
            )
        with screen.progress("surfing, and direct descent") as tick:
            ridden = asked.ride(y, tick) if ridden is None else ridden
            beside = asked.descend(y)
    page = write(
        ridden,
        out,
        trajectory=model,
        y=y,
        noise=asked.told["noise"],
        given=asked.told["given"],
        beside=beside,
        truth=truth,
        success=curves,
        draws=drawn,
        title=f"Surfing {'the packaged trajectory' if run == PACKAGED else Path(run).name}",
        featured=featured,
        size=size,
        overwrite=overwrite,
    )
    screen.say(ridden.summary(), f"Page: {page}")
    met = {"surfed": int(ridden.success.sum()), "direct": int(beside.success.sum())}
    return {"run": run, "page": page, "targets": len(ridden), "met": met}


def _read(path: Path) -> tuple[Solution, Mapping[str, Any] | None]:
    """A saved solution, and of a folder the facts of its run."""
    return Shards.finished(path) if path.is_dir() else (Solution.load(path), None)


def _as_told(facts: Mapping[str, Any], measurements: Path, measuring: Measuring) -> Measuring:
    """Options that were left out, as the run in the folder got them.

    Raises:
        InputError: one that differs from what the run got, or a file that has to be named again.
    """
    if facts.get("measurements") not in (None, digest(measurements)):
        raise InputError(
            f"--measurements: --solution was found from others than {measurements}; give the file "
            "that surfing recover was given.",
            argument="--measurements",
        )
    filled: dict[str, Any] = {}
    for name in ("operator", "noise", "prior", "given"):
        mine, theirs = getattr(measuring, name), facts.get(name)
        if _matches(mine, theirs):
            continue
        if mine is not None or not _nameable(theirs):
            what = theirs if _nameable(theirs) else "a file"
            raise InputError(
                f"--{name}: --solution was found with {'none' if theirs is None else what}, got "
                f"{mine!r}; give what surfing recover was given.",
                argument=f"--{name}",
            )
        filled[name] = str(theirs)
    seed = facts.get("operator_seed") or 0
    if measuring.operator_seed not in (0, seed):
        raise InputError(
            f"--operator-seed: --solution was found with {seed}, got {measuring.operator_seed}."
        )
    return replace(measuring, operator_seed=seed, **filled)


def _matches(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, list):
        pairs = (pair.partition("=") for pair in mine)
        mine = {name: digest(Path(file)) for name, _, file in pairs if Path(file).is_file()}
    elif mine is not None and Path(str(mine)).is_file():
        mine = digest(Path(str(mine)))
    return bool(mine == theirs or _plain(mine) == _plain(theirs))


def _plain(value: Any) -> Any:
    """Numbers as numbers: .05 is 0.05."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _nameable(value: Any) -> bool:
    """Whether a fact is a name or a number, rather than the digest of a file."""
    return not isinstance(value, dict) and not (isinstance(value, str) and len(value) == 64)


def _check_run(facts: Mapping[str, Any], model: ForwardModel) -> None:
    if facts.get("trajectory") not in (None, state_digest(model.trajectory)):
        raise InputError(
            "--solution: was found on another trajectory than RUN; name that one.",
            argument="--solution",
        )


@dataclass(frozen=True)
class _Asked:
    """What both methods get."""

    model: ForwardModel
    told: dict[str, Any]
    starts: int
    seed: int

    def targets(self, path: Path | None, count: int | None) -> tuple[Tensor, Tensor | None]:
        """Measurements, and the latents they come from where these were drawn."""
        model = self.model
        if path is not None:
            return read_rows("--measurements", path, count).to(model.device), None
        z = own_z(model, count or self._drawn(), seed=self.seed)
        y = model.measure(model.signals(z, given=self.told["given"]), given=self.told["given"])
        return noisy(y, self.told["noise"], seed=self.seed), z

    def _drawn(self) -> int:
        """As many as there are inputs for."""
        given: Mapping[str, np.ndarray] = self.told["given"] or {}
        return next((len(values) for values in given.values()), _DRAWN)

    def ride(self, y: Tensor, tick: Tick) -> Solution:
        """Along the checkpoints."""
        return surf(self.model, y, starts=self.starts, seed=self.seed, progress=tick, **self.told)

    def descend(self, y: Tensor) -> Solution:
        """On the trained network alone."""
        return direct(self.model, y, starts=self.starts, seed=self.seed, **self.told)


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

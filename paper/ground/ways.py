"""Ways down that are compared, each told in the same form: error, residual and cost by row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from paper.ground.adam import Ends, Rows
from paper.ground.measurements import Operators
from paper.ground.model import Model
from surfing.continuation import direct, surf
from surfing.continuation.schedule import EqualDrift, EveryCheckpoint, Stages
from surfing.descent import Broyden, LevenbergMarquardt
from surfing.errors import InputError
from surfing.portfolio import recover
from surfing.problem.matrices import squared_norms
from surfing.status import Status
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    from surfing.solution import Solution

__all__ = ["AGAIN", "LM", "Bounded", "Setting", "adam_rows", "told", "told_ends", "told_solution"]

Record = dict[str, Any]
BUDGET = 2000
AGAIN = ", again until solved"
"""How ways are called that start again for targets that they did not solve."""
_APART = 1_000_000
"""Between the identities of a target's restarts."""


@dataclass(frozen=True)
class Setting:
    """Targets, and one operator that measured them."""

    model: Model
    z: Tensor | None
    """True latents (targets, k); None for images that are no samples."""
    x: Tensor
    """Their signals (targets, n)."""
    operators: Operators
    which: int
    seed: int
    names: tuple[int, ...] | None = None
    """Identities of the targets; 0, 1, ... where left out."""

    @property
    def m(self) -> int:
        """Measurements; 0 for all pixels."""
        return self.operators.counts[self.which]

    def y(self, repeats: int) -> Tensor:
        """Measurements of every target, restarts of one side by side."""
        size = round(self.x.shape[1] ** 0.5)
        x = self.x.view(len(self.x), 1, size, -1)
        return self.operators.single(self.which)(x).repeat_interleave(repeats, 0)

    def ids(self, repeats: int) -> list[int]:
        """Identities whose streams give the starts."""
        names = range(len(self.x)) if self.names is None else self.names
        return [t + _APART * r for t in names for r in range(repeats)]

    def again(self, lost: Tensor, time: int) -> Setting:
        """Some of the targets, from another start."""
        names = tuple(int(t) + _APART * time for t in lost)
        return dataclasses.replace(self, x=self.x[lost], z=None, names=names)


def adam_rows(setting: Setting, rate: float, starts: int) -> Rows:
    """Starts of every target; those of one target side by side."""
    z = setting.model.latent.sample(setting.ids(starts), 1, seed=setting.seed)[:, 0]
    x = setting.x.repeat_interleave(starts, 0)
    which = torch.full((len(x),), setting.which, device=x.device)
    return Rows(z.to(x), x, which, torch.full((len(x),), rate, device=x.device))


def told(
    method: str,
    setting: Setting,
    z: Tensor,
    *,
    residual: Tensor,
    cost: Tensor,
    starts: int = 1,
    **more: Any,
) -> Record:
    """What a record keeps of one way on one setting, lists (targets, starts)."""
    error: Tensor | None = None
    kept: Record = {"method": method, "m": setting.m, "targets": len(setting.x), "starts": starts}
    if setting.z is not None:
        error = (z - setting.z.repeat_interleave(starts, 0)).norm(dim=1)
        kept["error"] = _rounded(error, starts)
    else:
        network = setting.model.network()
        with torch.no_grad():
            x = torch.cat([network(part) for part in torch.split(z, 1024)])
        gap = (x - setting.x.repeat_interleave(starts, 0)).square().mean(1)
        kept["pixel_error"] = _rounded(gap, starts)
    return kept | {
        "residual": _rounded(residual, starts),
        "cost": _rounded(cost, starts),
        **more,
    }


def told_ends(method: str, setting: Setting, ends: Ends, starts: int = 1, **more: Any) -> Record:
    """Of Adam."""
    steps = ends.steps.double()
    quartiles = torch.quantile(steps, torch.tensor([0.25, 0.5, 0.75]).to(steps))
    return told(
        method,
        setting,
        ends.z,
        residual=ends.residual,
        cost=ends.cost,
        starts=starts,
        steps_quartiles=[round(float(q)) for q in quartiles],
        capped=int(ends.capped.sum()),
        **more,
    )


def told_solution(method: str, setting: Setting, solution: Solution, starts: int = 1) -> Record:
    """Of a solution of the package; what it spent once is told beside."""
    norm = squared_norms(setting.y(starts).flatten(1))
    residual = (2 * solution.risk.double() / norm).sqrt()
    once = getattr(solution, "cost_once", None)
    if once is None:
        once = solution.cost_once if method == "recover" else 0
    return told(
        method,
        setting,
        solution.z.float(),
        residual=residual,
        cost=solution.cost,
        starts=starts,
        cost_once=float(once),
        seconds=round(float(solution.seconds), 2),
    )


def _rounded(values: Tensor, starts: int) -> list[list[float]]:
    rows = values.detach().double().cpu().reshape(-1, starts).tolist()
    return [[float(f"{v:.4g}") for v in row] for row in rows]


@dataclass(frozen=True)
class Bounded(LevenbergMarquardt):
    """Levenberg-Marquardt whose steps are at most so long.

    Args:
        radius: longest step.
    """

    radius: float = float("inf")

    def _damped_step(self, risk: Any, state: Any) -> tuple[Tensor, Tensor, Tensor]:
        d, image, found = super()._damped_step(risk, state)
        scale = (self.radius / d.norm(dim=-1, keepdim=True)).clamp(max=1.0)
        return d * scale, image * scale, found


def _still(model: Model, stages: int) -> Trajectory:
    """The last network again and again: nothing moves but the penalty."""
    last = len(model.trajectory) - 1
    checkpoints = [dataclasses.replace(model.trajectory[last], step=step) for step in range(stages)]
    trajectory = model.trajectory
    return Trajectory(checkpoints, latent=trajectory.latent, architecture=trajectory.architecture)


def _direct(setting: Setting, starts: int) -> Solution:
    model = setting.model
    return direct(
        model.trajectory,
        setting.y(starts),
        generator=model.generator,
        operator=setting.operators.single(setting.which),
        ids=setting.ids(starts),
        seed=setting.seed,
    )


def _surf(
    setting: Setting, starts: int, trajectory: Trajectory | None = None, **options: Any
) -> Solution:
    model = setting.model
    return surf(
        model.trajectory if trajectory is None else trajectory,
        setting.y(starts),
        generator=model.generator,
        operator=setting.operators.single(setting.which),
        ids=setting.ids(starts),
        seed=setting.seed,
        **options,
    )


def _annealed(setting: Setting, starts: int) -> Solution:
    still = _still(setting.model, 5)
    return _surf(setting, starts, still, schedule=EveryCheckpoint(), anneal=4.0)


def _late(setting: Setting, starts: int) -> Solution:
    half = EqualDrift(10, start=0.5)
    return _surf(setting, starts, schedule=half, anneal=2.0, stage_steps=1)


def _every(setting: Setting, starts: int) -> Solution:
    return _surf(setting, starts, schedule=EveryCheckpoint())


def _carried(setting: Setting, starts: int) -> Solution:
    schedule = EveryCheckpoint()
    return _surf(setting, starts, schedule=schedule, descent=Broyden(carry=5), stage_steps=1)


def _recover(setting: Setting, starts: int) -> Solution:
    model = setting.model
    return recover(
        model.trajectory,
        setting.y(1),
        generator=model.generator,
        operator=setting.operators.single(setting.which),
        budget=BUDGET,
        seed=setting.seed,
    )


def _direct_again(setting: Setting, starts: int) -> Solution:
    """From other starts for the targets that are not solved, twenty at most."""
    return _until_solved(setting, starts, _direct(setting, 1), [_direct] * 19)


def _surf_again(setting: Setting, starts: int) -> Solution:
    """Rides for the targets that are not solved, each from a later stage than the one before.

    From the first stage most starts come to the same end: another start there is no other ride.
    """
    first = _surf(setting, 1)
    stages = [record.stage for record in first.stages]
    cut = [Stages(tuple(stages[number:])) for number in range(1, len(stages))]
    return _until_solved(setting, starts, first, [partial(_surf, schedule=s) for s in cut])


def _until_solved(
    setting: Setting,
    starts: int,
    solution: Solution,
    again: Sequence[Callable[[Setting, int], Solution]],
) -> Solution:
    """The solution with those of other ways, one after another, where it is not solved."""
    if starts != 1:
        raise InputError(f"starts: expected 1, which is repeated where it fails, got {starts}.")
    names = ("z", "risk", "cost", "status")
    columns = {name: getattr(solution, name).clone() for name in names}
    seconds, once = solution.seconds, solution.cost_once
    for time, way in enumerate(again, 1):
        lost = (columns["status"] != int(Status.SOLVED)).nonzero().flatten()
        if not len(lost):
            break
        part = way(setting.again(lost, time), 1)
        seconds, once = seconds + part.seconds, once + part.cost_once
        columns["cost"][lost] += part.cost
        # What is solved is better than what is not; a risk that is no number never is.
        solved = part.status == int(Status.SOLVED)
        before = columns["risk"][lost]
        better = solved | (part.risk < before) | (before.isnan() & ~part.risk.isnan())
        for name in ("z", "risk", "status"):
            columns[name][lost[better]] = getattr(part, name)[better]
    return dataclasses.replace(solution, seconds=seconds, cost_once=once, **columns)


LM: Mapping[str, Callable[[Setting, int], Solution]] = {
    "LM direct": _direct,
    "LM prior annealed, no path": _annealed,
    "LM surfing, 10 stages": _surf,
    "LM surfing, late annealed": _late,
    "LM surfing, every network": _every,
    "Broyden surfing, every network": _carried,
    f"LM direct{AGAIN}": _direct_again,
    f"LM surfing, 10 stages{AGAIN}": _surf_again,
    "recover": _recover,
}
"""Ways of the package; the second is after AIPO (Liu et al., ICML 2023)."""

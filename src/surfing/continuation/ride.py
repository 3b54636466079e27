"""A ride: one corrector follows the stages, all rows together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.continuation.binding import Rows
from surfing.continuation.predictor import AbstractPredictor, Wake
from surfing.descent.base import AbstractDescent
from surfing.descent.minimise import Minimum, minimise
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.problem.matrices import eigenvalues
from surfing.problem.problem import Problem
from surfing.problem.risk import CostMeter
from surfing.solution import Solution, StageRecord, Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.trajectory import Trajectory

__all__ = ["Leg", "Ride", "Track", "fade", "identified", "singular_values", "step_at"]


@dataclass(frozen=True)
class Leg:
    """One stage behind us, a line a row."""

    stage: float
    minimum: Minimum
    misfit: Float[Tensor, " rows"]
    """1/2 ||A G(z) - y||^2, the penalty left out."""
    cost: Float[Tensor, " rows"]

    def without_curvature(self) -> Leg:
        """The same in less memory."""
        return replace(self, minimum=replace(self.minimum, curvature=None))


@dataclass(frozen=True)
class Track:
    """A finished ride: its legs, and what it cost."""

    rows: Rows
    legs: tuple[Leg, ...]
    status: Int[Tensor, " rows"]
    meter: CostMeter

    def solution(self, problem: Problem, trajectory: Trajectory) -> Solution:
        """Of each target's rows the one with the lowest measurement risk."""
        targets, starts = len(problem), self.rows.starts
        last = self.legs[-1]
        risks = last.misfit.reshape(targets, starts)
        best = torch.nan_to_num(risks, nan=torch.inf).argmin(1)
        pick = torch.arange(targets, device=best.device) * starts + best
        z = last.minimum.z
        cost = self.meter.spent.reshape(targets, starts).sum(1)
        curvature = last.minimum.curvature
        return Solution(
            z=z[pick],
            x=problem.signals(trajectory.at(last.stage), z[pick]),
            risk=last.misfit[pick],
            status=self.status[pick],
            cost=cost,
            stages=tuple(_record(leg, pick, trajectory) for leg in self.legs),
            candidates_z=z.reshape(targets, starts, z.shape[-1]),
            candidates_risk=risks,
            singular_values=None if curvature is None else singular_values(curvature[pick]),
            covariance=None,
            notes=problem.notes,
            depth=self.meter.depth,
        )


class Ride:
    """A corrector and its settings, ready to follow stages.

    Args:
        trajectory: where the stages lie.
        problem: what is to be recovered.
        descent: the corrector.
        stopping: tolerances.
        predictor: how a row enters the next stage.
        stage_steps: steps at each stage but the last.
        max_steps: steps at the last stage.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        problem: Problem,
        descent: AbstractDescent[Any],
        *,
        stopping: Stopping,
        predictor: AbstractPredictor,
        stage_steps: int,
        max_steps: int,
    ) -> None:
        for name, value in (("stage_steps", stage_steps), ("max_steps", max_steps)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name}: expected an integer >= 0, got {value!r}.")
        self.trajectory = trajectory
        self.problem = problem
        self.descent = descent
        self.stopping = stopping
        self.predictor = predictor
        self.steps = (stage_steps, max_steps)

    def run(
        self,
        stages: Sequence[float],
        rows: Rows,
        *,
        anneal: float = 0.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Track:
        """Follow the stages. Rows that are no longer finite stay where they were."""
        meter = CostMeter(len(rows.z), rows.z.device)
        legs: list[Leg] = []
        wake, scale = None, None
        if anneal and len(stages) > 1:
            scale = self.scale(stages[0], rows, meter) * anneal
        for number, stage in enumerate(stages):
            last = number == len(stages) - 1
            reg = None if last or scale is None else scale * fade(number, len(stages))
            leg = self.leg(stage, rows, wake, meter=meter, reg=reg, last=last)
            wake = Wake.after(leg.minimum, stage, wake)
            legs.append(leg if last else leg.without_curvature())
            if progress is not None:
                progress(number + 1, len(stages))
        return self.track(rows, legs, meter)

    def leg(
        self,
        stage: float,
        rows: Rows,
        wake: Wake | None,
        *,
        meter: CostMeter,
        index: Int[Tensor, " r"] | None = None,
        reg: Float[Tensor, " rows"] | None = None,
        last: bool = False,
    ) -> Leg:
        """One stage: predict, then descend.

        Args:
            stage: where on the trajectory.
            rows: all of the run.
            wake: what the rows of `index` leave behind; None at their starts.
            meter: of all rows.
            index: who goes; everybody where left out.
            reg: weight of the penalty, for all rows.
            last: take the steps of the last stage.
        """
        index = torch.arange(len(rows.z), device=rows.z.device) if index is None else index
        before = meter.spent[index]
        risk = self.problem.risk(self.trajectory.at(stage), rows.owner, reg=reg, meter=meter)
        z = rows.z[index] if wake is None else self.predictor.predict(wake, stage, risk, index)
        minimum = minimise(
            risk,
            z,
            self.descent,
            max_steps=self.steps[1] if last else self.steps[0],
            stopping=self.stopping,
            rows=index,
        )
        misfit = minimum.value
        if reg is not None:
            penalty = self.problem.latent.penalty(minimum.z.double())
            misfit = misfit - reg[index].double() * penalty
        return Leg(stage, minimum, misfit, meter.spent[index] - before)

    def track(self, rows: Rows, legs: Sequence[Leg], meter: CostMeter) -> Track:
        """The ride that these legs make up; the last is of all rows."""
        final, y = legs[-1], self.problem.y[rows.owner]
        status = self.stopping.verdict(final.minimum.status, final.misfit, y)
        return Track(rows, tuple(legs), status, meter)

    def scale(self, stage: float, rows: Rows, meter: CostMeter) -> Float[Tensor, " rows"]:
        """The unit of the penalty's weight: each row's own risk at its start, per latent."""
        risk = self.problem.risk(self.trajectory.at(stage), rows.owner, meter=meter)
        index = torch.arange(len(rows.z), device=rows.z.device)
        return risk.value(rows.z, index) / self.problem.latent.dim


def fade(node: float, stages: int) -> float:
    """From 1 down to 1/1000, geometrically, over all stages but the last."""
    return float(1e-3 ** (node / max(1, stages - 2))) if stages > 2 else 1.0


def singular_values(curvature: Float[Tensor, "r k k"]) -> Float[Tensor, "r k"]:
    """Of J, from J'J, largest first; zero where J'J is not finite."""
    finite = torch.isfinite(curvature).all(-1).all(-1)
    safe = torch.where(finite[:, None, None], curvature, 0.0)
    return eigenvalues(safe).flip(-1).clamp(min=0).sqrt()


def identified(solution: Solution, problem: Problem) -> Int[Tensor, " targets"]:
    """The status of each target, where measurements that are met leave directions open as such."""
    loose = ((solution.undetermined > 0) | (problem.surely_open > 0)) & solution.success
    return torch.where(loose, int(Status.UNIDENTIFIED), solution.status)


def _record(leg: Leg, pick: Tensor, trajectory: Trajectory) -> StageRecord:
    damping = leg.minimum.damping
    return StageRecord(
        stage=leg.stage,
        step=step_at(trajectory, leg.stage),
        z=leg.minimum.z[pick],
        risk=leg.misfit[pick],
        steps=leg.minimum.steps[pick],
        cost=leg.cost[pick],
        status=leg.minimum.status[pick],
        damping=None if damping is None else damping[pick],
    )


def step_at(trajectory: Trajectory, stage: float) -> float:
    """The training step at a real-valued stage."""
    low = min(int(stage), len(trajectory) - 1)
    high = min(low + 1, len(trajectory) - 1)
    steps = trajectory.steps
    return float(steps[low] + (stage - low) * (steps[high] - steps[low]))

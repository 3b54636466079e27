"""A ride: one corrector follows the stages, all rows together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing import check
from surfing.continuation.ending import End, solution_of
from surfing.continuation.predictor import AbstractPredictor, History
from surfing.continuation.stage import StageResult, run_stage
from surfing.descent.base import AbstractDescent
from surfing.descent.stopping import Stopping
from surfing.problem.problem import Problem
from surfing.problem.risk import CostMeter
from surfing.solution import Solution, StageRecord
from surfing.starts.rows import Rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.trajectory import Trajectory

__all__ = ["Ride", "Track", "fade", "step_at"]


@dataclass(frozen=True)
class Track:
    """A finished ride: its legs, and what it cost."""

    rows: Rows
    legs: tuple[StageResult, ...]
    meter: CostMeter

    def solution(
        self,
        problem: Problem,
        trajectory: Trajectory,
        *,
        stopping: Stopping,
        descent: AbstractDescent[Any],
    ) -> Solution:
        """Of each target's rows the one with the lowest risk, the prior's part included."""
        targets, starts = len(problem), self.rows.starts
        last = self.legs[-1]
        risks = last.misfit.reshape(targets, starts)
        ranked = risks
        if problem.prior is not None:
            penalty = problem.latent.penalty(last.minimum.z.double()).reshape(targets, starts)
            ranked = risks + problem.prior[:, None] * penalty
        best = torch.nan_to_num(ranked, nan=torch.inf).argmin(1)
        pick = torch.arange(targets, device=best.device) * starts + best
        z = last.minimum.z
        curvature = last.minimum.curvature
        end = End(
            z=z[pick],
            misfit=last.misfit[pick],
            status=last.minimum.status[pick],
            curvature=None if curvature is None else curvature[pick],
            cost=self.meter.spent.reshape(targets, starts).sum(1),
        )
        return solution_of(
            end,
            problem,
            trajectory.at(last.stage),
            stopping=stopping,
            descent=descent,
            stages=tuple(_record(leg, pick, trajectory) for leg in self.legs),
            candidates=(z.reshape(targets, starts, z.shape[-1]), risks),
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
        check.integer("stage_steps", stage_steps, low=0)
        check.integer("max_steps", max_steps, low=0)
        self.trajectory = trajectory
        self.problem = problem
        self.descent = descent
        self.stopping = stopping
        self.predictor = predictor
        self.steps: tuple[int, int] = (stage_steps, max_steps)

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
        legs: list[StageResult] = []
        history, scale = None, None
        state: Any = None
        if anneal and len(stages) > 1:
            scale = self.scale(stages[0], rows, meter) * anneal
        for number, stage in enumerate(stages):
            last = number == len(stages) - 1
            reg = None if last or scale is None else scale * fade(number, len(stages))
            before = None if last else state  # the last stage begins with a Jacobian of its own
            keep = self.descent.resumes and not last
            leg = self.leg(stage, rows, history, meter=meter, reg=reg, last=last, before=before,
                           keep=keep)  # fmt: skip
            state = leg.minimum.state
            history = History.after(leg.minimum, stage, history)
            legs.append(leg if last else leg.lean())
            if progress is not None:
                progress(number + 1, len(stages))
        return self.track(rows, legs, meter)

    def leg(
        self,
        stage: float,
        rows: Rows,
        history: History | None,
        *,
        meter: CostMeter,
        index: Int[Tensor, " r"] | None = None,
        reg: Float[Tensor, " rows"] | None = None,
        last: bool = False,
        before: Any = None,
        keep: bool = False,
    ) -> StageResult:
        """One stage: predict, then descend.

        Args:
            stage: where on the trajectory.
            rows: all of the run.
            history: what the rows of `index` leave behind; None at their starts.
            meter: of all rows.
            index: which rows ride; all where left out.
            reg: weight of the penalty, for all rows.
            last: take the steps of the last stage.
            before: what the descent left behind at the stage before, to be resumed.
            keep: what it leaves behind here.
        """
        index = torch.arange(len(rows.z), device=rows.z.device) if index is None else index
        spent = meter.spent[index]
        risk = self.problem.risk(self.trajectory.at(stage), rows.owner, reg=reg, meter=meter)
        z = (
            rows.z[index]
            if history is None
            else self.predictor.predict(history, stage, risk, index)
        )
        return run_stage(
            risk,
            z,
            self.descent,
            stage=stage,
            max_steps=self.steps[1] if last else self.steps[0],
            stopping=self.stopping,
            rows=index,
            spent=spent,
            before=before,
            keep=keep,
        )

    def track(self, rows: Rows, legs: Sequence[StageResult], meter: CostMeter) -> Track:
        """The ride that these legs make up; the last is of all rows."""
        return Track(rows, tuple(legs), meter)

    def scale(self, stage: float, rows: Rows, meter: CostMeter) -> Float[Tensor, " rows"]:
        """The unit of the penalty's weight: each row's own risk at its start, per latent."""
        risk = self.problem.risk(self.trajectory.at(stage), rows.owner, meter=meter)
        index = torch.arange(len(rows.z), device=rows.z.device)
        return risk.value(rows.z, index) / self.problem.latent.dim


def fade(node: float, stages: int) -> float:
    """From 1 down to 1/1000, geometrically, over all stages but the last."""
    return float(1e-3 ** (node / max(1, stages - 2))) if stages > 2 else 1.0


def _record(leg: StageResult, pick: Tensor, trajectory: Trajectory) -> StageRecord:
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

"""THE outer loop: ride the minimiser from the first network to the last (Algorithms 1 and 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.architectures import generator_from_manifest
from surfing.continuation.predictor import AbstractPredictor, Constant, Wake
from surfing.continuation.schedule import AbstractSchedule, EqualDrift, Final
from surfing.descent.base import AbstractDescent
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.minimise import Minimum, minimise
from surfing.descent.stopping import Stopping
from surfing.errors import EmptyTrajectoryError, InputError
from surfing.problem.problem import Problem
from surfing.problem.risk import CostMeter
from surfing.solution import Solution, StageRecord, Status

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import nn

    from surfing.latents import Latent
    from surfing.problem.operators import OperatorLike
    from surfing.trajectory import Trajectory

__all__ = ["direct", "surf"]

_PROBES = 16


def surf(
    trajectory: Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray,
    *,
    generator: nn.Module | None = None,
    operator: OperatorLike = None,
    starts: int = 1,
    descent: AbstractDescent[Any] | None = None,
    schedule: AbstractSchedule | None = None,
    predictor: AbstractPredictor | None = None,
    stage_steps: int | None = None,
    max_steps: int | None = None,
    anneal: float = 0.0,
    stopping: Stopping | None = None,
    latent: Latent | None = None,
    z0: Float[Tensor, "targets starts k"] | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    operator_seed: int = 0,
    throw: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Solution:
    """Recover latents by riding the checkpoints of training.

    For t over the schedule's stages: z <- predictor(z); z <- descent on
    f_t(z) = 1/2 ||A G_t(z) - y||^2 (+ reg_t penalty(z)). Every start of every target is a row of
    its own; of each target's rows the one with the lowest measurement risk is returned.

    Args:
        trajectory: checkpoints of training.
        y: measurements, (targets, ...) as the operator returns them.
        generator: the module that was trained; may be left out where the manifest names a zoo
            architecture. It is never touched.
        operator: None for the identity, a callable, an object with `.A(x)`, or a name.
        starts: rows per target, at least 1.

    Other args:
        descent: the corrector at every stage; Levenberg-Marquardt where left out.
        schedule: which stages; ten at equal drift where left out.
        predictor: how a row enters the next stage; as it is where left out.
        stage_steps: descent steps at each stage but the last.
        max_steps: descent steps at the last stage.
        anneal: weight of the MAP penalty at the first stage, as a multiple of the median risk at
            the starts; falls geometrically to 1/1000 of it and is zero at the last stage.
        stopping: tolerances, and the noise level.
        latent: the law of z; the manifest's where left out.
        z0: starts; drawn from the law where left out.
        seed: of the starts.
        ids: of the targets, for their random numbers; 0, 1, ... where left out.
        operator_seed: of a named operator's random numbers.
        throw: raise where a target fails.
        progress: called with (stages done, stages in all).

    Returns:
        A :class:`Solution`.

    Raises:
        SurfingError: bad input, before any work; with `throw`, a target that failed.

    Source: Algorithm 1, after Song et al. (2019).
    """
    if len(trajectory) == 0:
        raise EmptyTrajectoryError("trajectory: expected at least one checkpoint, got none.")
    began = time.perf_counter()
    problem = bind(
        trajectory,
        y,
        generator=generator,
        operator=operator,
        latent=latent,
        operator_seed=operator_seed,
    )
    rows = draw_starts(problem, starts, z0=z0, seed=seed, ids=ids)
    descent = LevenbergMarquardt() if descent is None else descent
    schedule = EqualDrift() if schedule is None else schedule
    overhead = CostMeter(0)
    stages = schedule.positions(trajectory, _measure(problem, overhead))
    ride = Ride(
        trajectory,
        problem,
        descent,
        stopping=Stopping() if stopping is None else stopping,
        predictor=Constant() if predictor is None else predictor,
        stage_steps=descent.stage_steps if stage_steps is None else stage_steps,
        max_steps=descent.final_steps if max_steps is None else max_steps,
    )
    track = ride.run(stages, rows, anneal=_check_anneal(anneal), progress=progress)
    solution = track.solution(problem, trajectory)
    facts = {"seed": seed, "starts": starts, "stages": len(stages), "schedule": repr(schedule)}
    solution = _finish(solution, began, descent, facts | {"schedule_forwards": overhead.depth})
    return solution.raise_failures() if throw else solution


def direct(
    trajectory: Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray,
    *,
    generator: nn.Module | None = None,
    operator: OperatorLike = None,
    starts: int = 1,
    descent: AbstractDescent[Any] | None = None,
    max_steps: int | None = None,
    stopping: Stopping | None = None,
    latent: Latent | None = None,
    z0: Float[Tensor, "targets starts k"] | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    operator_seed: int = 0,
    throw: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Solution:
    """Descend on the trained network alone: :func:`surf` with its last stage only.

    Arguments, result and errors are those of :func:`surf`.
    """
    return surf(
        trajectory,
        y,
        generator=generator,
        operator=operator,
        starts=starts,
        descent=descent,
        schedule=Final(),
        max_steps=max_steps,
        stopping=stopping,
        latent=latent,
        z0=z0,
        seed=seed,
        ids=ids,
        operator_seed=operator_seed,
        throw=throw,
        progress=progress,
    )


@dataclass(frozen=True)
class Rows:
    """The rows of a run: `starts` for each target, those of one target side by side."""

    z: Float[Tensor, "rows k"]
    owner: Int[Tensor, " rows"]
    starts: int


@dataclass(frozen=True)
class _Leg:
    """One stage behind us, for all rows."""

    stage: float
    minimum: Minimum
    misfit: Float[Tensor, " rows"]
    cost: Float[Tensor, " rows"]


@dataclass(frozen=True)
class Track:
    """A finished ride: its legs, and what it cost."""

    rows: Rows
    legs: tuple[_Leg, ...]
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
            candidates_z=z.reshape(targets, starts, -1),
            candidates_risk=risks,
            singular_values=None if curvature is None else singular_values(curvature[pick]),
            covariance=None,
            notes=tuple(problem.architecture.notes),
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
        index = torch.arange(len(rows.z), device=rows.z.device)
        z, legs, wake = rows.z, [], None
        scale = self._scale(stages[0], rows, meter) if anneal and len(stages) > 1 else None
        for number, stage in enumerate(stages):
            spent = meter.spent.clone()
            last = number == len(stages) - 1
            reg = None if last or scale is None else scale * anneal * _fade(number, len(stages))
            state = self.trajectory.at(stage)
            risk = self.problem.risk(state, rows.owner, reg=reg, meter=meter)
            if wake is not None:
                z = self.predictor.predict(wake, stage, risk, index)
            minimum = minimise(
                risk,
                z,
                self.descent,
                max_steps=self.steps[1] if last else self.steps[0],
                stopping=self.stopping,
            )
            misfit = minimum.value
            if reg is not None:
                misfit = misfit - reg.double() * self.problem.latent.penalty(minimum.z.double())
            legs.append(_Leg(stage, minimum, misfit, meter.spent - spent))
            wake = Wake(
                stage,
                minimum.z,
                minimum.curvature,
                previous_stage=None if wake is None else wake.stage,
                previous_z=None if wake is None else wake.z,
            )
            z = minimum.z
            if progress is not None:
                progress(number + 1, len(stages))
        final = legs[-1]
        y = self.problem.y[rows.owner]
        status = self.stopping.verdict(final.minimum.status, final.misfit, y)
        return Track(rows, tuple(legs), status, meter)

    def _scale(self, stage: float, rows: Rows, meter: CostMeter) -> Tensor:
        """The unit of the penalty's weight: each row's own risk at its start, per latent."""
        risk = self.problem.risk(self.trajectory.at(stage), rows.owner, meter=meter)
        index = torch.arange(len(rows.z), device=rows.z.device)
        return risk.value(rows.z, index) / self.problem.latent.dim


def _fade(number: int, stages: int) -> float:
    """From 1 down to 1/1000, geometrically, over all stages but the last."""
    return float(1e-3 ** (number / max(1, stages - 2))) if stages > 2 else 1.0


def bind(
    trajectory: Trajectory,
    y: Tensor | np.ndarray,
    *,
    generator: nn.Module | None,
    operator: OperatorLike,
    latent: Latent | None,
    operator_seed: int,
) -> Problem:
    """The problem that the caller's arguments describe, checked."""
    latent = trajectory.latent if latent is None else latent
    if latent is None:
        raise InputError(
            "latent: the trajectory does not say what law its latents have; pass "
            "latent=surfing.Normal(k) or surfing.Uniform(k, low, high)."
        )
    if generator is None:
        if trajectory.architecture is None:
            raise InputError(
                "generator: the trajectory does not name a zoo architecture; pass the module that "
                "was trained as generator=..."
            )
        generator = generator_from_manifest(trajectory.architecture, trajectory[-1].state)
    return Problem.build(
        generator,
        trajectory[-1].state,
        y,
        latent=latent,
        operator=operator,
        operator_seed=operator_seed,
    )


def draw_starts(
    problem: Problem,
    starts: int,
    *,
    z0: Tensor | None,
    seed: int,
    ids: Sequence[int] | None,
) -> Rows:
    """The caller's starts, or drawn ones: each target has a stream of its own."""
    if isinstance(starts, bool) or not isinstance(starts, int) or starts < 1:
        raise InputError(f"starts: expected a positive integer, got {starts!r}.")
    targets = len(problem)
    ids = range(targets) if ids is None else ids
    if len(ids) != targets:
        raise InputError(f"ids: expected {targets}, one a target, got {len(ids)}.")
    if z0 is None:
        z = problem.latent.sample(ids, starts, seed=seed).to(problem.device, problem.y.dtype)
    else:
        z = problem.check_start(z0, starts)
    owner = torch.arange(targets, device=problem.device).repeat_interleave(starts)
    return Rows(z.reshape(targets * starts, -1), owner, starts)


def singular_values(curvature: Float[Tensor, "r k k"]) -> Float[Tensor, "r k"]:
    """Of J, from J'J, largest first; zero where J'J is not finite."""
    finite = torch.isfinite(curvature).all(-1).all(-1)
    safe = torch.where(finite[:, None, None], curvature, 0.0)
    squares: Tensor = torch.linalg.eigvalsh(safe)
    return squares.flip(-1).clamp(min=0).sqrt()


def _measure(problem: Problem, overhead: CostMeter) -> Callable[[Any], Tensor]:
    z = problem.latent.sample(range(_PROBES), 1, seed=-1).flatten(0, 1)
    z = z.to(problem.device, problem.y.dtype)

    def measure(state: Any) -> Tensor:
        overhead.depth += _PROBES
        with torch.no_grad():
            return problem.architecture.at(state)(z)

    return measure


def _record(leg: _Leg, pick: Tensor, trajectory: Trajectory) -> StageRecord:
    return StageRecord(
        stage=leg.stage,
        step=step_at(trajectory, leg.stage),
        z=leg.minimum.z[pick],
        risk=leg.misfit[pick],
        steps=leg.minimum.steps[pick],
        cost=leg.cost[pick],
        status=leg.minimum.status[pick],
    )


def step_at(trajectory: Trajectory, stage: float) -> float:
    """The training step at a real-valued stage."""
    low = min(int(stage), len(trajectory) - 1)
    high = min(low + 1, len(trajectory) - 1)
    steps = trajectory.steps
    return float(steps[low] + (stage - low) * (steps[high] - steps[low]))


def _check_anneal(anneal: float) -> float:
    if not 0 <= anneal < float("inf"):
        raise InputError(f"anneal: expected a finite number >= 0, got {anneal!r}.")
    return anneal


def _finish(
    solution: Solution, began: float, descent: AbstractDescent[Any], info: dict[str, Any]
) -> Solution:
    name = f"{'direct' if len(solution.stages) == 1 else 'surf'} {type(descent).__name__}"
    if solution.singular_values is not None:
        loose = (solution.undetermined > 0) & solution.success
        status = torch.where(loose, int(Status.UNIDENTIFIED), solution.status)
        solution = replace(solution, status=status)
    return replace(solution, seconds=time.perf_counter() - began, method=name, info=info)

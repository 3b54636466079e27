"""THE outer loop: ride the minimiser from the first network to the last (Algorithms 1 and 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing import check
from surfing.continuation.adaptive import StepControl
from surfing.continuation.polish import check_polish
from surfing.continuation.predictor import AbstractPredictor, Constant
from surfing.continuation.ride import Ride
from surfing.continuation.schedule import AbstractSchedule, EqualDrift, Final
from surfing.descent.base import AbstractDescent
from surfing.descent.default import default_for
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.precision import plain_precision
from surfing.problem.model import as_model
from surfing.problem.problem import Problem
from surfing.problem.risk import CostMeter
from surfing.progress import with_progress
from surfing.solution import Solution
from surfing.starts.rows import draw_starts

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    from jaxtyping import Float

    from surfing.problem.inputs import Given
    from surfing.problem.loss import AbstractLoss
    from surfing.problem.measurements import Noise
    from surfing.problem.model import ForwardModel, ModelArguments
    from surfing.trajectory import Trajectory

__all__ = ["direct", "surf"]

_PROBES = 16


@plain_precision
@with_progress("surf: stages")
def surf(
    model: ForwardModel | Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray,
    *,
    starts: int | None = None,
    descent: AbstractDescent[Any] | None = None,
    schedule: AbstractSchedule | None = None,
    control: StepControl | None = None,
    predictor: AbstractPredictor | None = None,
    stage_steps: int | None = None,
    max_steps: int | None = None,
    anneal: float = 0.0,
    noise: Noise = None,
    prior: float | str | None = None,
    z0: Float[Tensor, "targets n k"] | np.ndarray | None = None,
    given: Given | None = None,
    loss: AbstractLoss | None = None,
    stopping: Stopping | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **made: Unpack[ModelArguments],
) -> Solution:
    """Recover latents by riding the checkpoints of training.

    For t over the schedule's stages: z <- predictor(z); z <- descent on
    f_t(z) = 1/2 ||A G_t(z) - y||^2 (+ reg_t penalty(z)). Every start of every target is a row of
    its own; of each target's rows the one with the lowest risk is returned.

    Args:
        model: a :class:`ForwardModel`, or a trajectory beside the arguments that make one.
        y: measurements, (targets, ...) as the operator returns them.
        starts: rows for each target, those of `z0` included; one, or those of `z0`, where left
            out.

    Other args:
        descent: the corrector at every stage. Where left out Levenberg-Marquardt, or L-BFGS from
            100 latents on (32 in networks of ten million products, 257 in dense ones).
        schedule: which stages; ten at equal drift where left out.
        control: lets every row find its own stages between those of the schedule; all visit
            the same where left out.
        predictor: how a row enters the next stage; as it is where left out.
        stage_steps: descent steps at each stage but the last.
        max_steps: descent steps at the last stage.
        anneal: weight of the MAP penalty at the first stage, in units of each row's own risk at
            its start divided by k; falls geometrically to 1/1000 of it and is zero at the last
            stage.
        noise: standard deviations of the noise: a number, one for each target, or the shape of y,
            where inf means not measured. Measurements that don't depend on the signal never count.
        prior: weight of 1/2 ||(z - mean) / std||^2 kept in the answer, in units of the risk;
            "law" is the MAP estimate, which needs a noise level.
        z0: starts, (targets, k) or (targets, n, k); beyond them starts are drawn from the law.
        given: {name: (targets, ...)}: what the generator's forward and the operator are told of
            each target, as arguments of these names.
        loss: how residuals are weighed: squares, or :class:`Huber` or :class:`StudentT` where
            some measurements are gross outliers.
        stopping: tolerances.
        seed: of the starts.
        ids: of the targets, for their random numbers; 0, 1, ... where left out.
        progress: called with (stages done, stages in all).
        made: beside a trajectory, what makes the model: generator (the module that was trained;
            the manifest's where left out; it is never touched), operator (None for the identity, a
            callable, an object with `.A(x)`, or a name), latent (the law of z; the manifest's
            where left out), operator_seed, batch_invariant; see :class:`ForwardModel`.

    Returns:
        A :class:`Solution`.

    Raises:
        SurfingError: bad input, before any work.

    Source: Algorithm 1, after Song et al. (2019).
    """
    _check_parts(
        descent=(descent, AbstractDescent),
        schedule=(schedule, AbstractSchedule),
        control=(control, StepControl),
        predictor=(predictor, AbstractPredictor),
        stopping=(stopping, Stopping),
    )
    anneal = check.number("anneal", anneal, low=0)
    seed = check.integer("seed", seed)
    began = time.perf_counter()
    model = as_model(model, made)
    stopping = Stopping() if stopping is None else stopping
    noise = stopping.noise if noise is None else noise
    problem = model.problem(y, noise=noise, prior=prior, given=given, loss=loss)
    if stopping.polish:
        check_polish(problem, model.last)
    rows = draw_starts(problem, starts, z0=z0, seed=seed, ids=ids)
    descent = default_for(model) if descent is None else descent
    schedule = EqualDrift() if schedule is None else schedule
    overhead = CostMeter(0)
    trajectory = model.trajectory
    stages = schedule.positions(trajectory, _measure(problem, overhead))
    ride = Ride(
        trajectory,
        problem,
        descent,
        stopping=stopping,
        predictor=Constant() if predictor is None else predictor,
        stage_steps=descent.stage_steps if stage_steps is None else stage_steps,
        max_steps=descent.final_steps if max_steps is None else max_steps,
    )
    if control is None:
        track = ride.run(stages, rows, anneal=anneal, progress=progress)
    else:
        track = control.run(ride, stages, rows, anneal=anneal, progress=progress)
    solution = track.solution(problem, trajectory, stopping=stopping, descent=descent)
    facts = {"seed": seed, "starts": rows.starts, "stages": len(stages), "schedule": repr(schedule)}
    return _finish(
        solution,
        began,
        descent,
        facts | {"schedule_forwards": overhead.depth},
        once=float(overhead.depth),
    )


@with_progress("direct")
def direct(
    model: ForwardModel | Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray,
    *,
    starts: int | None = None,
    descent: AbstractDescent[Any] | None = None,
    max_steps: int | None = None,
    noise: Noise = None,
    prior: float | str | None = None,
    z0: Float[Tensor, "targets n k"] | np.ndarray | None = None,
    given: Given | None = None,
    loss: AbstractLoss | None = None,
    stopping: Stopping | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **made: Unpack[ModelArguments],
) -> Solution:
    """Descend on the trained network alone: :func:`surf` with its last stage only.

    Arguments, result and errors are those of :func:`surf`.
    """
    return surf(
        model,
        y,
        starts=starts,
        descent=descent,
        schedule=Final(),
        max_steps=max_steps,
        noise=noise,
        prior=prior,
        z0=z0,
        given=given,
        loss=loss,
        stopping=stopping,
        seed=seed,
        ids=ids,
        progress=progress,
        **made,
    )


def _measure(problem: Problem, overhead: CostMeter) -> Callable[[Any], Tensor]:
    z = problem.latent.sample(range(_PROBES), 1, seed=-1).flatten(0, 1)
    z = z.to(problem.device, problem.y.dtype)
    inputs = problem.inputs
    if inputs is not None and len(inputs):
        inputs = inputs[torch.arange(_PROBES, device=problem.device) % len(inputs)]

    def measure(state: Any) -> Tensor:
        if inputs is not None and problem.batch_invariant and inputs.generator:
            # All targets share the stages: these must not depend on who is among them.
            floating = (t.flatten().float() for t in state.values() if t.is_floating_point())
            return torch.cat(list(floating))[None]
        overhead.depth += _PROBES
        if inputs is not None:  # what measures differs between targets, the generator does not
            return problem.architecture.signals(state, z, inputs)
        with torch.no_grad():
            return problem.architecture.at(state)(z, inputs)

    return measure


def _check_parts(**parts: tuple[object, Any]) -> None:
    """What is an object of another kind, or the class where an object belongs."""
    for name, (given, kind) in parts.items():
        if given is not None and not isinstance(given, kind):
            raise InputError(
                f"{name}: expected None or a {kind.__name__.removeprefix('Abstract').lower()} "
                f"object, as in surfing.{_EXAMPLES[name]}, got {given!r:.60}.",
                argument=name,
            )


_EXAMPLES = {
    "descent": "LevenbergMarquardt(), surfing.TorchOptim(partial(torch.optim.Adam, lr=0.05))",
    "schedule": "EqualDrift(10)",
    "control": "StepControl()",
    "predictor": "Tangent()",
    "stopping": "Stopping(rtol=1e-5)",
}


def _finish(
    solution: Solution,
    began: float,
    descent: AbstractDescent[Any],
    info: dict[str, Any],
    *,
    once: float,
) -> Solution:
    name = f"{'direct' if len(solution.stages) == 1 else 'surf'} {type(descent).__name__}"
    return replace(
        solution,
        seconds=time.perf_counter() - began,
        method=name,
        info=solution.info | info,
        cost_once=once,
    )

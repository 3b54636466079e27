"""Polish: the last few steps in double precision, where they are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from surfing.continuation.stage import run_stage
from surfing.descent.default import EXPENSIVE_TANGENTS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.problem.risk import CostMeter
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.descent.minimise import Minimum
    from surfing.generator import State
    from surfing.problem.problem import Problem
    from surfing.problem.risk import Risk

__all__ = ["Polished", "check_polish", "polished"]

_STEPS = 20
_ENDS = [int(end) for end in (Status.CONVERGED, Status.SOLVED, Status.NOISE_LEVEL)]


def check_polish(problem: Problem, state: State) -> None:
    """See that generator and operator take double precision.

    Raises:
        InputError: one of them fails there, the operator returns another precision, or batch
            invariance can't be had there.
    """
    if len(problem) == 0:
        return
    inputs = None if problem.inputs is None else problem.inputs[:1].to(torch.float64)
    z = problem.latent.sample([0], 1, seed=0)[:, 0].to(problem.device, torch.float64)
    forward = problem.architecture.at(state, dtype=torch.float64)
    advice = "Cast what it holds to the type of what it is given, or leave polish out."
    try:
        with torch.no_grad():
            beside = {} if inputs is None else inputs.operator
            y = forward.operator(forward.signals(z, inputs), **beside)
    except Exception as error:
        raise InputError(
            f"polish: expected a generator and an operator that compute in float64, got "
            f"{str(error)!r:.120}. {advice}",
            argument="polish",
        ) from error
    if y.dtype != torch.float64:
        raise InputError(
            f"polish: expected float64 of operator {forward.operator.name} where it is given "
            f"float64, got {y.dtype}. {advice}",
            argument="polish",
        )
    forward.linearise(z, inputs)  # finds out whether there is a forward mode
    if problem.batch_invariant:
        problem.settle_blocks(state, dtype=torch.float64)


class Polished(NamedTuple):
    """Where targets ended in float64."""

    z: Float[Tensor, "targets k"]
    value: Float[Tensor, " targets"]
    """The risk without its penalty."""
    status: Int[Tensor, " targets"]
    spent: Float[Tensor, " targets"]
    curvature: Float[Tensor, "targets k k"] | None
    """J'J with the penalty's own; NaN where there is none."""
    depth: int


def polished(
    z: Float[Tensor, "targets k"],
    status: Int[Tensor, " targets"],
    problem: Problem,
    state: State,
    *,
    stopping: Stopping,
    block: int | None = None,
) -> Polished:
    """Each target's latents after at most 20 Levenberg-Marquardt steps in float64.

    The steps end where float64 can tell no more; with a noise level and no prior, at that level.
    Risks never rise. A target's status changes where its measurements are met now, or where it
    converged now; neither is taken back. A pass in float64 counts as one.

    Args:
        z: where to start.
        status: of the targets there.
        problem: what is to be recovered; generator and operator passed :func:`check_polish`.
        state: theta of the last stage.
        stopping: of the run; only what counts as met is kept.
        block: targets worked on at a time, so that memory does not grow with their number.
    """
    everybody = torch.arange(len(problem), device=problem.device)
    parts = [
        _polish(z[owner], status[owner], problem, state, owner=owner, stopping=stopping)
        for owner in torch.split(everybody, block or max(1, len(problem)))
    ]
    curvatures = [part.curvature for part in parts if part.curvature is not None]
    return Polished(
        torch.cat([part.z for part in parts]),
        torch.cat([part.value for part in parts]),
        torch.cat([part.status for part in parts]),
        torch.cat([part.spent for part in parts]),
        torch.cat(curvatures) if len(curvatures) == len(parts) else None,
        sum(part.depth for part in parts),
    )


def _polish(
    z: Float[Tensor, "rows k"],
    status: Int[Tensor, " rows"],
    problem: Problem,
    state: State,
    *,
    owner: Int[Tensor, " rows"],
    stopping: Stopping,
) -> Polished:
    meter = CostMeter(len(owner), owner.device)
    risk = problem.risk(state, owner, meter=meter, dtype=torch.float64)
    passes = risk.forward.tangent_passes(problem.latent.dim, problem.y.shape[1])
    # Converged is where the step, or what it predicts, is below the rounding of float64.
    tight = replace(stopping, rtol=0.0, xtol=1e-12, ftol=1e-16)
    rows = torch.arange(len(owner), device=owner.device)
    end = run_stage(
        risk,
        z.double(),
        _corrector(passes),
        stage=0.0,
        max_steps=_STEPS,
        stopping=tight,
        rows=rows,
    )
    anew = problem.data.noise is not None
    curvature = _curvature(risk, end.minimum, anew=anew)
    newer = torch.isin(end.minimum.status, torch.tensor(_ENDS, device=status.device))
    status = torch.where(newer, end.minimum.status, status)
    return Polished(end.minimum.z, end.misfit, status, meter.spent, curvature, meter.depth)


def _curvature(risk: Risk, end: Minimum, *, anew: bool) -> Float[Tensor, "rows k k"] | None:
    """J'J of each row: where it was last taken, or anew at its end.

    Steps that end where float64 can tell no more are too short for a difference; the one that
    reached the noise level may be long.
    """
    moved = (end.steps > 0).nonzero().flatten()
    if end.curvature is None or not anew or len(moved) == 0:
        return end.curvature
    return end.curvature.index_copy(0, moved, risk.quadratic(end.z[moved], moved).hessian)


def _corrector(passes: int) -> AbstractDescent[Any]:
    if passes <= EXPENSIVE_TANGENTS:
        return LevenbergMarquardt()
    # Truncated steps gain a digit each; tighter ones are worth their products so near the end.
    return LevenbergMarquardt(dense_up_to=0, inner_tolerance=1e-3)

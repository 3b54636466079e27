"""Polish: the last few steps in double precision, where they are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from surfing.continuation.best import laplace
from surfing.continuation.ride import identified, singular_values
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.minimise import Minimum, minimise
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.problem.risk import CostMeter
from surfing.solution import Solution, Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.generator import State
    from surfing.problem.problem import Problem
    from surfing.problem.risk import Risk

__all__ = ["DEAR_TANGENTS", "check_polish", "polished"]

_STEPS = 20
_ENDS = [int(end) for end in (Status.CONVERGED, Status.SOLVED, Status.NOISE_LEVEL)]
DEAR_TANGENTS = 256
"""Tangent passes of one Jacobian beyond which gradients and products alone are cheaper."""


def check_polish(problem: Problem, state: State) -> None:
    """See that generator and operator take double precision.

    Raises:
        InputError: one of them fails there, the operator returns another precision, or batch
            invariance can't be had there.
    """
    z = problem.latent.sample([0], 1, seed=0)[:, 0].to(problem.device, torch.float64)
    forward = problem.architecture.at(state, dtype=torch.float64)
    advice = "Cast what it holds to the type of what it is given, or leave polish out."
    try:
        with torch.no_grad():
            y = forward.operator(forward.signals(z))
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
    forward.linearise(z)  # notes whether there is a forward mode
    if problem.batch_invariant:
        problem.settle_blocks(state, dtype=torch.float64)


def polished(
    solution: Solution,
    problem: Problem,
    state: State,
    *,
    stopping: Stopping,
    block: int | None = None,
) -> Solution:
    """Each target's latents after at most 20 Levenberg-Marquardt steps in float64.

    The steps start where the solution is and end where float64 can tell no more; with a noise
    level, at that level. Risks, measured in float64, never rise. A target's status changes where
    its measurements are met now, or where it converged now; neither is taken back. What the steps
    cost is added to the solution's cost, a pass in float64 counting as one. The stages and
    candidates stay as the ride left them.

    Args:
        solution: of this problem, at this state.
        problem: what is to be recovered; generator and operator passed :func:`check_polish`.
        state: theta of the last stage.
        stopping: of the ride; only its noise level and what counts as met are kept.
        block: targets worked on at a time, so that memory does not grow with their number.

    Returns:
        The solution with z, x and risk in float64; singular values and covariance are those at the
        new z.
    """
    everybody = torch.arange(len(problem), device=problem.device)
    size = block or max(1, len(problem))
    parts = [
        _polish(solution.z[owner], problem, state, owner=owner, stopping=stopping)
        for owner in torch.split(everybody, size)
    ]
    z, value, status = (
        torch.cat(list(pieces)) for pieces in zip(*((p.z, p.value, p.status) for p in parts))
    )
    solution = replace(
        solution,
        z=z,
        x=problem.signals(state, z, block=size),
        risk=torch.where(torch.isfinite(value), value, solution.risk),
        cost=solution.cost + torch.cat([part.spent for part in parts]),
        depth=solution.depth + sum(part.depth for part in parts),
        singular_values=_newest(
            solution.singular_values, torch.cat([part.spectrum for part in parts])
        ),
    )
    if solution.covariance is not None:
        fresh = torch.cat([part.covariance for part in parts])
        solution = replace(solution, covariance=_newest(solution.covariance, fresh))
    newer = torch.isin(status, torch.tensor(_ENDS, device=status.device))
    status = torch.where(newer, status, solution.status)
    status = stopping.verdict(status, solution.risk, problem.y)
    return replace(solution, status=identified(replace(solution, status=status), problem))


class _Part(NamedTuple):
    """A block's end."""

    z: Float[Tensor, "rows k"]
    value: Float[Tensor, " rows"]
    status: Int[Tensor, " rows"]
    spent: Float[Tensor, " rows"]
    spectrum: Float[Tensor, "rows k"]
    """Singular values of the Jacobian; NaN where there is none."""
    covariance: Float[Tensor, "rows k k"]
    """Likewise; NaN without a noise level too."""
    depth: int


def _polish(
    z: Float[Tensor, "rows k"],
    problem: Problem,
    state: State,
    *,
    owner: Int[Tensor, " rows"],
    stopping: Stopping,
) -> _Part:
    meter = CostMeter(len(owner), owner.device)
    risk = problem.risk(state, owner, meter=meter, dtype=torch.float64)
    passes = risk.forward.tangent_passes(problem.latent.dim, problem.y.shape[1])
    # Converged is where the step, or what it promises, is below the rounding of float64.
    tight = replace(stopping, rtol=0.0, xtol=1e-12, ftol=1e-16)
    end = minimise(risk, z.double(), _corrector(passes), max_steps=_STEPS, stopping=tight)
    spectrum = torch.full_like(end.z, torch.nan)
    covariance = spectrum[:, None].repeat(1, spectrum.shape[1], 1)
    curvature = _curvature(risk, end, anew=stopping.noise is not None)
    if curvature is not None:
        told = torch.isfinite(curvature).flatten(1).all(-1)
        spectrum[told] = singular_values(curvature[told])
        if stopping.noise is not None:
            covariance[told] = laplace(curvature[told], stopping.noise)
    return _Part(end.z, end.value, end.status, meter.spent, spectrum, covariance, meter.depth)


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
    if passes <= DEAR_TANGENTS:
        return LevenbergMarquardt()
    # Truncated steps gain a digit each; tighter ones are worth their products so near the end.
    return LevenbergMarquardt(dense_up_to=0, inner_tolerance=1e-3)


def _newest(before: Tensor | None, newer: Tensor) -> Tensor | None:
    """What is known by target, as it was where nothing newer is; None where nothing at all is."""
    fresh = torch.isfinite(newer)
    if not bool(fresh.any()) or before is None:
        return newer if bool(fresh.any()) else before
    return torch.where(fresh, newer, before.double())

"""THE ending: from where the rows of a run ended to a Solution, whoever ran them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.continuation.polish import polished
from surfing.continuation.stage import run_stage
from surfing.descent.default import EXPENSIVE_TANGENTS
from surfing.latents import bounds
from surfing.problem.matrices import eigenvalues, pseudo_inverse
from surfing.problem.risk import CostMeter
from surfing.solution import Solution, Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.descent.stopping import Stopping
    from surfing.generator import State
    from surfing.problem.problem import Problem
    from surfing.solution import StageRecord

__all__ = ["End", "laplace", "singular_values", "solution_of"]

_PULL_STEPS = 10
_PULL = 0.3
_ASKED = 1.1
_NEARLY_OPEN = 1e-3


@dataclass(frozen=True)
class End:
    """Where the best row of each target ended."""

    z: Float[Tensor, "targets k"]
    misfit: Float[Tensor, " targets"]
    status: Int[Tensor, " targets"]
    curvature: Float[Tensor, "targets k k"] | None
    """J'J with the penalty's own, where the descent knows it; NaN where it was not taken."""
    cost: Float[Tensor, " targets"]


def solution_of(
    end: End,
    problem: Problem,
    state: State,
    *,
    stopping: Stopping,
    descent: AbstractDescent[Any],
    stages: tuple[StageRecord, ...] = (),
    candidates: tuple[Tensor, Tensor] | None = None,
    depth: int = 0,
    block: int | None = None,
    allowance: Float[Tensor, " targets"] | None = None,
    info: dict[str, Any] | None = None,
    method: str = "",
) -> Solution:
    """Judge, bring back what ran away, polish, and say what is determined and how surely.

    Args:
        end: where each target ended.
        problem: what is to be recovered.
        state: theta of the last stage.
        stopping: tolerances.
        descent: of the run.
        stages: of the run.
        candidates: latents and misfits of all rows of each target.
        depth: sequential depth so far.
        block: targets worked on at a time.
        allowance: forward-equivalents that each target may still spend; what it can't afford is
            left out, but for the polish, which was asked for.
        info: facts of the run.
        method: its name.
    """
    meter = CostMeter(len(problem), problem.device)
    status = _verdict(end.status, end.misfit, end.z, problem, state, stopping)
    end = replace(end, status=status)
    left = torch.full_like(end.misfit, torch.inf) if allowance is None else allowance
    end = _brought_back(end, problem, state, left, stopping=stopping, descent=descent, meter=meter)
    sure = descent.exact_curvature
    curvature = _curvature_at(end, problem, state, left - meter.spent, sure=sure, meter=meter)
    spectrum, covariance = _spectrum(curvature, problem)
    z, risk, status = end.z, end.misfit, _edge(end, problem)
    solution = Solution(
        z=z,
        x=problem.signals(state, z, block=block),
        risk=risk,
        status=status,
        cost=end.cost + meter.spent,
        stages=stages,
        candidates_z=None if candidates is None else candidates[0],
        candidates_risk=None if candidates is None else candidates[1],
        singular_values=spectrum,
        covariance=covariance,
        distance=_distance(z, problem),
        y_norm=problem.level.norm2.sqrt(),
        notes=problem.notes,
        depth=depth + meter.depth,
        info=info or {},
        method=method,
    )
    if stopping.polish:
        solution = _polished(solution, problem, state, stopping=stopping, block=block)
    return replace(solution, status=_identified(solution, problem))


def _verdict(
    status: Tensor, misfit: Tensor, z: Tensor, problem: Problem, state: State, stopping: Stopping
) -> Int[Tensor, " targets"]:
    """The last word on each target; with a robust loss by the residuals that are no outliers."""
    if problem.loss is None or len(problem) == 0:
        return stopping.verdict(status, misfit, problem.level)
    targets = torch.arange(len(problem), device=problem.device)
    square, kept = _inliers(problem, state, z, targets)
    level = problem.level
    level = replace(level, count=kept, norm2=level.norm2 * kept / level.count.clamp(min=1))
    judged = stopping.verdict(status, square / 2, level)
    return torch.where(2 * kept >= problem.level.count, judged, status)


def _inliers(
    problem: Problem, state: State, z: Tensor, targets: Tensor
) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
    """||r||^2 over residuals within three standard deviations, and how many there are."""
    risk = replace(problem, loss=None, prior=None).risk(state, targets)
    residual = risk.residual(z, targets).double()
    scale = problem.loss_scale
    near = residual.abs() <= 3 * (residual.new_ones(len(z)) if scale is None else scale)[:, None]
    counted = near if risk.weights is None else near & (risk.weights > 0)
    return (residual.square() * near).sum(-1), counted.sum(-1).double()


def _distance(z: Tensor, problem: Problem) -> Float[Tensor, " targets"]:
    """||z - mean|| in units of what is usual for the law."""
    law = problem.latent
    found: Tensor = ((z.double() - law.mean) / law.std).square().mean(-1).sqrt()
    return found


def _far(z: Tensor, problem: Problem) -> Tensor:
    """Who lies where the law draws next to nothing: four standard deviations of the norm out."""
    far: Tensor = _distance(z, problem) > 1 + 4 / problem.latent.dim**0.5
    return far


def _brought_back(
    end: End,
    problem: Problem,
    state: State,
    allowance: Tensor,
    *,
    stopping: Stopping,
    descent: AbstractDescent[Any],
    meter: CostMeter,
) -> End:
    """Targets that ran out of the law where nothing asks it.

    Where the measurements are not met, a few steps are tried from the usual distance with a penalty
    in proportion to the misfit; they are kept where that stays within a tenth of what it was. Where
    they are met to a noise level, the steps begin where the target is, with the law's own penalty,
    that of the MAP estimate; they are kept where the measurements stay met.
    """
    law, k = problem.latent, problem.latent.dim
    met = [int(s) for s in Status if s.success]
    unmet = ~torch.isin(end.status, torch.tensor(met, device=end.status.device))
    finite = torch.isfinite(end.misfit) & torch.isfinite(end.z).all(-1)
    pull = _PULL * end.misfit / k
    if problem.data.noise is not None and not problem.has_prior:
        pull = torch.where(unmet, pull, problem.data.noise.square())
        unmet = torch.ones_like(unmet)
    rows = unmet & finite & _far(end.z, problem)
    if not bool(rows.any()):
        return end
    every = problem.risk(state, torch.arange(len(problem), device=problem.device))
    rows = (rows & (allowance >= (_PULL_STEPS + 1) * descent.max_step_cost(every))).nonzero()[:, 0]
    if len(rows) == 0:
        return end
    was = torch.isin(end.status[rows], torch.tensor(met, device=rows.device))
    shrink = (1 / _distance(end.z[rows], problem)).to(end.z.dtype)
    shrink = torch.where(was, torch.ones_like(shrink), shrink)[:, None]
    z = law.mean + shrink * (end.z[rows] - law.mean)
    local = CostMeter(len(rows), problem.device)
    weight = pull[rows]
    part = problem.take(rows)
    owner = torch.arange(len(rows), device=rows.device)
    pulled = run_stage(
        part.risk(state, owner, reg=weight, meter=local),
        z,
        descent,
        stage=0.0,
        max_steps=_PULL_STEPS,
        stopping=stopping,
        rows=owner,
    )
    meter.spent[rows] += local.spent
    meter.depth += local.depth
    kept = pulled.misfit <= _ASKED * end.misfit[rows]
    kept = torch.where(was, stopping.met(pulled.misfit, part.level), kept)
    index = rows[kept]
    misfit, where, status = end.misfit.clone(), end.z.clone(), end.status.clone()
    misfit[index], where[index] = pulled.misfit[kept], pulled.minimum.z[kept]
    curvature = end.curvature
    if curvature is not None:
        curvature = curvature.clone()
        curvature[index] = torch.nan
    return replace(end, z=where, misfit=misfit, status=status, curvature=curvature)


def _curvature_at(
    end: End,
    problem: Problem,
    state: State,
    allowance: Tensor,
    *,
    sure: bool,
    meter: CostMeter,
) -> Tensor | None:
    """J'J taken at the very end, where something hangs on it.

    For a covariance: what a descent keeps is from one step before. And where an updated one, which
    is not `sure`, says that a direction is open, or nearly so.
    """
    known, noisy = end.curvature, problem.data.noise is not None
    if len(problem) == 0 or (not noisy and (known is None or sure)):
        return known
    targets = torch.arange(len(problem), device=problem.device)
    risk = problem.risk(state, targets, meter=meter)
    passes = risk.forward.tangent_passes(problem.latent.dim, problem.y.shape[1])
    if passes > EXPENSIVE_TANGENTS:
        return known
    asked = torch.isfinite(end.misfit) & (allowance >= 1 + passes)
    if not noisy and known is not None:
        values = singular_values(known)
        asked &= values[:, -1] <= _NEARLY_OPEN * values[:, 0]
    rows = asked.nonzero().flatten()
    taken = risk.quadratic(end.z[rows], rows).hessian
    if known is None:
        known = taken.new_full((len(problem), *taken.shape[1:]), torch.nan)
    return known.index_copy(0, rows, taken)


def _spectrum(
    curvature: Tensor | None, problem: Problem, *, dtype: torch.dtype = torch.float32
) -> tuple[Float[Tensor, "targets k"] | None, Float[Tensor, "targets k k"] | None]:
    """Singular values of J, and with a noise level Laplace's covariance of z."""
    if curvature is None:
        return None, None
    noise = problem.data.noise
    covariance = None if noise is None else laplace(curvature, noise)
    if problem.prior is not None:
        own = (problem.prior / problem.latent.std**2)[:, None]
        curvature = curvature - torch.diag_embed(own.expand(-1, problem.latent.dim))
    told = torch.isfinite(curvature).flatten(1).all(-1)
    values = singular_values(curvature)
    values = torch.where(told[:, None], values, torch.nan).to(dtype)
    if not bool(told.any()):
        return None, None
    if covariance is not None:
        covariance = torch.where(told[:, None, None], covariance, torch.nan).to(dtype)
    return values, covariance


def _polished(
    solution: Solution, problem: Problem, state: State, *, stopping: Stopping, block: int | None
) -> Solution:
    fine = polished(solution.z, solution.status, problem, state, stopping=stopping, block=block)
    risk = torch.where(torch.isfinite(fine.value), fine.value, solution.risk)
    spectrum, covariance = _spectrum(fine.curvature, problem, dtype=torch.float64)
    return replace(
        solution,
        z=fine.z,
        x=problem.signals(state, fine.z, block=block),
        risk=risk,
        status=_verdict(fine.status, risk, fine.z.to(solution.z.dtype), problem, state, stopping),
        cost=solution.cost + fine.spent,
        depth=solution.depth + fine.depth,
        singular_values=_newest(solution.singular_values, spectrum),
        covariance=_newest(solution.covariance, covariance),
        distance=_distance(fine.z, problem),
    )


def _newest(before: Tensor | None, newer: Tensor | None) -> Tensor | None:
    if newer is None or before is None:
        return before if newer is None else newer
    return torch.where(torch.isfinite(newer), newer, before.to(newer.dtype))


def _edge(end: End, problem: Problem) -> Int[Tensor, " targets"]:
    """The status; unmet targets on the edge of the support, or far out, end as such."""
    edge = bounds(problem.latent)
    on = _far(end.z, problem)
    if edge is not None:
        on = ((end.z <= edge[0]) | (end.z >= edge[1])).any(-1)
    settled = torch.isin(
        end.status,
        torch.tensor([int(Status.CONVERGED), int(Status.STALLED)], device=end.status.device),
    )
    return torch.where(on & settled, int(Status.OUTSIDE), end.status)


def _identified(solution: Solution, problem: Problem) -> Int[Tensor, " targets"]:
    """The status, where measurements that are met leave directions open as such.

    A prior that was asked for determines them.
    """
    if problem.has_prior:
        return solution.status
    loose = ((solution.undetermined > 0) | (problem.surely_open > 0)) & solution.success
    return torch.where(loose, int(Status.UNIDENTIFIED), solution.status)


def singular_values(curvature: Float[Tensor, "r k k"]) -> Float[Tensor, "r k"]:
    """Of J, from J'J, largest first; zero where J'J is not finite."""
    finite = torch.isfinite(curvature).all(-1).all(-1)
    safe = torch.where(finite[:, None, None], curvature, 0.0)
    return eigenvalues(safe).flip(-1).clamp(min=0).sqrt()


def laplace(
    curvature: Float[Tensor, "t k k"], noise: Float[Tensor, " t"]
) -> Float[Tensor, "t k k"]:
    """Laplace's covariance of z: noise^2 H^+, H = J'J and the prior's own."""
    finite = torch.isfinite(curvature).all(-1).all(-1)
    safe = torch.where(finite[:, None, None], curvature, 0.0)
    return pseudo_inverse(safe) * noise.square()[:, None, None]

"""Draws around the modes of a block of targets, weighed where J'J is dense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.posterior.draws import Draws, DrawsStatus, ModeTable
from surfing.posterior.modes import Modes
from surfing.posterior.moments import effective_size
from surfing.posterior.moves import moved, resampled
from surfing.posterior.randomise import (
    assigned,
    draw_rows,
    perturbed_rows,
    region_of,
    weights_of,
)
from surfing.problem.risk import CostMeter

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.posterior.noise import AbstractNoise
    from surfing.posterior.search import Posterior, Search
    from surfing.problem.problem import Problem

__all__ = ["tolerated", "unweighted_draws", "weighted_draws"]

_MOVE_BELOW = 0.5
"""Share of the draws below which an effective sample size asks for moves."""
_SHARED = 0.02
"""Share of the mass outside of the heaviest mode, by Laplace, that asks for moves too."""
_LEAST_MASS = 1e-3
_FEW = 0.1
"""Share of the draws below which an effective sample size is called few; ten at least."""


def weighted_draws(
    posterior: Posterior,
    search: Search,
    noise: Float[Tensor, "targets draws k"],
    *,
    law: AbstractNoise | None,
    moves: Callable[[Int[Tensor, " t"]], Tensor],
) -> Draws:
    """Randomise, then optimise, around every mode; few that carry the weight move on.

    Args:
        posterior: of the targets.
        search: where descents ended.
        noise: right sides of the draws' equations, standard normal.
        law: of the measurements, where it is not normal.
        moves: of some targets: standard normal numbers of all moves of each draw, and one more.
    """
    targets, draws, _ = noise.shape
    modes, search = search.modes(posterior)
    table = modes.table(targets)
    there = table >= 0
    log_mass = noise.new_full(table.shape, -torch.inf)
    log_mass[there] = modes.log_mass[table[there]]
    number, counts = assigned(log_mass, draws)
    owner = torch.arange(targets, device=noise.device).repeat_interleave(draws)
    able = there.any(1)[owner].nonzero().flatten()
    mode = table.gather(1, number).flatten()[able]
    flat = noise.flatten(0, 1)
    u, cost = torch.zeros_like(flat), torch.zeros_like(flat[:, 0])
    log_weight = torch.full_like(cost, -torch.inf)
    drawn, cost[able] = draw_rows(
        posterior, modes, owner[able], mode=mode, noise=flat[able], law=law
    )
    u[able], log_weight[able] = drawn.u, drawn.log_weight
    log_weight[region_of(modes, u, owner, targets) != number.flatten()] = -torch.inf
    weights, found = weights_of(log_weight.reshape(targets, draws), number, counts)
    # Where no draw could be weighed, Laplace's are better than none.
    lost = (~found[owner[able]]).nonzero().flatten()
    u[able[lost]] = modes.laplace(mode[lost], flat[able[lost]])
    spent = search.spent + cost.reshape(targets, draws).sum(1)
    ess = torch.where(found, effective_size(weights), 0.0)
    block = _Block(posterior, modes, table, u.reshape(noise.shape), weights, number, ess, spent)
    shared = torch.softmax(log_mass, 1).nan_to_num(nan=0.0).amax(1) < 1 - _SHARED
    few = (found & (shared | (ess < _MOVE_BELOW * draws))).nonzero().flatten()
    if len(few) and (law is None or law.normal):
        block = block.moved(few, moves(few))
    return block.told(found)


@dataclass(frozen=True)
class _Block:
    """Draws of some targets and the modes that they belong to."""

    posterior: Posterior
    modes: Modes
    table: Int[Tensor, "targets n"]
    u: Float[Tensor, "targets draws k"]
    weights: Float[Tensor, "targets draws"]
    number: Int[Tensor, "targets draws"]
    ess: Float[Tensor, " targets"]
    spent: Float[Tensor, " targets"]

    def moved(self, few: Int[Tensor, " t"], noise: Float[Tensor, "t draws n"]) -> _Block:
        """With some targets' draws resampled and moved."""
        draws, k = self.u.shape[1:]
        at = resampled(self.weights[few], torch.special.ndtr(noise[:, 0, -1]))
        start = self.u[few].gather(1, at.unsqueeze(-1).expand(-1, -1, k))
        end = moved(
            self.posterior.take(few), self.modes, start, self.table[few], self.ess[few], noise
        )
        owner = few.repeat_interleave(draws)
        region = region_of(self.modes, end.u.flatten(0, 1), owner, len(self.u))
        even = torch.full_like(self.weights[few], 1 / draws)
        return replace(
            self,
            u=self.u.index_copy(0, few, end.u),
            weights=self.weights.index_copy(0, few, even),
            number=self.number.index_copy(0, few, region.reshape(at.shape)),
            ess=self.ess.index_copy(0, few, end.size),
            spent=self.spent.index_add(0, few, end.spent),
        )

    def told(self, found: Bool[Tensor, " targets"]) -> Draws:
        """As the caller sees them: modes in the order of their mass, a status for each target."""
        posterior, dtype = self.posterior, self.posterior.problem.y.dtype
        targets, draws, k = self.u.shape
        owner = torch.arange(targets, device=self.u.device).repeat_interleave(draws)
        z = posterior.whitening.z(self.u.flatten(0, 1), owner)
        mass = self.u.new_zeros(self.table.shape).scatter_add_(1, self.number, self.weights)
        order = mass.argsort(dim=1, descending=True, stable=True)
        where = self._spread(posterior.whitening.z(self.modes.u, self.modes.owner), torch.nan)
        # Laplace may have promised what the draws did not find there.
        where = where.masked_fill((mass < _LEAST_MASS).unsqueeze(-1), torch.nan)
        misfit = self._spread(self.modes.misfit, torch.inf).amin(1)
        return Draws(
            z=z.reshape(targets, draws, k).to(dtype),
            weights=self.weights,
            mode=order.argsort(dim=1).gather(1, self.number),
            modes=ModeTable(
                where.gather(1, order.unsqueeze(-1).expand_as(where)).to(dtype),
                mass.gather(1, order),
            ),
            ess=self.ess,
            status=self._status(misfit, found),
            misfit=misfit,
            noise=posterior.level,
            cost=self.spent,
        )

    def _status(self, misfit: Tensor, found: Tensor) -> Int[Tensor, " targets"]:
        status = torch.full_like(self.table[:, 0], int(DrawsStatus.WEIGHTED))
        status[self.ess < max(10.0, _FEW * self.u.shape[1])] = int(DrawsStatus.FEW)
        status[~found] = int(DrawsStatus.LAPLACE)
        status[~(misfit <= tolerated(self.posterior.problem))] = int(DrawsStatus.MISFIT)
        status[(self.table < 0).all(1)] = int(DrawsStatus.NONE)
        return status

    def _spread(self, values: Tensor, missing: float) -> Tensor:
        """What there is of each mode, in the places of the table."""
        out = values.new_full((*self.table.shape, *values.shape[1:]), missing)
        there = self.table >= 0
        out[there] = values[self.table[there]]
        return out


def unweighted_draws(
    posterior: Posterior,
    search: Search,
    right: Callable[[int, int], tuple[Tensor, Tensor]],
    *,
    draws: int,
    descent: AbstractDescent[Any],
) -> Draws:
    """Randomised maximum likelihood around the best end, all draws alike.

    Args:
        posterior: of the targets.
        search: where descents ended.
        right: see :func:`perturbed_rows`.
        draws: of each target.
        descent: the way down.
    """
    problem = posterior.problem
    targets, k = len(problem), problem.latent.dim
    best = search.best()[:, 0]
    u, cost = perturbed_rows(posterior, best, right, draws=draws, descent=descent)
    owner = torch.arange(targets, device=problem.device)
    meter = CostMeter(targets, problem.device)
    misfit = posterior.risk(owner, meter).data_misfit(best, owner)
    status = torch.full_like(owner, int(DrawsStatus.UNWEIGHTED))
    status[~(misfit <= tolerated(problem))] = int(DrawsStatus.MISFIT)
    status[~torch.isfinite(search.ends.value).any(1)] = int(DrawsStatus.NONE)
    even = torch.full((targets, draws), 1 / draws, dtype=torch.float64, device=best.device)
    z = posterior.whitening.z(u, owner.repeat_interleave(draws)).to(problem.y.dtype)
    mode = posterior.whitening.z(best, owner).to(problem.y.dtype)[:, None]
    return Draws(
        z=z.reshape(targets, draws, k),
        weights=even,
        mode=torch.zeros_like(even, dtype=torch.long),
        modes=ModeTable(mode, torch.ones_like(even[:, :1])),
        ess=torch.full_like(misfit, float(draws)),
        status=status,
        misfit=misfit,
        noise=posterior.level,
        cost=search.spent + meter.spent + cost.reshape(targets, draws).sum(1),
    )


def tolerated(problem: Problem) -> Float[Tensor, " targets"]:
    """||r||^2 up to which measurements count as met by a mode, in units of the noise.

    m + 3 sqrt(2 m) as elsewhere; the prior may take up to k more.
    """
    m = problem.data.count
    return m + 3 * (2 * m).sqrt() + problem.latent.dim

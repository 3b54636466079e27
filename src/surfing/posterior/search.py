"""Where the modes of each target are: descents of -log posterior from several starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.posterior.modes import Ends, Modes, descend, kept_modes, modes_at, on_grid
from surfing.posterior.noise import Fit
from surfing.posterior.risks import PosteriorRisk
from surfing.posterior.whitening import AbstractWhitening, whitening_of
from surfing.problem.risk import CostMeter

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.generator import State
    from surfing.problem.problem import Problem

__all__ = ["Posterior", "Search", "fit_of"]


@dataclass(frozen=True)
class Posterior:
    """Of the targets of a block, given theta.

    Args:
        problem: with a noise level and a prior.
        state: theta.
        whitening: the law in normal coordinates.
    """

    problem: Problem
    state: State
    whitening: AbstractWhitening

    @classmethod
    def of(cls, problem: Problem, state: State) -> Posterior:
        """With the whitening that the problem asks for."""
        return cls(problem, state, whitening_of(problem))

    def risk(self, owner: Int[Tensor, " rows"], meter: CostMeter) -> PosteriorRisk:
        """-log posterior for rows of these targets."""
        return PosteriorRisk(self.problem, self.state, owner, whitening=self.whitening, meter=meter)

    @property
    def level(self) -> Float[Tensor, " targets"]:
        """Of the noise."""
        level = self.problem.data.noise
        if level is None:
            raise AssertionError  # its whitening has seen one
        return level

    def take(self, targets: Int[Tensor, " t"]) -> Posterior:
        """Of some targets."""
        return Posterior.of(self.problem.take(targets), self.state)


@dataclass(frozen=True)
class Search:
    """Where descents from all starts of each target ended, and what they cost.

    Args:
        ends: in normal coordinates.
        hessian: J'J + I near them; None where it is never formed.
        spent: forward-equivalents of each target.
    """

    ends: Ends
    hessian: Float[Tensor, "targets n k k"] | None
    spent: Float[Tensor, " targets"]

    @classmethod
    def run(
        cls,
        posterior: Posterior,
        u: Float[Tensor, "targets n k"],
        descent: AbstractDescent[Any],
        *,
        budget: float = float("inf"),
    ) -> Search:
        """Descend from these starts.

        Args:
            posterior: whose modes are looked for.
            u: starts, in normal coordinates.
            descent: the way down.
            budget: forward-equivalents of a target, over all of its starts.
        """
        targets, starts, _ = u.shape
        owner = torch.arange(targets, device=u.device).repeat_interleave(starts)
        meter = CostMeter(len(owner), u.device)
        allowance = torch.full_like(meter.spent, budget / max(1, starts))
        risk = posterior.risk(owner, meter)
        ends, hessian = descend(risk, u, descent, allowance=allowance)
        return cls(ends, hessian, meter.spent.reshape(targets, starts).sum(1))

    def beside(self, other: Search, targets: Int[Tensor, " t"]) -> Search:
        """With the ends of some targets' further starts."""
        ends = self.ends.beside(other.ends, targets)
        spent = self.spent.index_add(0, targets, other.spent)
        if self.hessian is None or other.hessian is None:
            return Search(ends, None, spent)
        more = self.hessian.new_full(
            (len(self.hessian), *other.hessian.shape[1:]), torch.nan
        ).index_copy(0, targets, other.hessian)
        return Search(ends, torch.cat([self.hessian, more], 1), spent)

    def best(self) -> Float[Tensor, "targets 1 k"]:
        """The lowest end of each target."""
        rows = torch.arange(len(self.ends.u), device=self.ends.u.device)
        return self.ends.u[rows, self.ends.best][:, None]

    def paid(self, amount: Float[Tensor, " targets"]) -> Search:
        """With further costs."""
        return replace(self, spent=self.spent + amount)

    def modes(self, posterior: Posterior) -> tuple[Modes, Search]:
        """The ends that are modes of their own, and the search with what looking at them cost."""
        if self.hessian is None:
            raise AssertionError  # only asked for where J'J is formed
        kept: Bool[Tensor, "t n"] = kept_modes(self.ends, self.hessian)
        owner, number = kept.nonzero(as_tuple=True)
        meter = CostMeter(len(owner), owner.device)
        near = on_grid(self.ends.u[owner, number], self.hessian[owner, number])
        modes = modes_at(posterior.risk(owner, meter), near)
        return modes, self.paid(torch.zeros_like(self.spent).index_add(0, owner, meter.spent))


def fit_of(posterior: Posterior, search: Search) -> tuple[Fit, Float[Tensor, " targets"]]:
    """What the best latents predict, and what asking cost."""
    problem = posterior.problem
    owner = torch.arange(len(problem), device=problem.device)
    u = search.best()[:, 0]
    meter = CostMeter(len(owner), problem.device)
    risk = posterior.risk(owner, meter)
    predicted = risk.predicted(u, owner)
    k = problem.latent.dim
    determined = torch.full_like(meter.spent, float(k))
    if search.hessian is not None:
        hessian = search.hessian[owner, search.ends.best]
        told = torch.isfinite(hessian).flatten(1).all(1)
        safe = torch.where(told[:, None, None], hessian, torch.eye(k, dtype=hessian.dtype))
        left = torch.linalg.inv(safe).diagonal(dim1=-2, dim2=-1).sum(-1)
        determined = torch.where(told, k - left, determined)
    weights = problem.data.weights
    counted = torch.ones_like(problem.y, dtype=torch.bool)
    if weights is not None:
        counted = (weights > 0).expand_as(problem.y)
    return Fit(problem.y, predicted, counted, determined), meter.spent

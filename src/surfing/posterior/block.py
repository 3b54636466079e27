"""What is done with a block of targets: find the modes, draw around each, weigh."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.descent.default import EXPENSIVE_TANGENTS, default_descent
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.execution.targets import Targets
from surfing.latents import Normal
from surfing.posterior.draws import Draws, DrawsStatus, ModeTable
from surfing.posterior.modes import Modes
from surfing.posterior.moments import effective_size
from surfing.posterior.randomise import assigned, draw_rows, perturbed_rows, region_of, weights_of
from surfing.posterior.search import Posterior, Search, fit_of
from surfing.problem.risk import CostMeter
from surfing.starts.scouting import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.portfolio.recover import BlockSolver
    from surfing.posterior.noise import AbstractNoise
    from surfing.problem.model import ForwardModel
    from surfing.problem.problem import Problem
    from surfing.starts.learned import LearnedStarts

__all__ = ["BlockSampler"]

_BYTES = 128 * 2**20
_FEW = 0.1
"""Share of the draws below which an effective sample size is called few; ten at least."""


@dataclass(frozen=True)
class BlockSampler:
    """What is done with a block of targets, here or on a worker; see :func:`surfing.sample`."""

    solver: BlockSolver
    """Finds latents that meet the measurements where the starts do not."""
    noise: AbstractNoise | None
    draws: int
    starts: int
    seed: int

    @property
    def model(self) -> ForwardModel:
        """That of the solver."""
        return self.solver.model

    def with_learned(self, known: LearnedStarts | None, targets: float) -> BlockSampler:
        """With learned starts, whose samples each of the targets pays its share of."""
        return replace(self, solver=self.solver.with_learned(known, targets))

    def check(self, targets: Targets, *, whole: int | None = None) -> None:
        """See that measurements fit, before any work.

        Raises:
            SurfingError: they don't.
        """
        problem = self._problem(targets, self._first(targets), whole=whole)
        if targets.z0 is not None:
            problem.check_start(targets.z0)
        Posterior.of(problem, self.model.last)

    def __call__(
        self,
        y: Targets | Tensor,
        *,
        ids: Sequence[int],
        progress: Callable[[int, int], None] | None = None,
    ) -> Draws:
        """Sample the targets of one block, as many at a time as the memory takes.

        Args:
            y: their measurements, and what goes with them.
            ids: of the targets.
            progress: called with (done, in all) of this block.
        """
        began = time.perf_counter()
        targets = y if isinstance(y, Targets) else Targets(y)
        total, size = len(targets), self._together()
        parts = [range(low, min(low + size, total)) for low in range(0, total, size)]
        made = []
        for part in parts or [range(0)]:
            made.append(self._sampled(targets.rows(part), ids[part.start : part.stop]))
            if progress is not None:
                progress(part.stop, total)
        return replace(Draws.joined(made), seconds=time.perf_counter() - began)

    @property
    def weighted(self) -> bool:
        """Whether J'J is dense, so that modes and draws have weights."""
        k = self.model.latent.dim
        dense: bool = k <= LevenbergMarquardt().dense_up_to
        return dense and self._passes() <= EXPENSIVE_TANGENTS

    def _passes(self) -> int:
        m = int(torch.tensor(self.model.measurement_shape).prod())
        forward = self.model.architecture.at(self.model.last)
        return forward.tangent_passes(self.model.latent.dim, m)

    def _together(self) -> int:
        """Targets at a time: their frames and the models of their starts fit the memory."""
        k = self.model.latent.dim
        if self.model.required:
            return 16
        m = int(torch.tensor(self.model.measurement_shape).prod())
        square = k * k if k <= LevenbergMarquardt().dense_up_to else k
        each = 4 * m * k * 2 + 8 * self.starts * square * 4 + 8 * self.draws * k * 4
        return max(1, min(256, _BYTES // each))

    def _first(self, targets: Targets) -> Any:
        """The noise as the caller told it, or as its model begins."""
        if self.noise is None:
            return targets.noise
        y = torch.as_tensor(targets.y)
        level = self.noise.first(y.flatten(1), self.model.latent.dim)
        return level.reshape(y.shape)

    def _problem(self, targets: Targets, noise: Any, *, whole: int | None = None) -> Problem:
        return self.model.problem(
            targets.y, noise=noise, prior=self.solver.prior, given=targets.given, whole=whole
        )

    def _sampled(self, targets: Targets, ids: Sequence[int]) -> Draws:
        targets = replace(targets, noise=self._first(targets))
        problem = self._problem(targets, targets.noise)
        posterior = Posterior.of(problem, self.model.last)
        notes = problem.notes
        if len(problem) == 0:
            return _nothing(problem, self.draws)
        search = self._searched(posterior, targets, ids)
        if self.noise is not None:
            targets, posterior, search, told = self._settled(targets, posterior, search)
            notes = (*notes, *told)
        search = self._helped(posterior, search, targets, ids)
        if self.weighted:
            made = self._weighted(posterior, search, ids)
        else:
            made = self._unweighted(posterior, search, ids)
        return replace(made, notes=tuple(dict.fromkeys((*notes, *made.notes))))

    def _descent(self) -> Any:
        return default_descent(self._passes())

    def _searched(self, posterior: Posterior, targets: Targets, ids: Sequence[int]) -> Search:
        """From the caller's starts and learned ones, or from draws of the law."""
        problem, learned = posterior.problem, self.solver.learned
        parts = []
        if targets.z0 is not None:
            parts.append(problem.check_start(targets.z0))
        if learned is not None:
            alone = problem.batch_invariant
            parts.append(learned.candidates(problem.data, self.starts, alone=alone).to(problem.y))
        else:
            drawn = problem.latent.sample(
                ids, self.starts, seed=derived_seed(self.seed, "posterior starts")
            )
            parts.append(drawn.to(problem.y))
        z = problem.latent.project(torch.cat(parts, 1))
        owner = torch.arange(len(problem), device=problem.device).repeat_interleave(z.shape[1])
        u = posterior.whitening.u(z.flatten(0, 1), owner).reshape(z.shape)
        left = self.solver.budget - self.solver.shared
        return Search.run(posterior, u, self._descent(), budget=left)

    def _settled(
        self, targets: Targets, posterior: Posterior, search: Search
    ) -> tuple[Targets, Posterior, Search, tuple[str, ...]]:
        """Noise and fit in turn, then all ends once more at the level that they agreed on."""
        if self.noise is None:
            raise AssertionError
        shape, spent = targets.y.shape, torch.zeros_like(search.spent)
        near, free = replace(search, spent=spent), 1.0
        for _ in range(self.noise.rounds):
            fit, asked = fit_of(posterior, near)
            spent = spent + asked
            free = float((fit.counted.sum(1) - fit.determined).min())
            level = self.noise.refined(fit).reshape(shape)
            targets = replace(targets, noise=level)
            posterior = Posterior.of(self._problem(targets, level), self.model.last)
            near = Search.run(posterior, near.best(), self._descent())
            spent = spent + near.spent
        again = Search.run(posterior, search.ends.u, self._descent())
        note = self.noise.note(posterior.level, free)
        return (
            targets,
            posterior,
            again.paid(search.spent + spent),
            () if note is None else (note,),
        )

    def _helped(
        self, posterior: Posterior, search: Search, targets: Targets, ids: Sequence[int]
    ) -> Search:
        """Targets whose measurements no start meets are recovered first."""
        problem = posterior.problem
        owner = torch.arange(len(problem), device=problem.device)
        meter = CostMeter(len(problem), problem.device)
        misfit = posterior.risk(owner, meter).data_misfit(search.best()[:, 0], owner)
        search = search.paid(meter.spent)
        unmet = (~(misfit <= _tolerated(problem))).nonzero().flatten()
        if len(unmet) == 0:
            return search
        solution = self.solver(
            targets.take(unmet.cpu()), ids=[ids[target] for target in unmet.tolist()]
        )
        part = posterior.take(unmet)
        mine = torch.arange(len(unmet), device=unmet.device)
        u = part.whitening.u(solution.z, mine)[:, None]
        more = Search.run(part, u, self._descent()).paid(solution.cost)
        return search.beside(more, unmet)

    def _normal(self, ids: Sequence[int], size: int, name: str) -> Float[Tensor, "t draws n"]:
        """Standard normal numbers of each target, whatever is beside it."""
        made = Normal(size).sample(ids, self.draws, seed=derived_seed(self.seed, name))
        return made.to(self.model.device, torch.float64)

    def _weighted(self, posterior: Posterior, search: Search, ids: Sequence[int]) -> Draws:
        problem, device = posterior.problem, posterior.problem.device
        targets, k = len(problem), problem.latent.dim
        modes, search = search.modes(posterior)
        table = modes.table(targets)
        there = table >= 0
        log_mass = torch.full(table.shape, -torch.inf, dtype=torch.float64, device=device)
        log_mass[there] = modes.log_mass[table[there]]
        number, counts = assigned(log_mass, self.draws)
        owner = torch.arange(targets, device=device).repeat_interleave(self.draws)
        some = there.any(1)
        able = some[owner].nonzero().flatten()
        u = torch.zeros(len(owner), k, dtype=torch.float64, device=device)
        log_weight = torch.full((len(owner),), -torch.inf, dtype=torch.float64, device=device)
        cost = torch.zeros_like(log_weight)
        noise = self._normal(ids, k, "draws").flatten(0, 1)
        drawn, cost[able] = draw_rows(
            posterior,
            modes,
            owner[able],
            mode=table.gather(1, number).flatten()[able],
            noise=noise[able],
            law=self.noise,
        )
        u[able], log_weight[able] = drawn.u, drawn.log_weight
        region = region_of(modes, u, owner, targets)
        log_weight[region != number.flatten()] = -torch.inf
        weights, found = weights_of(log_weight.reshape(targets, -1), number, counts)
        spent = search.spent + cost.reshape(targets, -1).sum(1)
        return self._told(
            posterior, modes, u, weights, number, found=found, spent=spent, table=table
        )

    def _told(
        self,
        posterior: Posterior,
        modes: Modes,
        u: Tensor,
        weights: Tensor,
        number: Tensor,
        *,
        found: Tensor,
        spent: Tensor,
        table: Tensor,
    ) -> Draws:
        problem = posterior.problem
        targets = len(problem)
        owner = torch.arange(targets, device=problem.device)
        z = posterior.whitening.z(u, owner.repeat_interleave(self.draws)).to(problem.y.dtype)
        at = posterior.whitening.z(modes.u, modes.owner).to(problem.y.dtype)
        mass = torch.zeros(table.shape, dtype=torch.float64, device=u.device)
        mass = mass.scatter_add_(1, number, weights)
        where = at.new_full((*table.shape, u.shape[1]), torch.nan)
        where[table >= 0] = at[table[table >= 0]]
        order = mass.argsort(dim=1, descending=True, stable=True)
        place = order.argsort(dim=1)
        ess = torch.where(found, effective_size(weights), 0.0)
        misfit = torch.full(table.shape, torch.inf, dtype=torch.float64, device=u.device)
        misfit[table >= 0] = modes.misfit[table[table >= 0]]
        best = misfit.amin(1)
        status = torch.full_like(order[:, 0], int(DrawsStatus.WEIGHTED))
        status[ess < max(10.0, _FEW * self.draws)] = int(DrawsStatus.FEW)
        status[~(best <= _tolerated(problem))] = int(DrawsStatus.MISFIT)
        status[~found] = int(DrawsStatus.NONE)
        return Draws(
            z=z.reshape(targets, self.draws, -1),
            weights=weights,
            mode=place.gather(1, number),
            modes=ModeTable(
                where.gather(1, order.unsqueeze(-1).expand_as(where)), mass.gather(1, order)
            ),
            ess=ess,
            status=status,
            misfit=best,
            noise=posterior.level,
            cost=spent,
        )

    def _unweighted(self, posterior: Posterior, search: Search, ids: Sequence[int]) -> Draws:
        """Randomised maximum likelihood around the best end, all draws alike."""
        problem, draws = posterior.problem, self.draws
        targets, m, k = len(problem), problem.y.shape[1], problem.latent.dim

        def right(low: int, high: int) -> tuple[Tensor, Tensor]:
            made = [
                Normal(m + k).sample([ids[row // draws]], 1, seed=self._seed_of(row % draws))[0]
                for row in range(low, high)
            ]
            numbers = torch.cat(made).to(problem.device)
            return numbers[:, :m], numbers[:, m:].double()

        best = search.best()[:, 0]
        u, cost = perturbed_rows(posterior, best, right, draws=draws, descent=self._descent())
        owner = torch.arange(targets, device=problem.device)
        meter = CostMeter(targets, problem.device)
        misfit = posterior.risk(owner, meter).data_misfit(best, owner)
        status = torch.full_like(owner, int(DrawsStatus.UNWEIGHTED))
        status[~(misfit <= _tolerated(problem))] = int(DrawsStatus.MISFIT)
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

    def _seed_of(self, draw: int) -> int:
        return derived_seed(self.seed, "perturbed", draw)


def _tolerated(problem: Problem) -> Float[Tensor, " targets"]:
    """||r||^2 up to which measurements count as met by a mode, in units of the noise.

    m + 3 sqrt(2 m) as elsewhere; the prior may take up to k more.
    """
    m = problem.data.count
    return m + 3 * (2 * m).sqrt() + problem.latent.dim


def _nothing(problem: Problem, draws: int) -> Draws:
    k, y = problem.latent.dim, problem.y
    none = torch.zeros(0, dtype=torch.float64, device=y.device)
    return Draws(
        z=y.new_zeros(0, draws, k),
        weights=none.new_zeros(0, draws),
        mode=none.new_zeros(0, draws).long(),
        modes=ModeTable(y.new_zeros(0, 1, k), none.new_zeros(0, 1)),
        ess=none,
        status=none.long(),
        misfit=none,
        noise=none,
        cost=none,
    )

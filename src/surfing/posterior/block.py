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
from surfing.posterior.around import tolerated, unweighted_draws, weighted_draws
from surfing.posterior.draws import Draws, ModeTable
from surfing.posterior.moves import numbers_for
from surfing.posterior.search import Posterior, Search, fit_of
from surfing.problem.risk import CostMeter
from surfing.starts.scouting import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.portfolio.solver import BlockSolver
    from surfing.posterior.noise import AbstractNoise
    from surfing.problem.model import ForwardModel
    from surfing.problem.problem import Problem
    from surfing.starts.learned import LearnedStarts

__all__ = ["BlockSampler"]

_BYTES = 128 * 2**20


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
            right = self._normal(ids, problem.latent.dim, "draws")
            made = weighted_draws(posterior, search, right, law=self.noise, moves=self._moves(ids))
        else:
            made = unweighted_draws(
                posterior,
                search,
                self._right(problem, ids),
                draws=self.draws,
                descent=self._descent(),
            )
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
        unmet = (~(misfit <= tolerated(problem))).nonzero().flatten()
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

    def _moves(self, ids: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """What moves the draws of some targets."""
        size = numbers_for(self.model.latent.dim) + 1
        return lambda few: self._normal([ids[t] for t in few.tolist()], size, "moves")

    def _normal(self, ids: Sequence[int], size: int, name: str) -> Float[Tensor, "t draws n"]:
        """Standard normal numbers of each target, whatever is beside it."""
        made = Normal(size).sample(ids, self.draws, seed=derived_seed(self.seed, name))
        return made.to(self.model.device, torch.float64)

    def _right(self, problem: Problem, ids: Sequence[int]) -> Callable[[int, int], Any]:
        """What perturbs measurements and prior of each draw, a stream for each."""
        m, k, draws = problem.y.shape[1], problem.latent.dim, self.draws

        def right(low: int, high: int) -> tuple[Tensor, Tensor]:
            made = [
                Normal(m + k).sample([ids[row // draws]], 1, seed=self._seed_of(row % draws))[0]
                for row in range(low, high)
            ]
            numbers = torch.cat(made).to(problem.device)
            return numbers[:, :m], numbers[:, m:].double()

        return right

    def _seed_of(self, draw: int) -> int:
        return derived_seed(self.seed, "perturbed", draw)


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

"""What `recover` does with a block of targets, here or on a worker."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing import check
from surfing.continuation.ending import End, solution_of
from surfing.continuation.polish import check_polish
from surfing.descent.base import AbstractDescent
from surfing.descent.lbfgs import LBFGS
from surfing.descent.stopping import Stopping
from surfing.execution import Local, solve_all
from surfing.execution.targets import Targets
from surfing.portfolio.attempt import Attempt, Found, RunContext
from surfing.portfolio.defaults import checked_descent, checked_portfolio
from surfing.portfolio.incumbent import Incumbent
from surfing.portfolio.known import race, rank, try_candidate
from surfing.portfolio.limits import PLENTY, RACERS, block_size, late, share_of
from surfing.problem.model import ForwardModel
from surfing.problem.risk import CostMeter
from surfing.solution import Solution, StageRecord, Status
from surfing.starts.layerwise import layerwise, readable
from surfing.starts.learned import LearnedStarts

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.loss import AbstractLoss
    from surfing.problem.problem import Problem

__all__ = ["BlockSolver", "solver_of"]

_log = logging.getLogger(__name__)

_CANDIDATES = 12
"""Half as many where measurements are plenty."""
_TRIED = 6
_HITS = 3
"""How often the best minimum is to be found before a target is left as it is."""
_LEAST_TRIES = 5
_LAST = 0.1
"""Share of the time in whose rest no attempt is begun."""


def solver_of(
    model: ForwardModel,
    *,
    budget: float = 2000,
    prior: float | str | None = None,
    loss: AbstractLoss | None = None,
    portfolio: Sequence[Attempt] | None = None,
    descent: AbstractDescent[Any] | None = None,
    stopping: Stopping | None = None,
    seed: int = 0,
    until: float | None = None,
) -> BlockSolver:
    """What :func:`recover` does with a block, its arguments checked.

    Raises:
        InputError: a bad argument.
    """
    chosen = checked_descent(descent, model, loss)
    return BlockSolver(
        model,
        budget=check.number("budget", budget, low=0, open_low=True, finite=False),
        prior=prior,
        loss=loss,
        portfolio=checked_portfolio(portfolio, model, chosen),
        descent=chosen,
        stopping=Stopping() if stopping is None else stopping,
        seed=check.integer("seed", seed),
        until=until,
    )


@dataclass(frozen=True)
class BlockSolver:
    """What is done with a shard of targets, here or on a worker; see :func:`recover`."""

    model: ForwardModel
    budget: float
    prior: float | str | None
    loss: AbstractLoss | None
    portfolio: tuple[Attempt, ...]
    descent: AbstractDescent[Any]
    stopping: Stopping
    seed: int
    until: float | None = None
    learned: LearnedStarts | None = None
    shared: float = 0.0
    """What each target has paid for the learned starts, in forward-equivalents."""

    def __getstate__(self) -> dict[str, Any]:
        """For a worker: clocks that count from a machine's start mean nothing on another.

        Of several machines it is the time of day that has to agree.
        """
        left = None if self.until is None else self.until - time.perf_counter()
        return self.__dict__ | {"until": None if left is None else time.time() + left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        end = state["until"]
        left = None if end is None else end - time.time()
        self.__dict__.update(state, until=None if left is None else time.perf_counter() + left)

    def with_learned(self, known: LearnedStarts | None, targets: float) -> BlockSolver:
        """With learned starts, whose samples each of the targets pays its share of."""
        if known is None:
            return self
        return replace(self, learned=known, shared=len(known) / max(1, targets))

    def check(self, targets: Targets, *, whole: int | None = None) -> None:
        """See that measurements fit, before any work.

        Raises:
            SurfingError: they don't; shapes are told of `whole` targets where that is given.
        """
        problem = self._problem(targets, whole=whole)
        if targets.z0 is not None:
            problem.check_start(targets.z0)
        if self.stopping.polish:
            check_polish(problem, self.model.last)

    def _problem(self, targets: Targets, *, whole: int | None = None) -> Problem:
        return self.model.problem(
            targets.y,
            noise=targets.noise,
            prior=self.prior,
            given=targets.given,
            loss=self.loss,
            whole=whole,
        )

    def __call__(
        self,
        y: Targets | Tensor,
        *,
        ids: Sequence[int],
        progress: Callable[[int, int], None] | None = None,
    ) -> Solution:
        """Recover the targets of one shard, block by block: memory does not grow with it.

        Args:
            y: their measurements, and what belongs to them.
            ids: of the targets.
            progress: called with (done, in all) of this shard.
        """
        targets = y if isinstance(y, Targets) else Targets(y)
        size = self.block
        return solve_all(self._block, targets, Local(), shard=size, ids=ids, progress=progress)

    def _block(
        self,
        y: Targets,
        *,
        ids: Sequence[int],
        progress: Callable[[int, int], None] | None = None,
    ) -> Solution:
        began = time.perf_counter()
        job = replace(self, until=share_of(self.until, len(y), behind=y.behind))
        context = job.context(y, ids)
        # Of other descents a caller's may know it.
        best = Incumbent.none(context.problem, curvature=not self._gradients)
        if len(y):
            job._run(context, best, y, progress)
        return replace(job._ending(context, best), seconds=time.perf_counter() - began)

    def context(self, targets: Targets, ids: Sequence[int]) -> RunContext:
        """What attempts at these targets work on."""
        problem = self._problem(targets)
        return RunContext(
            problem,
            self._networks(),
            self.stopping,
            ids,
            self.seed,
            CostMeter(len(problem), problem.device),
            self.budget - self.shared,
            self.descent,
            self.until,
        )

    def _networks(self) -> dict[int, Any]:
        trajectory = self.model.trajectory
        asked = {1, *(w for attempt in self.portfolio for w in attempt.windows)}
        windows = sorted((w for w in asked if w <= len(trajectory)), reverse=True)
        smoothed = trajectory.smoothed(windows)
        return {window: smoothed[i].state for i, window in enumerate(windows)}

    def _run(
        self,
        context: RunContext,
        best: Incumbent,
        targets: Targets,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        problem, total = context.problem, len(context.problem)
        ending = self._last_attempt()
        open_ = torch.arange(total, device=problem.device)
        for name in ("z0", "layerwise", "learned start", "draw"):
            # However little time there is, every target is tried once.
            if len(open_) == 0 or (late(self.until) and bool((best.tries > 0).all())):
                break
            first, found = open_, self._candidates(name, context, targets, open_)
            racing = name == "draw" and self._gradients
            for number in range(0 if found is None else 1 if racing else found.shape[1]):
                able = open_[context.remaining[open_] >= self._step_cost(context)]
                if found is None or len(able) == 0 or (number and late(self.until)):
                    break
                z = found[torch.isin(first, able)]
                best.take(able, self._tried(name, context, z, able, number), name)
                open_ = self._still_open(context, best, open_)
                if progress is not None:
                    progress(total - len(open_), total)
        number = 0
        while len(open_) and not late(ending):
            turns = self._turns(context, number, open_)
            if not turns:
                break
            for attempt, able in turns:
                best.take(able, attempt.run(context, able, number=number), attempt.name)
            open_ = self._still_open(context, best, open_)
            _log.debug("attempt %d: %d of %d targets open", number, len(open_), total)
            number += 1
            if progress is not None:
                progress(total - len(open_), total)
        if self._gradients and not late(self.until):
            self._finish(context, best, open_)
        if progress is not None:
            progress(total, total)

    def _finish(self, context: RunContext, best: Incumbent, open_: Int[Tensor, " o"]) -> None:
        """Go on from the best of each target that is open: attempts give their rows up early."""
        able = open_[context.remaining[open_] >= self._step_cost(context)]
        by, hits = list(best.made_by), best.hits.clone()
        if len(able):
            best.take(able, try_candidate(context, best.z[able], able, patient=True), "")
        best.made_by[:] = by
        # To come back to where one began is no second finding.
        best.hits[:] = torch.minimum(best.hits, hits)

    def _last_attempt(self) -> float | None:
        """The clock after which no attempt is begun any more: what it scouts would be lost."""
        if self.until is None:
            return None
        return self.until - _LAST * max(0.0, self.until - time.perf_counter())

    @property
    def block(self) -> int:
        """Targets worked on at a time."""
        return block_size(self.model, gradients=self._gradients)

    @property
    def _gradients(self) -> bool:
        """Whether descents take gradients alone."""
        return isinstance(self.descent, LBFGS)

    def _tried(
        self,
        name: str,
        context: RunContext,
        z: Float[Tensor, "t n k"],
        targets: Int[Tensor, " t"],
        number: int,
    ) -> Found:
        if name == "draw" and self._gradients:
            return race(context, z, targets, wall=self.until is not None)
        return try_candidate(context, z[:, number], targets, patient=name == "z0")

    def _candidates(
        self, name: str, context: RunContext, targets: Targets, open_: Int[Tensor, " o"]
    ) -> Float[Tensor, "o n k"] | None:
        """Starts of the targets that are open, the likeliest first; None where there are none."""
        problem = context.problem
        if name == "z0":
            if targets.z0 is None:
                return None
            z0 = problem.latent.project(problem.check_start(targets.z0))[open_]
            return z0 if z0.shape[1] == 1 else rank(context, z0, open_)
        if name == "layerwise":
            layers = readable(self.model)
            if layers is None:
                return None
            part = problem.data.take(open_)
            counts = None if part.weights is None else part.weights > 0
            y = torch.nan_to_num(part.y, nan=0.0, posinf=0.0, neginf=0.0)
            return problem.latent.project(layerwise(layers, y, counts=counts))[:, None]
        if name == "draw":
            if bool((context.meter.spent > 0).any()) or self.learned is not None:
                return None
            mine = [context.ids[t] for t in open_.tolist()]
            starts = RACERS if self._gradients else 1
            return problem.latent.sample(mine, starts, seed=self.seed).to(problem.y)
        if self.learned is None:
            return None
        part, alone = problem.data.take(open_), problem.batch_invariant
        plenty = problem.y[:1].numel() >= PLENTY * problem.latent.dim
        count = _CANDIDATES // 2 if plenty else _CANDIDATES
        local = not self._gradients  # they take longer than some descents
        z = self.learned.candidates(part, count, alone=alone, local=local).to(problem.y)
        first = problem.latent.project(z[:, : self.learned.leading].flatten(0, 1))
        ranked = rank(context, z[:, self.learned.leading :], open_)
        return torch.cat([first.view(len(z), -1, z.shape[-1]), ranked], 1)[:, :_TRIED]

    def _still_open(
        self, context: RunContext, best: Incumbent, open_: Int[Tensor, " o"]
    ) -> Int[Tensor, " o"]:
        """Targets that are neither met nor settled."""
        problem = context.problem
        done = self.stopping.met(best.misfit[open_], problem.level.take(open_))
        if problem.has_prior or problem.loss is not None:
            # A minimum of the penalised risk that was found twice is the answer, met or not.
            done = best.hits[open_] >= 2
        settled = (best.hits[open_] >= _HITS) & (best.tries[open_] >= _LEAST_TRIES)
        bounded = self.until is not None or math.isfinite(self.budget)
        if self._gradients and bounded:  # with many latents other minima lie within a hundredth
            settled = torch.zeros_like(done)
        return open_[~(done | settled)]

    def _step_cost(self, context: RunContext) -> float:
        owner = torch.arange(len(context.problem), device=context.problem.device)
        return self.descent.max_step_cost(context.problem.risk(context.last, owner))

    def _turns(
        self, context: RunContext, number: int, open_: Int[Tensor, " o"]
    ) -> list[tuple[Attempt, Int[Tensor, " t"]]]:
        """Who makes which attempt; empty where nothing fits what is left.

        A target that can't afford what others can sits out. With batch invariance no other counts:
        it makes the largest that it can afford.
        """
        there = [a for a in self.portfolio if a.windows <= set(context.networks)]
        if not there:
            return []
        asked, left = there[number % len(there)], context.remaining[open_]
        cost = self._step_cost(context)
        if not context.problem.batch_invariant:
            one = _fitting(there, asked, float(left.max()), cost)
            return [] if one is None else [(one, open_[left >= one.least(cost)])]
        own = [_fitting(there, asked, most, cost) for most in left.tolist()]
        return [
            (a, open_[torch.tensor([each == a for each in own], device=left.device)])
            for a in there
            if a in own
        ]

    def _ending(self, context: RunContext, best: Incumbent) -> Solution:
        problem, trajectory = context.problem, self.model.trajectory
        spent = int(Status.BUDGET_SPENT)
        status = torch.where(best.status == int(Status.MAX_STEPS), spent, best.status)
        # A minimum that came out again and again is one, whatever ended the last descent.
        often = best.hits >= _HITS
        status = torch.where(often & (status == spent), int(Status.CONVERGED), status)
        end = End(best.z, best.misfit, status, best.curvature, context.meter.spent)
        place = (len(trajectory) - 1.0, float(trajectory.steps[-1]))
        judged = self.stopping.verdict(status, best.misfit, problem.level)
        record = StageRecord(
            *place, best.z, best.misfit, best.steps, context.meter.spent.clone(), judged
        )
        solution = solution_of(
            end,
            problem,
            context.last,
            stopping=self.stopping,
            descent=self.descent,
            stages=(record,),
            candidates=(best.z[:, None], best.misfit[:, None]),
            depth=context.meter.depth,
            block=self.block,
            allowance=context.remaining,
        )
        solvers = [n for n, met in zip(best.made_by, solution.success.tolist()) if met]
        solved = {name: solvers.count(name) for name in dict.fromkeys(solvers)}
        return replace(solution, info={"solved_by": solved}, method="recover")


def _fitting(
    attempts: Sequence[Attempt], attempt: Attempt, remaining: float, step_cost: float
) -> Attempt | None:
    """The attempt, or the largest that fits what is left; None where nothing does."""
    if attempt.least(step_cost) <= remaining:
        return attempt
    fit = [a for a in attempts if a.least(step_cost) <= remaining]
    return max(fit, key=lambda a: a.least(step_cost), default=None)

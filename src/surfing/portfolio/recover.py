"""recover: what a user calls without thinking. Learned starts, then attempts, within a budget."""

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
from surfing.descent.broyden import Broyden
from surfing.descent.default import EXPENSIVE_TANGENTS, default_descent
from surfing.descent.lbfgs import LBFGS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.execution import Executor, Local, as_executor, solve_all
from surfing.execution.dataset import is_elsewhere, opened
from surfing.execution.targets import Targets
from surfing.portfolio.attempt import DEFAULT, Attempt, RunContext
from surfing.portfolio.incumbent import Incumbent
from surfing.portfolio.known import rank, try_candidate
from surfing.precision import plain_precision
from surfing.problem.model import ForwardModel, as_model
from surfing.problem.risk import CostMeter
from surfing.progress import with_progress
from surfing.solution import Solution, StageRecord, Status
from surfing.starts.layerwise import layerwise, readable
from surfing.starts.learned import LearnedStarts, learn, least_samples
from surfing.starts.rows import checked_ids

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    from jaxtyping import Float, Int
    from ray.data import Dataset

    from surfing.problem.inputs import Given
    from surfing.problem.loss import AbstractLoss
    from surfing.problem.measurements import Noise
    from surfing.problem.model import ModelArguments
    from surfing.problem.problem import Problem
    from surfing.trajectory import Trajectory

__all__ = [
    "BlockSolver",
    "bank_size",
    "block_size",
    "deadline",
    "learned_for",
    "recover",
    "solver_of",
]

_log = logging.getLogger(__name__)

_CANDIDATES = 12
"""Half as many where measurements are plenty."""
_TRIED = 6
_PLENTY = 4
"""Measurements for each latent, from which on nearly every start will do."""
_HITS = 3
"""How often the best minimum is to be found before a target is left as it is."""
_LEAST_TRIES = 5
BANK_SHARE = 0.5
"""Of targets x budget: what learning starts may take at most."""
_LARGEST_BANK = 40_000
_TIME_SHARE = 0.3
_SMALL_JACOBIAN = 1 << 17
"""Numbers of a Jacobian up to which updating one costs less than a gradient, k = 100 and beyond."""


@plain_precision
@with_progress("recover: targets")
def recover(
    model: ForwardModel | Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray | Dataset,
    *,
    budget: float = 2000,
    seconds: float | None = None,
    noise: Noise = None,
    prior: float | str | None = None,
    z0: Float[Tensor, "targets n k"] | np.ndarray | None = None,
    given: Given | None = None,
    loss: AbstractLoss | None = None,
    learned: LearnedStarts | None = None,
    portfolio: Sequence[Attempt] | None = None,
    descent: AbstractDescent[Any] | None = None,
    stopping: Stopping | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | str | None = None,
    **made: Unpack[ModelArguments],
) -> Solution:
    """Recover latents from measurements, within a budget.

    Latents are drawn and measured once for all targets; regressions of z on y over a target's
    neighbours give starts, the likeliest of which is tried first. Targets that these leave open go
    through attempts of several kinds: scouts, penalties that fall to zero, averages of the last
    networks. A target leaves when its measurements are met, or when its best minimum was found
    again and again.

    Args:
        model: a :class:`ForwardModel`, or a trajectory beside the arguments that make one.
        y: measurements, (targets, ...) as the operator returns them; or a Ray Dataset with one
            column, or one called y, with a row for each target, fetched as targets are begun.
        budget: forward-equivalents that each target may spend: forward 1, tangent pass 1, reverse
            pass 2, its share of what is learned once included. That takes at most half of it;
            `solution.cost_once` says how much.
        seconds: wall time of the whole call: after it no further step is begun, and the best that
            was found is returned. What is found then depends on the machine.
        noise: standard deviations of the noise: a number, one for each target, or the shape of y,
            where inf means not measured. Measurements that don't depend on the signal never count.

    Other args:
        prior: weight of 1/2 ||(z - mean) / std||^2 kept in the answer, in units of the risk;
            "law" is the MAP estimate, which needs a noise level.
        z0: latents to try first, (targets, k) or (targets, n, k), such as an encoder's.
        given: {name: (targets, ...)}: what the generator's forward and the operator are told of
            each target, as arguments of these names.
        loss: how residuals are weighed: squares, or :class:`Huber` or :class:`StudentT`.
        learned: starts learned before, by :func:`surfing.learn`, for this model.
        portfolio: attempts to go through in turn instead of ours.
        descent: the corrector; where left out, :class:`Broyden`, or L-BFGS where a Jacobian is
            expensive, or Levenberg-Marquardt with `loss` or batch invariance.
        stopping: tolerances.
        seed: of everything random.
        ids: of the targets, for their random numbers; 0, 1, ... where left out.
        progress: called with (targets done, targets in all); with (0, targets) at once.
        executor: None, "local" or "ray", or one of :mod:`surfing.execution`, or your own: who
            works on the blocks of targets. What is learned is learned here, once.
        made: beside a trajectory, what makes the model: generator (the module that was trained;
            the manifest's where left out; it is never touched), operator (None for the identity, a
            callable, an object with `.A(x)`, or a name), latent (the law of z; the manifest's
            where left out), operator_seed, batch_invariant; see :class:`ForwardModel`.

    Returns:
        A :class:`Solution`; `info` says which tries solved how many targets.

    Raises:
        SurfingError: bad input, before any work.
    """
    began = time.perf_counter()
    model = as_model(model, made)
    until = deadline(seconds, began, batch_invariant=model.batch_invariant)
    stopping = Stopping() if stopping is None else stopping
    job = solver_of(
        model,
        budget=budget,
        prior=prior,
        loss=loss,
        portfolio=portfolio,
        descent=descent,
        stopping=stopping,
        seed=seed,
        until=until,
    )
    noise = stopping.noise if noise is None else noise
    if isinstance(noise, str):
        raise InputError(f"noise: expected standard deviations, got {noise!r}.", argument="noise")
    elsewhere = is_elsewhere(y)
    by = as_executor(executor)
    if not elsewhere:  # whatever is wrong is said before a dataset's steps run
        targets = Targets(y, noise=noise, given=given, z0=z0)
        job.check(targets)
    with by.ready():
        if elsewhere:
            targets = Targets(opened(y), noise=noise, given=given, z0=z0)
            checked_ids(ids, len(targets))
            job.check(targets.rows(range(1)), whole=len(targets))
        count = len(targets)
        ids = checked_ids(ids, count)
        if progress is not None:
            progress(0, count)
        known = learned_for(job, count, given=given, learned=learned)
        # The caller's own starts were paid for before.
        job = job.with_learned(known, math.inf if learned is not None else count)
        solution = solve_all(
            job,
            targets,
            by,
            shard=block_size(model),
            ids=ids,
            place=model.device,
            progress=progress,
        )
    known = job.learned
    once = 0.0 if known is None or learned is not None else known.cost
    facts: dict[str, Any] = {"seed": seed, "budget": job.budget}
    if known is not None:
        facts["learned"] = {"samples": len(known)}
    if seconds is not None:
        spent = time.perf_counter() - began
        facts["seconds"] = {"asked": float(seconds), "spent": spent}
    return replace(
        solution,
        info={**facts, **solution.info},
        method="recover",
        cost_once=solution.cost_once + once,
        seconds=time.perf_counter() - began,
    )


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
    return BlockSolver(
        model,
        budget=check.number("budget", budget, low=0, open_low=True, finite=False),
        prior=prior,
        loss=loss,
        portfolio=_checked_portfolio(portfolio, model),
        descent=_checked_descent(descent, model, loss),
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
        size = block_size(self.model)
        return solve_all(self._block, targets, Local(), shard=size, ids=ids, progress=progress)

    def _block(
        self,
        y: Targets,
        *,
        ids: Sequence[int],
        progress: Callable[[int, int], None] | None = None,
    ) -> Solution:
        began = time.perf_counter()
        context = self.context(y, ids)
        known = not isinstance(self.descent, LBFGS)  # of others a caller's may know it
        best = Incumbent.none(context.problem, curvature=known)
        if len(y):
            self._run(context, best, y, progress)
        return replace(self._ending(context, best), seconds=time.perf_counter() - began)

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
        open_ = torch.arange(total, device=problem.device)
        for name in ("z0", "layerwise", "learned start", "draw"):
            # However little time there is, every target is tried once.
            if len(open_) == 0 or (_late(self.until) and bool((best.tries > 0).all())):
                break
            first, found = open_, self._candidates(name, context, targets, open_)
            for number in range(0 if found is None else found.shape[1]):
                able = open_[context.remaining[open_] >= self._step_cost(context)]
                if found is None or len(able) == 0 or (number and _late(self.until)):
                    break
                z = found[torch.isin(first, able), number]
                best.take(able, try_candidate(context, z, able, patient=name == "z0"), name)
                open_ = self._still_open(context, best, open_)
                if progress is not None:
                    progress(total - len(open_), total)
        number = 0
        while len(open_) and not _late(self.until):
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
        if progress is not None:
            progress(total, total)

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
            return problem.latent.sample(mine, 1, seed=self.seed).to(problem.y)
        if self.learned is None:
            return None
        part, alone = problem.data.take(open_), problem.batch_invariant
        plenty = problem.y[:1].numel() >= _PLENTY * problem.latent.dim
        count = _CANDIDATES // 2 if plenty else _CANDIDATES
        z = self.learned.candidates(part, count, alone=alone).to(problem.y)
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
            block=block_size(self.model),
            allowance=context.remaining,
        )
        solvers = [n for n, met in zip(best.made_by, solution.success.tolist()) if met]
        solved = {name: solvers.count(name) for name in dict.fromkeys(solvers)}
        return replace(solution, info={"solved_by": solved}, method="recover")


def bank_size(targets: int, budget: float, k: int, m: int) -> int:
    """How many samples to learn starts from; 0 where too few can be afforded to be of use.

    Grows with the latents and with the square root of the targets, over which it is divided; half
    as many do where measurements are plenty. At most half of targets x budget.

    >>> bank_size(1, 2000, 10, 784), bank_size(100, 2000, 10, 20), bank_size(10_000, 2000, 10, 20)
    (1000, 6000, 40000)
    """
    wanted = 60 * k * math.sqrt(targets) * (0.5 if m >= _PLENTY * k else 1.0)
    most = BANK_SHARE * targets * budget
    size = int(min(max(wanted, 1000), most, _LARGEST_BANK))
    return size if size >= least_samples(k) + 184 else 0


def block_size(model: ForwardModel) -> int:
    """Targets worked on at a time: memory does not grow with their number.

    A kernel's rounding depends on how many rows it is given, so that without batch invariance
    results are the same bit for bit only where the blocks are: shards of targets are whole blocks.
    Caches like small blocks, and accelerators large ones; Jacobians of all rows have to fit.
    """
    most, room = (256, 2**27) if model.device.type == "cpu" else (4096, 2**32)
    if model.required:  # the number of measurements is known once there are inputs
        return most
    fit = room // (4 * math.prod(model.measurement_shape) * (model.latent.dim + 1))
    return most if fit >= most else 1 << max(0, max(8, fit).bit_length() - 1)


def learned_for(
    job: BlockSolver, targets: int, *, given: object = None, learned: LearnedStarts | None = None
) -> LearnedStarts | None:
    """The caller's learned starts, or ours where they pay.

    Args:
        job: what is to be solved.
        targets: how many there are.
        given: inputs by target; where there are some, nothing can be learned for all.
        learned: the caller's.

    Raises:
        InputError: the caller's were learned for another model.
    """
    model = job.model
    if learned is not None:
        if not isinstance(learned, LearnedStarts):
            raise InputError(
                f"learned: expected what surfing.learn returned, got {type(learned).__name__}.",
                argument="learned",
            )
        learned.check(model)
        return learned
    if given or model.required or targets == 0:
        return None
    if readable(model) is not None:
        return None  # what is left after the layerwise start is not worth a bank
    m = math.prod(model.measurement_shape)
    # With batch invariance a target's bits must not depend on how many others there are.
    company = 1 if model.batch_invariant else targets
    size = bank_size(company, job.budget, model.latent.dim, m)
    if size == 0 or _late(job.until):
        return None
    until = job.until
    if until is not None:
        until = time.perf_counter() + _TIME_SHARE * (until - time.perf_counter())
    known = learn(model, size, seed=job.seed, until=until)
    _log.info("learned starts from %d samples in %.1f s", len(known), known.seconds)
    return known


def deadline(
    seconds: float | None, began: float | None = None, *, batch_invariant: bool
) -> float | None:
    """The clock at which the call is to end; None where there is no limit."""
    if seconds is None:
        return None
    limit = check.number("seconds", seconds, low=0, open_low=True, finite=False)
    if batch_invariant:
        raise InputError(
            "seconds: expected None with batch_invariant, since what is found in a given time "
            f"depends on all targets; got {seconds!r}. Use budget.",
            argument="seconds",
        )
    began = time.perf_counter() if began is None else began
    return None if math.isinf(limit) else began + limit


def _late(until: float | None) -> bool:
    return until is not None and time.perf_counter() > until


def _fitting(
    attempts: Sequence[Attempt], attempt: Attempt, remaining: float, step_cost: float
) -> Attempt | None:
    """The attempt, or the largest that fits what is left; None where nothing does."""
    if attempt.least(step_cost) <= remaining:
        return attempt
    fit = [a for a in attempts if a.least(step_cost) <= remaining]
    return max(fit, key=lambda a: a.least(step_cost), default=None)


def _checked_portfolio(
    portfolio: Sequence[Attempt] | None, model: ForwardModel
) -> tuple[Attempt, ...]:
    if portfolio is None:
        return DEFAULT
    wrong = [a for a in portfolio if not hasattr(a, "run") or not hasattr(a, "least")]
    if wrong or not len(portfolio):
        raise InputError(
            "portfolio: expected attempts such as surfing.Attempt(...), at least one, got "
            f"{portfolio!r:.60}.",
            argument="portfolio",
        )
    longest = len(model.trajectory)
    if not any(max(a.windows) <= longest for a in portfolio):
        raise InputError(
            f"portfolio: each attempt averages more than the {longest} checkpoints there are.",
            argument="portfolio",
        )
    return tuple(portfolio)


def _checked_descent(
    descent: AbstractDescent[Any] | None, model: ForwardModel, loss: AbstractLoss | None
) -> AbstractDescent[Any]:
    if descent is not None:
        if not isinstance(descent, AbstractDescent):
            raise InputError(
                "descent: expected None or an object as in surfing.LevenbergMarquardt(), got "
                f"{descent!r:.60}.",
                argument="descent",
            )
        if loss is not None and isinstance(descent, Broyden):
            raise InputError(
                "descent: Broyden() expects a sum of squares; with loss= use "
                "surfing.LevenbergMarquardt().",
                argument="descent",
            )
        return descent
    k = model.latent.dim
    if model.required or k > EXPENSIVE_TANGENTS:
        return default_descent(k)
    forward = model.architecture.at(model.last)
    z = model.latent.sample([0], 1, seed=0)[0].to(model.device, model.dtype)
    with torch.no_grad():
        forward.linearise(z)  # finds out whether there is a forward mode
    m = math.prod(model.measurement_shape)
    passes = forward.tangent_passes(k, m)
    descent = default_descent(k, passes)
    if loss is not None or model.batch_invariant:
        return descent
    small = passes <= EXPENSIVE_TANGENTS and m * k <= _SMALL_JACOBIAN
    return Broyden() if isinstance(descent, LevenbergMarquardt) or small else descent

"""recover: what a user calls without thinking. Attempt after attempt, within a budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.continuation.attempt import MENU, Attempt, Bench
from surfing.continuation.best import Best
from surfing.continuation.binding import bind, checked_ids
from surfing.continuation.limits import positive, seconds_limit, with_seconds
from surfing.continuation.pilot import DEFAULT, Mix, Pilot, affordable
from surfing.continuation.polish import DEAR_TANGENTS, check_polish, polished
from surfing.continuation.ride import identified
from surfing.continuation.stored import bench_of_first
from surfing.descent.lbfgs import LBFGS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.execution import Executor, as_executor, ready, solve_all
from surfing.execution.dataset import is_elsewhere, opened
from surfing.problem.problem import Problem
from surfing.problem.risk import CostMeter
from surfing.solution import Solution, StageRecord, Status

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from ray.data import Dataset
    from torch import nn

    from surfing.descent.base import AbstractDescent
    from surfing.generator import State
    from surfing.latents import Latent
    from surfing.problem.operators import OperatorLike
    from surfing.trajectory import Trajectory

__all__ = ["bench_of", "block_size", "recover"]

_log = logging.getLogger(__name__)


def recover(
    trajectory: Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray | Dataset,
    *,
    generator: nn.Module | None = None,
    operator: OperatorLike = None,
    budget: float = 2000,
    seconds: float | None = None,
    noise: float | None = None,
    mix: Mix | Mapping[str, Any] | Pilot | None = None,
    stopping: Stopping | None = None,
    latent: Latent | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    operator_seed: int = 0,
    batch_invariant: bool = False,
    polish: bool = False,
    throw: bool = False,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | str | None = None,
) -> Solution:
    """Recover latents from measurements, within a budget.

    Attempts of several kinds follow one another: starts that scouts have found, with few or many
    heats, with the MAP penalty annealed or not, on the last network or along averages of the last
    ones, and plain restarts. Which come first is found out per problem by a pilot on signals that
    the generator made itself. A target leaves when its measurements are met.

    Args:
        trajectory: checkpoints of training.
        y: measurements, (targets, ...) as the operator returns them; or a Ray Dataset with one
            column, or one called y, a row a target, fetched as targets are begun.
        generator: the module that was trained; may be left out where the manifest names a zoo
            architecture. It is never touched.
        operator: None for the identity, a callable, an object with `.A(x)`, or a name.
        budget: forward-equivalents that each target may spend: forward 1, tangent pass 1, reverse
            pass 2. The pilot is extra; `solution.info["mix"]["cost"]` says what it took.
        seconds: wall time that a target may take in the mean: after it no further attempt begins.
            The budget holds too. What is found then depends on the machine; the pilot is extra.
            `solution.info["seconds"]` says what was asked for and spent.
        noise: standard deviation of the noise in each measurement.

    Other args:
        mix: the order of attempts, from the `info["mix"]` of an earlier solution, so that no pilot
            is needed; or the :class:`Pilot` to make.
        stopping: tolerances; `noise` goes into them.
        latent: the law of z; the manifest's where left out.
        seed: of everything random.
        ids: of the targets, for their random numbers; 0, 1, ... where left out.
        operator_seed: of a named operator's random numbers.
        batch_invariant: give a target the same bits whatever targets are beside it, on one machine
            with as many threads; takes longer, and there can be no limit in seconds.
        polish: take a few more steps in float64, beyond the budget; z, x and risk are in float64.
        throw: raise where a target fails.
        progress: called with (targets done, targets in all).
        executor: None, "local" or "ray", or one of :mod:`surfing.execution`: who works on the
            blocks of targets. The pilot is made here, once.

    Returns:
        A :class:`Solution`; `info` holds the mix and which attempts solved how many targets.

    Raises:
        SurfingError: bad input, before any work; with `throw`, a target that failed.
    """
    began = time.perf_counter()
    limit, wanted = seconds_limit(seconds, batch_invariant=batch_invariant), _wanted(mix)
    elsewhere = is_elsewhere(y)
    by = None if executor is None and not elsewhere else as_executor(executor)
    make = partial(
        bench_of,
        trajectory,
        generator=generator,
        operator=operator,
        budget=budget,
        noise=noise,
        stopping=stopping,
        latent=latent,
        seed=seed,
        operator_seed=operator_seed,
        batch_invariant=batch_invariant,
    )
    # Whatever is wrong is said before a dataset's steps run.
    bench = make(None) if elsewhere else make(y, ids=ids)
    if polish:
        check_polish(bench.problem, bench.networks[1])
    with ready(by):
        if elsewhere:
            y = opened(y)
            bench = bench_of_first(y, make, trajectory, ids=ids)
        bench = replace(bench, seconds=limit)
        chosen = _mix(wanted, bench)
        going = time.perf_counter()
        _log.info("%d targets, attempts %s", len(bench.ids), [*chosen.opening, *chosen.cycle])
        if by is None or len(bench.problem) == 0:
            solution = _here(trajectory, bench, chosen, polish=polish, progress=progress)
            solution = replace(solution, seconds=time.perf_counter() - going)
        else:
            job = partial(
                recover,
                trajectory,
                generator=generator,
                operator=operator,
                budget=budget,
                seconds=seconds,
                noise=noise,
                mix=chosen,
                stopping=stopping,
                latent=latent,
                seed=seed,
                operator_seed=operator_seed,
                batch_invariant=batch_invariant,
                polish=polish,
            )
            solution = solve_all(
                job,
                y,
                by,
                shard=block_size(bench.problem.device),
                ids=bench.ids,
                place=bench.problem.device,
                progress=progress,
            )
    solution = with_seconds(solution, limit)
    solution = replace(solution, seconds=time.perf_counter() - began)
    return solution.raise_failures() if throw else solution


def _here(
    trajectory: Trajectory,
    bench: Bench,
    mix: Mix,
    *,
    polish: bool,
    progress: Callable[[int, int], None] | None,
) -> Solution:
    """Block by block, in this process."""
    size = block_size(bench.problem.device)
    best = Best.none(bench.problem, covariance=bench.stopping.noise is not None)
    everybody = torch.arange(len(bench.problem), device=bench.problem.device)
    for block in torch.split(everybody, size):
        _solve(bench, mix, best, block, progress)
    end = (len(trajectory) - 1.0, float(trajectory.steps[-1]))
    solution = _solution(bench, best, end)
    if polish:
        solution = polished(
            solution, bench.problem, bench.networks[1], stopping=bench.stopping, block=size
        )
    facts = {"seed": bench.seed, "budget": bench.budget, "mix": mix.to_dict()}
    return replace(solution, info=facts | solution.info, method="recover")


def bench_of(
    trajectory: Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray | None,
    *,
    generator: nn.Module | None,
    operator: OperatorLike,
    budget: float,
    noise: float | None,
    stopping: Stopping | None = None,
    latent: Latent | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    operator_seed: int = 0,
    batch_invariant: bool = False,
) -> Bench:
    """What :func:`recover` works on, its arguments checked; y as in `Problem.build`.

    Raises:
        SurfingError: bad input.
    """
    budget = positive("budget", budget)
    stopping = Stopping() if stopping is None else stopping
    stopping = stopping if noise is None else replace(stopping, noise=noise)
    problem = bind(
        trajectory,
        y,
        generator=generator,
        operator=operator,
        latent=latent,
        operator_seed=operator_seed,
        batch_invariant=batch_invariant,
    )
    ids = checked_ids(ids, len(problem))
    return Bench(
        problem,
        networks_of(trajectory),
        stopping,
        ids,
        seed,
        CostMeter(len(problem), problem.device),
        budget,
        descent=corrector(problem, trajectory),
    )


def block_size(device: torch.device) -> int:
    """Targets worked on at a time: memory does not grow with their number.

    A kernel's rounding depends on how many rows it is given, so that without batch invariance
    results are the same bit for bit only where the blocks are: shards of targets are whole blocks.
    Caches like small blocks,
    and accelerators large ones.
    """
    return 256 if device.type == "cpu" else 4096


def networks_of(trajectory: Trajectory) -> dict[int, State]:
    """The last network, and the averages that the menu's attempts ride on."""
    asked = {heat.window for attempt in MENU for heat in attempt.heats}
    windows = sorted((w for w in asked if w <= len(trajectory)), reverse=True)
    smoothed = trajectory.smoothed(windows)
    return {window: smoothed[i].state for i, window in enumerate(windows)}


def corrector(problem: Problem, trajectory: Trajectory) -> AbstractDescent[Any]:
    """Levenberg-Marquardt, but where a Jacobian is expensive: L-BFGS."""
    forward = problem.architecture.at(trajectory[-1].state)
    z = problem.latent.sample([0], 1, seed=0)[0].to(problem.y)
    forward.linearise(z)  # notes whether there is a forward mode
    passes = forward.tangent_passes(problem.latent.dim, problem.y.shape[1])
    return LevenbergMarquardt() if passes <= DEAR_TANGENTS else LBFGS()


def _wanted(given: Mix | Mapping[str, Any] | Pilot | None) -> Mix | Pilot:
    if isinstance(given, Mapping):
        return Mix.from_dict(given)
    if given is not None and not isinstance(given, Mix | Pilot):
        raise InputError(f"mix: expected a Mix, its dict or a Pilot, got {type(given).__name__}.")
    return given or Pilot()


def _mix(wanted: Mix | Pilot, bench: Bench) -> Mix:
    if isinstance(wanted, Mix):
        return wanted
    return wanted.choose(bench) if len(bench.problem) else DEFAULT


def _solve(
    bench: Bench,
    mix: Mix,
    best: Best,
    block: Int[Tensor, " b"],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Attempt after attempt, for the targets of a block that are still open."""
    open_, price, number = block, _price(bench), 0
    before, total = int(block[0]) if len(block) else 0, len(bench.problem)
    end = time.perf_counter() + bench.seconds * len(block)
    while len(open_) and (number == 0 or time.perf_counter() < end):
        turns = _turns(bench, mix.attempt(number), open_, price)
        if not turns:
            break
        for attempt, going in turns:
            found = attempt.launch(bench, going, number=number)
            best.take(going, found, attempt.name, bench.stopping.noise or 0.0)
        open_ = open_[~bench.stopping.met(best.misfit[open_], bench.problem.y[open_])]
        for attempt, going in turns:
            told = (number, attempt.name, len(going), len(open_))
            _log.debug("attempt %d, %s: %d went, %d open", *told)
        number += 1
        if progress is not None:
            progress(before + len(block) - len(open_), total)
    if progress is not None:
        progress(before + len(block), total)


def _turns(
    bench: Bench, attempt: Attempt, open_: Int[Tensor, " o"], price: float
) -> list[tuple[Attempt, Int[Tensor, " g"]]]:
    """Who goes on which attempt; empty where nothing fits what is left.

    A target that can't afford what others can sits out. With batch invariance no other counts: it
    goes on the largest that it can afford.
    """
    menu, left = affordable(bench), bench.remaining[open_]
    if not bench.problem.batch_invariant:
        one = _fitting(menu, attempt, float(left.max()), price)
        return [] if one is None else [(one, open_[left >= one.least(price)])]
    own = [_fitting(menu, attempt, most, price) for most in left.tolist()]
    return [
        (a, open_[torch.tensor([each == a for each in own], device=left.device)])
        for a in menu
        if a in own
    ]


def _price(bench: Bench) -> float:
    risk = bench.problem.risk(
        bench.networks[1], torch.arange(len(bench.problem), device=bench.problem.device)
    )
    return bench.descent.max_step_cost(risk)


def _fitting(
    menu: Sequence[Attempt], attempt: Attempt, remaining: float, price: float
) -> Attempt | None:
    """The attempt, or the largest of the menu that fits what is left; None where nothing does."""
    if attempt in menu and attempt.least(price) <= remaining:
        return attempt
    fit = [a for a in menu if a.least(price) <= remaining]
    return max(fit, key=lambda a: a.least(price), default=None)


def _solution(bench: Bench, best: Best, end: tuple[float, float]) -> Solution:
    problem = bench.problem
    ended = torch.where(best.status == int(Status.MAX_STEPS), int(Status.BUDGET_SPENT), best.status)
    status = bench.stopping.verdict(ended, best.misfit, problem.y)
    known = bool(torch.isfinite(best.singular_values).any())
    success = [Status(s).success for s in status.tolist()]
    solvers = [name for name, met in zip(best.made_by, success) if met]
    solution = Solution(
        z=best.z,
        x=problem.signals(bench.networks[1], best.z, block=block_size(problem.device)),
        risk=best.misfit,
        status=status,
        cost=bench.meter.spent,
        candidates_z=best.z[:, None],
        candidates_risk=best.misfit[:, None],
        singular_values=best.singular_values if known else None,
        covariance=best.covariance if known else None,
        notes=problem.notes,
        depth=bench.meter.depth,
        info={"solved_by": {name: solvers.count(name) for name in dict.fromkeys(solvers)}},
    )
    status = identified(solution, problem)
    record = StageRecord(*end, best.z, best.misfit, best.steps, bench.meter.spent, status)
    return replace(solution, status=status, stages=(record,))

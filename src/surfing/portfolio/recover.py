"""recover: what a user calls without thinking. Learned starts, then attempts, within a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from surfing.descent.base import AbstractDescent
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.execution import Executor, as_executor, solve_all
from surfing.execution.dataset import is_elsewhere, opened
from surfing.execution.targets import Targets
from surfing.portfolio.attempt import Attempt
from surfing.portfolio.bank import learned_for
from surfing.portfolio.limits import deadline
from surfing.portfolio.solver import solver_of
from surfing.precision import plain_precision
from surfing.problem.model import ForwardModel, as_model
from surfing.progress import with_progress
from surfing.solution import Solution
from surfing.starts.learned import LearnedStarts
from surfing.starts.rows import checked_ids

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    from jaxtyping import Float
    from ray.data import Dataset

    from surfing.problem.inputs import Given
    from surfing.problem.loss import AbstractLoss
    from surfing.problem.measurements import Noise
    from surfing.problem.model import ModelArguments
    from surfing.trajectory import Trajectory

__all__ = ["recover"]


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
            was found is returned. Blocks of targets share it evenly. What is found then depends on
            the machine.
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
            shard=job.block,
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

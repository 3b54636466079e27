"""sample: draws from the posterior of z, given measurements, their noise and the law."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from torch import Tensor

from surfing import check
from surfing.errors import InputError
from surfing.execution import Executor, as_executor
from surfing.execution.dataset import is_elsewhere, opened
from surfing.execution.solve import shards_of
from surfing.execution.targets import Targets
from surfing.portfolio.bank import bank_size, learned_for
from surfing.portfolio.limits import block_size
from surfing.portfolio.solver import solver_of
from surfing.posterior.block import BlockSampler
from surfing.posterior.draws import Draws
from surfing.posterior.noise import AbstractNoise, UnknownLevel
from surfing.precision import plain_precision
from surfing.problem.model import ForwardModel, ModelArguments, as_model
from surfing.starts.learned import LearnedStarts, learn
from surfing.starts.rows import checked_ids

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from ray.data import Dataset

    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise
    from surfing.trajectory import Trajectory

__all__ = ["ESTIMATE", "sample", "sampler_of", "starts_for"]

ESTIMATE = "estimate"
"""The noise that says that its level is not known."""


@plain_precision
def sample(
    model: ForwardModel | Trajectory,
    y: Float[Tensor, "targets ..."] | np.ndarray | Dataset,
    *,
    noise: Noise | AbstractNoise | str,
    draws: int = 100,
    prior: float | str = "law",
    budget: float = 2000,
    starts: int | None = None,
    z0: Float[Tensor, "targets n k"] | np.ndarray | None = None,
    given: Given | None = None,
    learned: LearnedStarts | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | str | None = None,
    **made: Unpack[ModelArguments],
) -> Draws:
    """Draw latents from the posterior, exp(-||W (A G(z) - y)||^2 / 2) times the law of z.

    Modes are found by descents from learned starts. Around each, measurements and prior are
    perturbed and the perturbed problem is solved for every draw: k equations, whose solution has a
    density that is known, so that draws can be weighed. What a mode's draws weigh together is its
    share of the posterior. Where few draws carry the weight these are taken again and again, and
    each moves on by itself, by Hamiltonian moves. Where the Jacobian is too large to form, draws
    are not weighed.

    Numbers of a target depend on its measurements, its id and the seed; on the targets beside it
    only within rounding (a rare draw, at the edge of a tolerance, may differ by a hundredth of a
    standard deviation), and through the number of targets that learned starts are made for.

    Args:
        model: a :class:`ForwardModel`, or a trajectory beside the arguments that make one.
        y: measurements, (targets, ...) as the operator returns them; or a Ray Dataset.
        noise: standard deviations: a number > 0, one for each target, or the shape of y, where inf
            means not measured; :class:`Poisson` for counts; "estimate" for one unknown level for
            each target, where there are some ten measurements more than latents.
        draws: of each target.
        prior: "law", or a weight as in :func:`surfing.recover`.
        budget: forward-equivalents that each target may spend on descents from its starts, and
            once more on `recover` where none of them meets the measurements. Draws take about
            k + 6 each beyond, and some 50 more where few of them carry the weight.
        starts: of each target; with more, a mode is less likely missed. Where left out, 8 and 48
            / k more: with few latents modes are many, and descents cheap.
        z0: latents to start from too, (targets, k) or (targets, n, k).
        given: inputs by target.
        learned: starts learned before, by :func:`surfing.learn`, for this model.
        seed: of everything random.
        ids: of the targets, for their random numbers; 0, 1, ... where left out.
        progress: called with (targets done, targets in all).
        executor: who works on the blocks of targets, as in :func:`surfing.recover`.
        made: beside a trajectory, what makes the model: generator, operator, latent,
            operator_seed, batch_invariant; see :class:`ForwardModel`.

    Returns:
        :class:`Draws`: z, weights, modes, and a status for each target.

    Raises:
        SurfingError: bad input, before any work.

    Source: Bardsley, Solonen, Haario and Laine, "Randomize-then-optimize: a method for sampling
    from posterior distributions in nonlinear inverse problems" (2014).

    >>> import surfing
    >>> model = surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:40")
    >>> y = model.measure(model.signals(model.latent.sample([0], 1, seed=3)[0]))
    >>> draws = surfing.sample(model, y, noise=0.1, draws=20)
    >>> draws.z.shape
    torch.Size([1, 20, 10])
    """
    began = time.perf_counter()
    model = as_model(model, made)
    job, level = sampler_of(
        model, noise=noise, draws=draws, prior=prior, budget=budget, starts=starts, seed=seed
    )
    elsewhere, by = is_elsewhere(y), as_executor(executor)
    if not elsewhere:
        targets = Targets(y, noise=level, given=given, z0=z0)
        job.check(targets)
    with by.ready():
        if elsewhere:
            targets = Targets(opened(y), noise=level, given=given, z0=z0)
            job.check(targets.rows(range(1)), whole=len(targets))
        count = len(targets)
        ids = checked_ids(ids, count)
        if progress is not None:
            progress(0, count)
        known = starts_for(job, count, given=given, learned=learned)
        job = job.with_learned(known, math.inf if learned is not None else count)
        found = _sampled(job, targets, by, ids=ids, progress=progress)
    facts: dict[str, Any] = {"seed": seed, "draws": draws, "budget": job.solver.budget}
    if known is not None:
        facts["learned"] = {"samples": len(known)}
    return replace(
        found,
        info={**facts, **found.info},
        cost_once=0.0 if known is None or learned is not None else known.cost,
        seconds=time.perf_counter() - began,
        model=model,
        given=given,
    )


def sampler_of(
    model: ForwardModel,
    *,
    noise: Noise | AbstractNoise | str,
    draws: int = 100,
    prior: float | str = "law",
    budget: float = 2000,
    starts: int | None = None,
    seed: int = 0,
) -> tuple[BlockSampler, Noise]:
    """What :func:`sample` does with a block, its arguments checked, and the noise by numbers.

    Raises:
        InputError: a bad argument.
    """
    if noise is None or (isinstance(noise, str) and noise != ESTIMATE):
        raise InputError(
            "noise: expected standard deviations > 0, surfing.Poisson(gain) for counts, or "
            f'"estimate" where the level is not known; got {noise!r:.60}.',
            argument="noise",
        )
    law: AbstractNoise | None = None
    level: Noise = None
    if isinstance(noise, str):
        law = UnknownLevel()
    elif isinstance(noise, AbstractNoise):
        law = noise
    else:
        level = noise
    if prior is None or (law is not None and prior != "law"):
        raise InputError(
            f"prior: expected 'law'{'' if law else ' or a weight > 0'}, got {prior!r}: a posterior "
            "needs the law of the latents.",
            argument="prior",
        )
    if not isinstance(prior, str):
        check.number("prior", prior, low=0, open_low=True)
    solver = solver_of(model, budget=budget, prior=prior, seed=seed)
    sampler = BlockSampler(
        solver,
        law,
        draws=check.integer("draws", draws, low=2),
        starts=_few(model) if starts is None else check.integer("starts", starts, low=1),
        seed=seed,
    )
    return sampler, level


def _few(model: ForwardModel) -> int:
    return 8 + 48 // model.latent.dim


def starts_for(
    job: BlockSampler, targets: int, *, given: object, learned: LearnedStarts | None
) -> LearnedStarts | None:
    """The caller's learned starts, or ours wherever they can be had.

    `recover` goes without where it has a better start; modes need several.
    """
    known = learned_for(job.solver, targets, given=given, learned=learned)
    model = job.model
    if known is not None or given or model.required or targets == 0:
        return known
    m = math.prod(model.measurement_shape)
    company = 1 if model.batch_invariant else targets
    size = bank_size(company, job.solver.budget, model.latent.dim, m)
    return learn(model, size, seed=job.seed) if size else None


def _sampled(
    job: BlockSampler,
    targets: Targets,
    by: Executor,
    *,
    ids: Sequence[int],
    progress: Callable[[int, int], None] | None,
) -> Draws:
    """Block by block, by whoever works on them."""
    place = job.model.device
    parts = shards_of(len(targets), block_size(job.model))
    if not parts:
        return job(targets, ids=ids)
    # Executors hand on whatever a block's work returns.
    solve: Any = job
    measured: Any = lambda part: targets.rows(part).to(place)  # noqa: E731
    found: dict[range, Any] = dict(by.run(solve, parts, measured, ids=ids, progress=progress))
    return Draws.joined([found[part] for part in parts])

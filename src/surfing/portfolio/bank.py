"""How many samples `recover` learns starts from, and whether it does."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import torch

from surfing.descent.lbfgs import LBFGS
from surfing.errors import InputError
from surfing.portfolio.limits import PLENTY, late
from surfing.starts.layerwise import readable
from surfing.starts.learned import LearnedStarts, learn, least_samples

if TYPE_CHECKING:
    from surfing.portfolio.solver import BlockSolver
    from surfing.problem.model import ForwardModel

__all__ = ["bank_size", "learned_for"]

_log = logging.getLogger(__name__)

BANK_SHARE = 0.5
"""Of targets x budget: what learning starts may take at most."""
_LARGEST_BANK = 40_000
_TIME_SHARE, _GRADIENT_TIME_SHARE = 0.3, 0.1
_TIMED = 8
"""Rows whose forward says how many samples fit that share."""
_EACH, _PER_TARGET, _AT_MOST = 8, 5, 30
"""Where descents take gradients: samples for each latent, and for each target where they are many;
forwards of its share up to which a target learns. At 3x64x64, k = 100 and 128, a regression saved
from a tenth (a trained VAE) to two thirds (random weights) of 18 to 120 gradients, and 1,000
samples were as good as 10,000; with k = 512 fewer than 3,000 saved none."""
_LEAST_EACH = 6


def bank_size(targets: int, budget: float, k: int, m: int) -> int:
    """How many samples to learn starts from; 0 where too few can be afforded to be of use.

    Grows with the latents and with the square root of the targets, over which it is divided; half
    as many do where measurements are plenty. At most half of targets x budget.

    >>> bank_size(1, 2000, 10, 784), bank_size(100, 2000, 10, 20), bank_size(10_000, 2000, 10, 20)
    (1000, 6000, 40000)
    """
    wanted = 60 * k * math.sqrt(targets) * (0.5 if m >= PLENTY * k else 1.0)
    most = BANK_SHARE * targets * budget
    size = int(min(max(wanted, 1000), most, _LARGEST_BANK))
    return size if size >= least_samples(k) + 184 else 0


def gradient_bank_size(targets: int, budget: float, k: int, *, shared: bool = True) -> int:
    """The same where descents take gradients alone.

    >>> gradient_bank_size(20, 2000, 100), gradient_bank_size(30, 2000, 100)
    (0, 800)
    >>> gradient_bank_size(100, 2000, 512), gradient_bank_size(1000, 2000, 512)
    (0, 5000)

    Args:
        targets: how many.
        budget: forward-equivalents of each.
        k: latents.
        shared: 0 for targets that are too few to share the cost.
    """
    if shared and _EACH * k > _AT_MOST * targets:
        return 0
    wanted = min(max(_EACH * k, _PER_TARGET * targets), _LARGEST_BANK)
    size = int(min(wanted, BANK_SHARE * targets * budget))
    return size if size >= max(_LEAST_EACH * k, least_samples(k)) else 0


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
    # With batch invariance a target's bits must not depend on how many others there are.
    size = _size(job, 1 if model.batch_invariant else targets)
    if size == 0 or late(job.until):
        return None
    until = job.until
    if until is not None:
        gradients = isinstance(job.descent, LBFGS)
        share = _GRADIENT_TIME_SHARE if gradients else _TIME_SHARE
        share *= until - time.perf_counter()
        size = min(size, int(share / _seconds_each(model, share)))
        if size < _least(job):
            return None
        until = time.perf_counter() + share
    known = learn(model, size, seed=job.seed, until=until)
    _log.info("learned starts from %d samples in %.1f s", len(known), known.seconds)
    return known


def _size(job: BlockSolver, targets: int) -> int:
    model, k = job.model, job.model.latent.dim
    if isinstance(job.descent, LBFGS):
        return gradient_bank_size(targets, job.budget, k, shared=job.until is None)
    return bank_size(targets, job.budget, k, math.prod(model.measurement_shape))


def _least(job: BlockSolver) -> int:
    """Samples below which learning in a given time brings nothing."""
    k = job.model.latent.dim
    return max(least_samples(k), _LEAST_EACH * k if isinstance(job.descent, LBFGS) else 0)


def _seconds_each(model: ForwardModel, share: float) -> float:
    """Of one sample's forward, by the clock; a forward that takes all of `share` ends the trial."""
    forward = model.architecture.at(model.last)
    z = model.latent.sample([0], _TIMED, seed=0)[0].to(model.device, model.dtype)
    with torch.no_grad():
        clock = time.perf_counter()
        float(forward(z[:1]).sum())  # the first also makes buffers
        first = time.perf_counter() - clock
        if _TIMED * first > share:
            return first
        clock = time.perf_counter()
        float(forward(z).sum())  # until a device has done it
    return max((time.perf_counter() - clock) / _TIMED, 1e-9)

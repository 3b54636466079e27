"""How many samples `recover` learns starts from, and whether it does."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from surfing.errors import InputError
from surfing.portfolio.limits import PLENTY, late
from surfing.starts.layerwise import readable
from surfing.starts.learned import LearnedStarts, learn, least_samples

if TYPE_CHECKING:
    from surfing.portfolio.solver import BlockSolver

__all__ = ["bank_size", "learned_for"]

_log = logging.getLogger(__name__)

BANK_SHARE = 0.5
"""Of targets x budget: what learning starts may take at most."""
_LARGEST_BANK = 40_000
_TIME_SHARE = 0.3


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
    if size == 0 or late(job.until):
        return None
    until = job.until
    if until is not None:
        until = time.perf_counter() + _TIME_SHARE * (until - time.perf_counter())
    known = learn(model, size, seed=job.seed, until=until)
    _log.info("learned starts from %d samples in %.1f s", len(known), known.seconds)
    return known

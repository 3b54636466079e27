"""What a target may spend: in passes, and in seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from surfing import check
from surfing.errors import InputError

if TYPE_CHECKING:
    from surfing.solution import Solution

__all__ = ["positive", "seconds_limit", "with_seconds"]


def positive(name: str, given: object) -> float:
    """A real number beyond 0, of Python or of numpy.

    Raises:
        InputError: anything else, NaN included.
    """
    return check.number(name, given, low=0, open_low=True, finite=False)


def seconds_limit(given: float | None, *, batch_invariant: bool) -> float:
    """Wall time that a target may take in the mean; infinite where there is no limit.

    Raises:
        InputError: no positive number, or one beside batch invariance.
    """
    if given is None:
        return math.inf
    if batch_invariant:
        raise InputError(
            "seconds: expected None with batch_invariant, since what is found in a given time "
            f"depends on all targets; got {given!r}. Use budget.",
            argument="seconds",
        )
    return positive("seconds", given)


def with_seconds(solution: Solution, limit: float) -> Solution:
    """The solution; where there was a limit, `info` says it and what a target took in the mean."""
    if math.isinf(limit):
        return solution
    spent = solution.seconds / max(1, len(solution))
    return replace(solution, info={**solution.info, "seconds": {"asked": limit, "spent": spent}})

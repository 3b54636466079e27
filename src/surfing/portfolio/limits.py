"""How long and how much: the clock, and how many targets are worked on at a time."""

from __future__ import annotations

import math
import time

from surfing import check
from surfing.errors import InputError
from surfing.problem.model import ForwardModel

__all__ = ["PLENTY", "RACERS", "block_size", "deadline", "late", "share_of"]

PLENTY = 4
"""Measurements for each latent, from which on nearly every start will do."""
RACERS = 4
"""Draws that race for a target; on an accelerator, whose blocks are large, their memories have to
fit side by side."""
_MEMORIES = 800
"""Numbers of 4 bytes for each latent: a hundred pairs in double precision, twice while pushed."""


def block_size(model: ForwardModel, *, gradients: bool = False) -> int:
    """Targets worked on at a time: memory does not grow with their number.

    A kernel's rounding depends on how many rows it is given, so that without batch invariance
    results are the same bit for bit only where the blocks are: shards of targets are whole blocks.
    Caches like small blocks, and accelerators large ones; Jacobians of all rows have to fit, or
    where descents take gradients alone their memories.
    """
    on_cpu = model.device.type == "cpu"
    most, room = (256, 2**27) if on_cpu else (4096, 2**32)
    if model.required:  # the number of measurements is known once there are inputs
        return most
    k = model.latent.dim
    if gradients:
        row = 4 * _MEMORIES * k * (1 if on_cpu else RACERS)
    else:
        row = 4 * math.prod(model.measurement_shape) * (k + 1)
    fit = room // row
    return most if fit >= most else 1 << max(0, max(8, fit).bit_length() - 1)


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


def late(until: float | None) -> bool:
    """Whether the clock is beyond a limit, where there is one."""
    return until is not None and time.perf_counter() > until


def share_of(until: float | None, targets: int, *, behind: int) -> float | None:
    """The clock at which a block is to end, so that as much is left for each target behind it."""
    if until is None:
        return None
    now = time.perf_counter()
    return now + max(0.0, until - now) * targets / max(1, targets + behind)

"""The rows of a run: some starts for each target, drawn or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from surfing.problem.problem import Problem

__all__ = ["Rows", "checked_ids", "draw_starts"]


@dataclass(frozen=True)
class Rows:
    """The rows of a run: `starts` for each target, those of one target side by side."""

    z: Float[Tensor, "rows k"]
    owner: Int[Tensor, " rows"]
    starts: int


def draw_starts(
    problem: Problem,
    starts: int | None,
    *,
    z0: Tensor | np.ndarray | None,
    seed: int,
    ids: Sequence[int] | None = None,
) -> Rows:
    """The caller's starts, then drawn ones: each target has a stream of its own.

    Args:
        problem: whose targets are to be started.
        starts: for each target in all; where left out, those of `z0`, or one.
        z0: the caller's starts, (targets, k) or (targets, n, k); they come first.
        seed: of the draws.
        ids: of the targets; 0, 1, ... where left out.

    Raises:
        InputError: `starts` is no positive integer, or `z0` does not fit.
    """
    targets = len(problem)
    ids = checked_ids(ids, targets)
    given = None if z0 is None else problem.check_start(z0)
    there = 0 if given is None else given.shape[1]
    if starts is not None:
        check.integer("starts", starts, low=1)
        if given is not None and starts < there:
            raise InputError(
                f"z0: expected at most {starts} starts for each target (starts={starts}), got "
                f"{there}.",
                argument="z0",
            )
    count = (there or 1) if starts is None else starts
    parts = [] if given is None else [given]
    if count > there:
        drawn = problem.latent.sample(ids, count - there, seed=seed)
        parts.append(drawn.to(problem.device, problem.y.dtype))
    z = torch.cat(parts, 1)
    owner = torch.arange(targets, device=problem.device).repeat_interleave(count)
    return Rows(z.reshape(targets * count, problem.latent.dim), owner, count)


def checked_ids(ids: Sequence[int] | None, targets: int) -> Sequence[int]:
    """One id for each target; 0, 1, ... where left out.

    Raises:
        InputError: another number of them, or no sequence.
    """
    if ids is None:
        return range(targets)
    there = len(ids) if hasattr(ids, "__len__") and hasattr(ids, "__getitem__") else None
    if there != targets:
        got = f"{ids!r:.60}" if there is None else there
        raise InputError(
            f"ids: expected {targets}, one for each target, got {got}.", argument="ids"
        )
    return ids

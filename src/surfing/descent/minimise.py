"""THE inner loop: one risk, many rows, any descent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.descent.stopping import Stopping
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.problem.risk import Risk

__all__ = ["Minimum", "minimise"]


@dataclass(frozen=True)
class Minimum:
    """Where each row ended: its best iterate."""

    z: Float[Tensor, "rows k"]
    value: Float[Tensor, " rows"]
    """f there, penalty included, float64."""
    status: Int[Tensor, " rows"]
    steps: Int[Tensor, " rows"]
    entry: Float[Tensor, " rows"]
    """f at the start."""
    curvature: Float[Tensor, "rows k k"] | None
    damping: Float[Tensor, " rows"] | None
    """Each row's last, where the descent keeps one."""
    state: Any = None
    """Each row's last, where it was to be kept."""


def minimise(
    risk: Risk,
    z: Float[Tensor, "rows k"],
    descent: AbstractDescent[Any],
    *,
    max_steps: int,
    stopping: Stopping | None = None,
    rows: Int[Tensor, " rows"] | None = None,
    allowance: Float[Tensor, " rows"] | None = None,
    until: float | None = None,
    before: Any = None,
    keep: bool = False,
) -> Minimum:
    """Descend every row until it ends by itself or after `max_steps` steps.

    Rows are independent: each has its own state, stopping and status, keeps its own best iterate,
    and leaves the batch when it ends.

    Args:
        risk: the objective.
        z: starts.
        descent: the way down.
        max_steps: steps a row may take.
        stopping: tolerances.
        rows: which rows of the risk these are; all, in order, where left out.
        allowance: forward-equivalents that each row may spend here; a row ends before a step that
            might take it beyond. Without one, `max_steps` alone is the limit.
        until: clock (`time.perf_counter`) by which to end: no step is begun that, taking as long as
            the longest before it, would not end in time.
        before: `state` of the same rows on a risk that is near this one, to be resumed.
        keep: the last states, for another risk.
    """
    stopping = stopping or Stopping()
    rows = torch.arange(len(z), device=z.device) if rows is None else rows
    level = risk.level.take(risk.owner[rows])
    floor = None if risk.penalised else stopping.floor(level)
    noisy = level.variance is not None
    clock, longest = time.perf_counter(), 0.0
    ceiling = None
    if allowance is not None:
        ceiling = risk.meter.spent[rows] + allowance - descent.max_step_cost(risk)
    state = descent.init(risk, z, rows) if before is None else descent.resume(risk, z, before)
    whole = state if keep else None
    place = torch.arange(len(z), device=z.device)  # of each active row in the result
    first = state.value.clone()
    best_z, best = z.clone(), torch.where(torch.isfinite(first), first, torch.inf)
    status = stopping.judge(
        state, first=first, floor=floor, noisy=noisy, ended=descent.ended(state)
    )
    steps = torch.zeros_like(rows)
    curvature: Tensor | None = None
    damping: Tensor | None = None
    for _ in range(max_steps):
        if ceiling is not None:
            broke = (status == int(Status.RUNNING)) & (risk.meter.spent[rows] > ceiling)
            status[broke] = int(Status.BUDGET_SPENT)
        now = time.perf_counter()
        clock, longest = now, max(longest, now - clock)
        if until is not None and now + longest > until:
            status[status == int(Status.RUNNING)] = int(Status.BUDGET_SPENT)
        running = status[place] == int(Status.RUNNING)
        if not bool(running.all()):
            ended, left = (~running).nonzero().flatten(), state.take((~running).nonzero().flatten())
            curvature = _noted(curvature, place[ended], descent.curvature(left), rows=len(z))
            damping = _noted(damping, place[ended], descent.current_damping(left), rows=len(z))
            whole = None if whole is None else whole.put(place[ended], left)
            active = running.nonzero().flatten()
            state, place = state.take(active), place[active]
        if len(place) == 0:
            break
        state = descent.step(risk, state)
        steps[place] += 1
        better = state.value < best[place]
        best[place[better]], best_z[place[better]] = state.value[better], state.z[better]
        limit = None if floor is None else floor[place]
        status[place] = stopping.judge(
            state, first=first[place], floor=limit, noisy=noisy, ended=descent.ended(state)
        )
    curvature = _noted(curvature, place, descent.curvature(state), rows=len(z))
    damping = _noted(damping, place, descent.current_damping(state), rows=len(z))
    status[status == int(Status.RUNNING)] = int(Status.MAX_STEPS)
    whole = None if whole is None else whole.put(place, state)
    return Minimum(best_z, best, status, steps, first, curvature, damping, whole)


def _noted(
    before: Tensor | None, place: Int[Tensor, " r"], known: Tensor | None, *, rows: int
) -> Tensor | None:
    """What a descent knows of its active rows, put where they belong; NaN where never told."""
    if known is None:
        return before
    if before is None:
        before = known.new_full((rows, *known.shape[1:]), torch.nan)
    before[place] = known
    return before

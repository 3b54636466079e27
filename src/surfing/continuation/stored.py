"""Measurements that are not in memory: one target stands for all until its shard is begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from surfing.continuation.binding import check_trajectory, checked_ids
from surfing.errors import MeasurementError
from surfing.execution.solve import rows_of

if TYPE_CHECKING:
    from torch import Tensor

    from surfing.continuation.attempt import Bench
    from surfing.execution import Measurements
    from surfing.trajectory import Trajectory

__all__ = ["bench_of_first"]


def bench_of_first(
    y: Measurements,
    make: Callable[[Tensor], Bench],
    trajectory: Trajectory,
    *,
    ids: Sequence[int] | None = None,
) -> Bench:
    """A bench of the first target, which tells whether shapes and types fit, with all ids.

    Args:
        y: measurements, at least of one target.
        make: the bench of some of them.
        trajectory: checkpoints of training; measurements are moved to where they are.
        ids: of all targets; 0, 1, ... where left out.

    Raises:
        SurfingError: what `make` raises, told of the shape of the whole.
    """
    check_trajectory(trajectory)
    ids = checked_ids(ids, len(y))
    first = rows_of(y, range(1))
    device = next(t.device for t in trajectory[-1].state.values())
    try:
        return replace(make(first.to(device)), ids=ids)
    except MeasurementError as error:
        whole = (len(y), *first.shape[1:])
        said = str(error).replace(str(tuple(first.shape)), str(whole))
        raise MeasurementError(said) from error

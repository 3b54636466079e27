"""Checkpoints between checkpoints: linear interpolation and averages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from surfing import check
from surfing.errors import InputError
from surfing.generator import State
from surfing.trajectory.tensors import combine

__all__ = ["check_windows", "interpolate", "shrinking_averages", "trailing_means"]


def interpolate(a: State, b: State, weight: float) -> dict[str, Tensor]:
    """(1 - weight) a + weight b for floating tensors; integers from the nearer one.

    Args:
        a: at weight 0.
        b: at weight 1.
        weight: in [0, 1].
    """

    def between(x: Tensor, y: Tensor) -> Tensor:
        if x.is_floating_point() or x.is_complex():
            return torch.lerp(x, y.to(x.dtype), weight)
        return x if weight < 0.5 else y

    return combine([a, b], between)


def check_windows(windows: Sequence[int], count: int) -> list[int]:
    """The windows, cut to the number of checkpoints, the shortest first.

    Raises:
        InputError: they are not strictly decreasing integers of at least 1.
    """
    whole = [check.integer("windows", w, low=1) for w in windows]
    if not whole or not all(b < a for a, b in itertools.pairwise(whole)):
        raise InputError(
            f"windows: expected strictly decreasing integers of at least 1, got {windows!r}."
        )
    return sorted({min(w, count) for w in whole})


def shrinking_averages(
    backwards: Iterable[State], steps: Sequence[int], windows: Sequence[int]
) -> list[tuple[int, dict[str, Tensor]]]:
    """Averages of the last w checkpoints, the widest window first.

    Args:
        backwards: states, the last checkpoint first.
        steps: of all checkpoints, in order.
        windows: strictly increasing, at most the number of checkpoints.

    Returns:
        The mean step of each window, rounded down and kept strictly increasing, and the mean.
    """
    stages: list[tuple[int, dict[str, Tensor]]] = []
    for window, state in trailing_means(backwards, windows):
        step = sum(steps[-window:]) // window
        stages.append((min(step, stages[-1][0] - 1) if stages else step, state))
    return stages[::-1]


def trailing_means(
    backwards: Iterable[State], windows: Sequence[int]
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Averages over the first w states of a sequence, for each w; sums in double precision.

    Integers come from the first state. A window of 1 gives it back as it is.

    Args:
        backwards: states, the last checkpoint first; read no further than needed.
        windows: strictly increasing.

    Yields:
        w and the mean.
    """
    total: dict[str, Tensor] = {}
    latest: State = {}
    for count, state in enumerate(backwards, 1):
        if count == 1:
            latest, total = state, combine([state], _widen)
        else:
            total = combine([total, state], _add)
        if count in windows:
            yield count, dict(latest) if count == 1 else combine([latest, total], _mean_over(count))
        if count == windows[-1]:
            return


def _widen(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _add(total: Tensor, x: Tensor) -> Tensor:
    return total + x if total.is_floating_point() or total.is_complex() else total


def _mean_over(count: int) -> Callable[[Tensor, Tensor], Tensor]:
    def mean(x: Tensor, total: Tensor) -> Tensor:
        inexact = x.is_floating_point() or x.is_complex()
        return (total / count).to(x.dtype) if inexact else x

    return mean

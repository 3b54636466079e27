"""Rides against restarts, from the rows of a record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean, stdev
from typing import Any

from surfing.report.intervals import wilson

__all__ = [
    "FOUND",
    "AtCost",
    "Cell",
    "Pair",
    "all_in",
    "any_found",
    "at_equal_cost",
    "difference",
    "disjoint",
    "first_found",
    "mean_cost",
    "meet",
    "of_first",
    "paired",
    "restarted",
    "share",
    "sign_test",
    "total",
]

Cell = Mapping[str, Any]
Pair = tuple[int, int]

FOUND = 0.01
"""||z - z*|| below which a latent is found."""


def first_found(cell: Cell, within: float = FOUND) -> Pair:
    """(found, targets) from the first start of each target."""
    return sum(row[0] < within for row in cell["error"]), len(cell["error"])


def any_found(cell: Cell) -> Pair:
    """(found, targets) by the start of each target whose residual is the lowest."""
    return round(sum(_chance(cell, t, cell["starts"]) for t in range(len(cell["error"])))), len(
        cell["error"]
    )


def mean_cost(cell: Cell) -> float:
    """Forward-equivalents a start."""
    return fmean(value for row in cell["cost"] for value in row)


def all_in(cell: Cell) -> float:
    """Forward-equivalents of a target's one start, its share of what was spent once with them."""
    return mean_cost(cell) + (cell.get("cost_once") or 0.0) / len(cell["cost"])


def share(pair: Pair) -> float:
    """Of the targets, those found."""
    found, targets = pair
    return found / targets


def of_first(cell: Cell, number: int) -> Cell:
    """The cell as if it had only so many targets, the first ones."""
    cut = {key: cell[key][:number] for key in ("error", "residual", "cost")}
    once = (cell.get("cost_once") or 0.0) * number / cell["targets"]
    return {**cell, **cut, "targets": number, "cost_once": once}


def sign_test(ours: Cell, theirs: Cell) -> tuple[int, int, float]:
    """Targets that only one of the two first starts found, and the exact two-sided p-value."""
    pairs = [(a[0] < FOUND, b[0] < FOUND) for a, b in zip(ours["error"], theirs["error"])]
    won, lost = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    disputed = won + lost
    tail = sum(comb(disputed, i) for i in range(max(won, lost), disputed + 1)) / 2**disputed
    return won, lost, min(1.0, 2 * tail) if disputed else 1.0


def paired(ours: Cell, theirs: Cell) -> str:
    """The sign test as the tables tell it."""
    won, lost, p = sign_test(ours, theirs)
    return f"{won}, {lost}, {p:.2g}"


@dataclass(frozen=True)
class AtCost:
    """A ride, and restarts of a direct method for what the ride costs.

    Attributes:
        number: restarts that this pays for.
        enough: whether so many were run; else all that were run are counted.
        ride: share of the targets that the ride found.
        restarts: expected share that so many restarts find, the best by residual taken.
        difference: of the two, target by target: its mean and the ends of its 95% interval.
        targets: that both have.
    """

    number: float
    enough: bool
    ride: float
    restarts: float
    difference: tuple[float, float, float]
    targets: int

    @property
    def verdict(self) -> str:
        """Which of the two is ahead, where the interval tells and the restarts were run."""
        _, low, high = self.difference
        if high < 0:
            return "behind"
        if not self.enough:
            return "too few restarts were run to tell"
        return "ahead" if low > 0 else "not told apart"


def at_equal_cost(ride: Cell, restarts: Cell) -> AtCost:
    """First starts of a ride against as many restarts as they pay for, on the targets of both."""
    both = min(len(ride["error"]), len(restarts["error"]))
    ride, restarts = of_first(ride, both), of_first(restarts, both)
    number = all_in(ride) / mean_cost(restarts)
    ridden = [float(row[0] < FOUND) for row in ride["error"]]
    expected = [_chance(restarts, t, number) for t in range(len(ridden))]
    gaps = [a - b for a, b in zip(ridden, expected)]
    half = 1.96 * stdev(gaps) / math.sqrt(len(gaps))
    mean = fmean(gaps)
    return AtCost(
        number,
        number <= restarts["starts"],
        fmean(ridden),
        fmean(expected),
        (mean, mean - half, mean + half),
        both,
    )


def restarted(cell: Cell, number: float) -> float:
    """Expected share of the targets that so many restarts find, the best by residual taken."""
    return fmean(_chance(cell, target, number) for target in range(len(cell["error"])))


def difference(held: Sequence[AtCost]) -> tuple[float, float, float]:
    """Of several models, counted alike: the mean and the ends of its 95% interval.

    Those with too few restarts are told in the ride's favour.
    """
    mean = fmean(one.difference[0] for one in held)
    halves = (one.difference[2] - one.difference[0] for one in held)
    half = math.sqrt(sum(half**2 for half in halves)) / len(held)
    return mean, mean - half, mean + half


def _chance(cell: Cell, target: int, number: float) -> float:
    """That the lowest residual of `number` of a target's starts is at the truth.

    Over all ways to choose them; between whole numbers along a line, below one that a start is
    paid for at all.
    """
    starts = cell["starts"]
    order = sorted(zip(cell["residual"][target], cell["error"][target]))
    hits = [error < FOUND for _, error in order]
    number = min(number, starts)
    low = math.floor(number)

    def of(r: int) -> float:
        if r == 0:
            return 0.0
        return sum(comb(starts - 1 - j, r - 1) for j in range(starts) if hits[j]) / comb(starts, r)

    share = number - low
    return of(low) if share == 0 else (1 - share) * of(low) + share * of(low + 1)


def total(pairs: Iterable[Pair]) -> Pair:
    """(found, targets) of several together."""
    found, targets = zip(*pairs)
    return sum(found), sum(targets)


def meet(ours: Pair, theirs: Pair) -> bool:
    """Do the 95% intervals of two rates have a value in common?"""
    return not disjoint(ours, theirs)


def disjoint(ours: Pair, theirs: Pair) -> str:
    """Which of two rates is ahead with 95% intervals that do not meet."""
    (low, high), (their_low, their_high) = wilson(*ours), wilson(*theirs)
    return "ahead" if low > their_high else "behind" if high < their_low else ""

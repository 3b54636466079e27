"""Which checkpoint is the most redundant one."""

from __future__ import annotations

from collections.abc import Sequence

from surfing.trajectory.manifest import Entry

__all__ = ["most_redundant"]

NEAR_TIE = 1.25
"""Gaps within this factor of the smallest count as equal; among them steps decide."""


def most_redundant(entries: Sequence[Entry]) -> int:
    """Index of the inner checkpoint whose removal leaves the smallest gap.

    The gap is d(i-1, i) + d(i, i+1), an upper bound of the drift d(i-1, i+1) that removal leaves.
    Late in adversarial training the drift saturates: neighbours lie equally far apart at any
    spacing. All gaps are then nearly equal, and always taking the very smallest would leave the
    survivors at random steps; so among near ties the smallest gap in steps goes. Where a drift is
    unknown, steps decide alone. The first and the last checkpoint are never chosen.

    Args:
        entries: at least three, in order of step.
    """
    inner = range(1, len(entries) - 1)
    in_steps = {i: entries[i + 1].step - entries[i - 1].step for i in inner}
    drifts = [entry.drift for entry in entries[1:]]
    known = [drift for drift in drifts if drift is not None]
    if len(known) < len(drifts):
        return min(inner, key=in_steps.__getitem__)
    gap = {i: known[i - 1] + known[i] for i in inner}
    limit = NEAR_TIE * min(gap.values())
    return min((i for i in inner if gap[i] <= limit), key=lambda i: (in_steps[i], gap[i]))

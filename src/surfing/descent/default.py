"""Which descent is taken where the caller names none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surfing.descent.lbfgs import LBFGS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt

if TYPE_CHECKING:
    from surfing.descent.base import AbstractDescent

__all__ = ["EXPENSIVE_TANGENTS", "default_descent"]

EXPENSIVE_TANGENTS = 256
"""Tangent passes of one Jacobian beyond which gradients and products alone are cheaper."""


def default_descent(passes: int) -> AbstractDescent[Any]:
    """Levenberg-Marquardt, but where a Jacobian is expensive: L-BFGS.

    Args:
        passes: forward-equivalents of one Jacobian, its forward not counted.
    """
    return LevenbergMarquardt() if passes <= EXPENSIVE_TANGENTS else LBFGS()

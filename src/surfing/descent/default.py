"""Which descent is taken where the caller names none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surfing.descent.lbfgs import LBFGS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt

if TYPE_CHECKING:
    from surfing.descent.base import AbstractDescent

__all__ = ["EXPENSIVE_TANGENTS", "MANY_LATENTS", "default_descent"]

EXPENSIVE_TANGENTS = 256
"""Tangent passes beyond which one Jacobian, taken once at the end, is not worth its time."""

MANY_LATENTS = 100
"""Latents from which a Jacobian at every step is slower than gradients alone.

On convolutional generators of 28x28 to 64x64 with k = 100 and 128 L-BFGS reached a relative
residual of .01 in a fifth to a fifteenth of the time of Levenberg-Marquardt; on fully connected
ones, and below, Levenberg-Marquardt was the faster. `benchmarks/large.py` measures it.
"""


def default_descent(k: int, passes: int | None = None) -> AbstractDescent[Any]:
    """Levenberg-Marquardt, but where a Jacobian is expensive: L-BFGS.

    Args:
        k: latents.
        passes: forward-equivalents of one Jacobian, its forward not counted; k where left out.
    """
    expensive = (k if passes is None else passes) > EXPENSIVE_TANGENTS
    return LBFGS(history=100) if expensive or k >= MANY_LATENTS else LevenbergMarquardt()

"""Which descent is taken where the caller names none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from surfing.descent.lbfgs import LBFGS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt

if TYPE_CHECKING:
    from surfing.descent.base import AbstractDescent
    from surfing.problem.model import ForwardModel

__all__ = ["EXPENSIVE_TANGENTS", "MANY_LATENTS", "default_descent", "default_for"]

EXPENSIVE_TANGENTS = 256
"""Tangent passes beyond which one Jacobian, taken once at the end, is not worth its time."""

MANY_LATENTS = 100
"""Latents from which a Jacobian at every step is slower than gradients alone, where weights are
used often: in convolutions. `benchmarks/correctors.py` measures it."""

_SOME_LATENTS, _HEAVY = 32, 10_000_000
"""The same, and products of a signal, where these are most of the time and not the calls. Colour of
64x64 takes more, grey of 28x28 in small networks less."""

_DENSE = 2
"""Products per weight and signal up to which reading the weights is most of the time. The tangents
of a Jacobian then share what a gradient pays alone: with 100 latents a dense network was inverted
in a fifth of the time with Jacobians."""


def default_descent(
    k: int, passes: int | None = None, *, most: int = MANY_LATENTS - 1
) -> AbstractDescent[Any]:
    """Levenberg-Marquardt, but where a Jacobian is expensive: L-BFGS.

    Args:
        k: latents.
        passes: forward-equivalents of one Jacobian, its forward not counted; k where left out.
        most: latents up to which Jacobians are taken.
    """
    expensive = (k if passes is None else passes) > EXPENSIVE_TANGENTS
    return LBFGS(history=100) if expensive or k > most else LevenbergMarquardt()


def default_for(model: ForwardModel, passes: int | None = None) -> AbstractDescent[Any]:
    """The same for a model: by what its architecture computes, so that it is the same everywhere.

    Args:
        model: what is inverted.
        passes: forward-equivalents of one Jacobian; k where left out.
    """
    k = model.latent.dim
    if k < _SOME_LATENTS or k > EXPENSIVE_TANGENTS or model.required:
        return default_descent(k, passes)
    z = model.latent.sample([0], 1, seed=0)[0].to(model.device, model.dtype)
    products, reuse = model.architecture.products(model.last, z)
    if reuse <= _DENSE:
        return default_descent(k, passes, most=EXPENSIVE_TANGENTS)
    heavy = _HEAVY <= products < math.inf
    return default_descent(k, passes, most=(_SOME_LATENTS if heavy else MANY_LATENTS) - 1)

"""The attempts and the corrector that `recover` takes: the caller's, or ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from surfing.descent.base import AbstractDescent
from surfing.descent.broyden import Broyden
from surfing.descent.default import EXPENSIVE_TANGENTS, default_descent, default_for
from surfing.descent.lbfgs import LBFGS
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.errors import InputError
from surfing.portfolio.attempt import DEFAULT, GRADIENTS, Attempt
from surfing.problem.model import ForwardModel

if TYPE_CHECKING:
    from surfing.problem.loss import AbstractLoss

__all__ = ["checked_descent", "checked_portfolio"]

_SMALL_JACOBIAN = 1 << 17
"""Numbers of a Jacobian up to which updating one costs less than a gradient, k = 100 and beyond."""


def checked_portfolio(
    portfolio: Sequence[Attempt] | None, model: ForwardModel, descent: AbstractDescent[Any]
) -> tuple[Attempt, ...]:
    """The caller's attempts, or ours.

    Raises:
        InputError: no attempts, or each averages more checkpoints than there are.
    """
    if portfolio is None:
        return GRADIENTS if isinstance(descent, LBFGS) else DEFAULT
    wrong = [a for a in portfolio if not hasattr(a, "run") or not hasattr(a, "least")]
    if wrong or not len(portfolio):
        raise InputError(
            "portfolio: expected attempts such as surfing.Attempt(...), at least one, got "
            f"{portfolio!r:.60}.",
            argument="portfolio",
        )
    longest = len(model.trajectory)
    if not any(max(a.windows) <= longest for a in portfolio):
        raise InputError(
            f"portfolio: each attempt averages more than the {longest} checkpoints there are.",
            argument="portfolio",
        )
    return tuple(portfolio)


def checked_descent(
    descent: AbstractDescent[Any] | None, model: ForwardModel, loss: AbstractLoss | None
) -> AbstractDescent[Any]:
    """The caller's corrector, or the one that fits the model.

    Raises:
        InputError: no descent, or one that can't take the loss.
    """
    if descent is not None:
        if not isinstance(descent, AbstractDescent):
            raise InputError(
                "descent: expected None or an object as in surfing.LevenbergMarquardt(), got "
                f"{descent!r:.60}.",
                argument="descent",
            )
        if loss is not None and isinstance(descent, Broyden):
            raise InputError(
                "descent: Broyden() expects a sum of squares; with loss= use "
                "surfing.LevenbergMarquardt().",
                argument="descent",
            )
        return descent
    k = model.latent.dim
    if model.required or k > EXPENSIVE_TANGENTS:
        return default_descent(k)
    forward = model.architecture.at(model.last)
    z = model.latent.sample([0], 1, seed=0)[0].to(model.device, model.dtype)
    with torch.no_grad():
        forward.linearise(z)  # finds out whether there is a forward mode
    m = math.prod(model.measurement_shape)
    passes = forward.tangent_passes(k, m)
    descent = default_for(model, passes)
    if loss is not None or model.batch_invariant:
        return descent
    small = passes <= EXPENSIVE_TANGENTS and m * k <= _SMALL_JACOBIAN
    return Broyden() if isinstance(descent, LevenbergMarquardt) or small else descent

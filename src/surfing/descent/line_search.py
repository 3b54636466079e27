"""A strong-Wolfe line search in which every row brackets and zooms on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.latents import bounds

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.problem.risk import Risk

__all__ = ["Found", "StrongWolfe"]


@dataclass(frozen=True)
class Found:
    """Where each row's search ended; rows without success stay where they were."""

    z: Float[Tensor, "r k"]
    value: Float[Tensor, " r"]
    gradient: Float[Tensor, "r k"]
    success: Bool[Tensor, " r"]


@dataclass(frozen=True)
class StrongWolfe:
    """f(t) <= f(0) + decrease t f'(0) and |f'(t)| <= curvature |f'(0)|.

    Every trial costs 3 per row (value and gradient); rows whose search is over make no more.

    Args:
        decrease: c1, in (0, curvature).
        curvature: c2, in (decrease, 1).
        trials: evaluations for one row; then the best point with sufficient decrease is taken.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed., Algorithms 3.5 and 3.6; cubic
    interpolation as in Moré and Thuente (1994), safeguarded to the inner 80% of the bracket.
    """

    decrease: float = 1e-4
    curvature: float = 0.9
    trials: int = 20

    def __post_init__(self) -> None:
        if not (0 < self.decrease < self.curvature < 1 and self.trials > 0):
            raise InputError(
                f"StrongWolfe: expected 0 < decrease < curvature < 1 and trials > 0, got {self}."
            )

    def __call__(
        self,
        risk: Risk,
        rows: Int[Tensor, " r"],
        z: Float[Tensor, "r k"],
        value: Float[Tensor, " r"],
        gradient: Float[Tensor, "r k"],
        direction: Float[Tensor, "r k"],
        first: Float[Tensor, " r"],
    ) -> Found:
        """Search along `direction` from z, each row from its own first step length."""
        slope = (gradient * direction).sum(-1)
        bracket = _Bracket.start(z, value, gradient, slope, first)
        open_ = torch.arange(len(z), device=z.device)
        for _ in range(self.trials):
            t = bracket.t[open_]
            trial = (z[open_].double() + t[:, None] * direction[open_]).to(z.dtype)
            along = direction[open_]
            if bounds(risk.latent) is not None:  # the path bends along the edge of the support
                inside = risk.latent.project(trial)
                along = torch.where(inside == trial, along, 0.0)
                trial = inside
            f, g = risk.gradient(trial, rows[open_])
            g = g.double()
            done = bracket.update(self, open_, trial, f, g, (g * along).sum(-1))
            open_ = open_[~done]
            if len(open_) == 0:
                break
        return Found(bracket.z, bracket.f, bracket.g, bracket.f < value)


class _Bracket:
    """[low, high] of each row, and its best point so far. Indexed and changed in place.

    `low` always satisfies sufficient decrease; `high` is infinite while the row is still
    stepping forward.
    """

    def __init__(self, **fields: Tensor) -> None:
        self.z, self.f, self.g = fields["z"], fields["f"], fields["g"]
        self.f0, self.slope0, self.t = fields["f0"], fields["slope0"], fields["t"]
        zero = torch.zeros_like(self.t)
        self.low, self.f_low, self.slope_low = zero, self.f0.clone(), self.slope0.clone()
        self.high = torch.full_like(self.t, torch.inf)
        self.f_high, self.slope_high = self.f0.clone(), zero.clone()

    @classmethod
    def start(
        cls, z: Tensor, value: Tensor, gradient: Tensor, slope: Tensor, first: Tensor
    ) -> _Bracket:
        return cls(
            z=z.clone(),
            f=value.clone(),
            g=gradient.clone(),
            f0=value,
            slope0=slope,
            t=first.clone(),
        )

    def update(
        self, rule: StrongWolfe, i: Tensor, trial: Tensor, f: Tensor, g: Tensor, slope: Tensor
    ) -> Tensor:
        """Take in one trial of the rows `i`; True where a row's search is over."""
        t, f0, slope0 = self.t[i], self.f0[i], self.slope0[i]
        finite = torch.isfinite(f) & torch.isfinite(slope)
        enough = finite & (f <= f0 + rule.decrease * t * slope0) & (f < self.f_low[i])
        flat = slope.abs() <= rule.curvature * slope0.abs()
        done = enough & flat
        best = enough & (f < self.f[i])
        j = i[best]
        self.z[j], self.f[j], self.g[j] = trial[best], f[best], g[best]
        self._narrow(i, t, f, slope, enough, finite)
        self.t[i] = self._next(i, t)
        width = (self.high[i] - self.low[i]).abs()
        return done | (width <= 1e-12 * t.clamp(min=1e-12))

    def _narrow(
        self, i: Tensor, t: Tensor, f: Tensor, slope: Tensor, enough: Tensor, finite: Tensor
    ) -> None:
        span = torch.where(torch.isinf(self.high[i]), torch.inf, self.high[i] - self.low[i])
        # Past a minimum: the far end of the bracket becomes the old low.
        turned = enough & (slope * torch.where(torch.isinf(span), 1.0, span) >= 0)
        j = i[turned]
        self.high[j], self.f_high[j] = self.low[j], self.f_low[j]
        self.slope_high[j] = self.slope_low[j]
        j = i[enough]
        self.low[j], self.f_low[j], self.slope_low[j] = t[enough], f[enough], slope[enough]
        j = i[~enough]
        self.high[j] = t[~enough]
        self.f_high[j] = torch.where(finite, f, torch.inf)[~enough]
        self.slope_high[j] = slope[~enough]

    def _next(self, i: Tensor, t: Tensor) -> Tensor:
        low, high = self.low[i], self.high[i]
        guess = _cubic(
            low, self.f_low[i], self.slope_low[i], high, self.f_high[i], self.slope_high[i]
        )
        margin = 0.1 * (high - low).abs()
        left, right = torch.minimum(low, high) + margin, torch.maximum(low, high) - margin
        inside = torch.where(torch.isfinite(guess), guess, (low + high) / 2)
        inside = torch.minimum(torch.maximum(inside, left), right)
        return torch.where(torch.isinf(high), 2 * t, inside)


def _cubic(a: Tensor, fa: Tensor, da: Tensor, b: Tensor, fb: Tensor, db: Tensor) -> Tensor:
    """The minimiser of the cubic through two values and slopes; NaN where there is none."""
    d1 = da + db - 3 * (fa - fb) / (a - b)
    d2 = torch.sign(b - a) * (d1.square() - da * db).sqrt()
    return b - (b - a) * (db + d2 - d1) / (db - da + 2 * d2)

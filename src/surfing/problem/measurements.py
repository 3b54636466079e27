"""What was measured: y, how sure each entry is, which entries count, and inputs by target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from surfing.errors import InputError, MeasurementError
from surfing.problem.inputs import RowInputs
from surfing.problem.matrices import squared_norms

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

__all__ = ["Level", "Measurements", "Noise", "as_measurements"]

Noise = float | Tensor | np.ndarray | None
"""A number, one for each target, or the shape of y: standard deviations; inf is not measured."""


@dataclass(frozen=True)
class Level:
    """What tells whether the measurements of a row are met.

    Args:
        norm2: ||y||^2 of what counts, weighted.
        count: measurements that count.
        variance: of the noise in one weighted residual; None where no noise level is given.
        slack: squared residual that a prior which is kept may ask for; None for none.
    """

    norm2: Float[Tensor, " rows"]
    count: Float[Tensor, " rows"]
    variance: Float[Tensor, " rows"] | None
    slack: Float[Tensor, " rows"] | None = None

    def take(self, rows: Int[Tensor, " r"]) -> Level:
        """Of some rows."""
        variance = None if self.variance is None else self.variance[rows]
        slack = None if self.slack is None else self.slack[rows]
        return Level(self.norm2[rows], self.count[rows], variance, slack)


@dataclass(frozen=True)
class Measurements:
    """Measurements of all targets, flattened.

    A residual is multiplied by its weight s / s_i, where s_i is the standard deviation of its
    noise and 1 / s^2 the mean of 1 / s_i^2 over the entries of the target that count: the
    risk keeps the units of y, and each weighted residual has the standard deviation s. An entry
    that was not measured has weight 0.

    Args:
        y: one line for each target; 0 where an entry does not count.
        shape: of one target's measurements, before flattening.
        weights: of the residuals, one line for all where they are alike; None where all are 1.
        noise: s of each target, float64; None where no noise level is given.
        count: measurements of each target that count, float64.
        inputs: of the targets, for generator and operator.
    """

    y: Float[Tensor, "targets m"]
    shape: tuple[int, ...]
    weights: Float[Tensor, "targets_or_1 m"] | None
    noise: Float[Tensor, " targets"] | None
    count: Float[Tensor, " targets"]
    inputs: RowInputs | None = None

    @classmethod
    def of(
        cls,
        y: Float[Tensor, "targets ..."],
        *,
        noise: Noise = None,
        counts: Bool[Tensor, "targets_or_1 m"] | None = None,
        inputs: RowInputs | None = None,
    ) -> Self:
        """Weigh the measurements.

        Args:
            y: checked, on its device.
            noise: standard deviations.
            counts: which entries depend on the signal; all where left out.
            inputs: of the targets.

        Raises:
            InputError: a noise level of another shape, negative or NaN.
        """
        shape, flat = tuple(y.shape[1:]), y.flatten(1)
        targets, m = flat.shape
        level, spread = _noise(noise, y)
        there = counts
        if spread is not None:
            seen = torch.isfinite(spread)
            there = seen if there is None else seen & there
        if there is not None and bool(there.all()):
            there = None
        count = torch.full((targets,), float(m), dtype=torch.float64, device=y.device)
        if there is not None:
            count = there.sum(-1).double().expand(targets).clone()
            # What does not count may hold anything, NaN included.
            flat = torch.where(there, flat, torch.zeros_like(flat))
        weights = None if there is None else there.double()
        if spread is not None:
            precision = spread.double().square().reciprocal()
            precision = precision if there is None else torch.where(there, precision, 0.0)
            level = (count.clamp(min=1) / precision.sum(-1).clamp(min=1e-300)).sqrt()
            weights = level[:, None] * precision.sqrt()
            if bool((weights == 1).all()):
                weights = None
        return cls(flat, shape, weights, level, count, inputs)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def level(self) -> Level:
        """What tells whether measurements are met, for each target."""
        weighted = self.y if self.weights is None else self.weights * self.y
        variance = None if self.noise is None else self.noise.square()
        return Level(squared_norms(weighted), self.count, variance)

    def take(self, rows: Int[Tensor, " r"]) -> Measurements:
        """Of some targets."""
        weights = self.weights
        if weights is not None and len(weights) > 1:
            weights = weights[rows]
        elif weights is not None and len(self.y) == 1:
            weights = weights[:1]
        return Measurements(
            self.y[rows],
            self.shape,
            weights,
            None if self.noise is None else self.noise[rows],
            self.count[rows],
            None if self.inputs is None else self.inputs[rows],
        )


def _noise(noise: Noise, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """By target, or by entry: one of the two is not None where there is a noise level."""
    if noise is None:
        return None, None
    try:
        read = noise.detach() if isinstance(noise, Tensor) else torch.as_tensor(np.asarray(noise))
        sigma = read.to(y.device, torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise _bad_noise(f"{noise!r:.60}", y) from None
    if read.dtype is torch.bool:
        raise _bad_noise("a truth value", y)
    whole = bool(torch.isnan(sigma).any()) or bool((sigma < 0).any())
    if whole:
        raise _bad_noise("NaN or a negative number", y)
    targets = len(y)
    if sigma.ndim == 0 or (sigma.ndim == 1 and len(sigma) == targets and y.ndim > 1):
        if not bool(torch.isfinite(sigma).all()):
            raise _bad_noise("infinity for a whole target", y)
        return sigma.expand(targets).clone(), None
    if tuple(sigma.shape) == tuple(y.shape):
        by_entry = sigma.flatten(1)
    elif tuple(sigma.shape) == tuple(y.shape[1:]):
        by_entry = sigma.flatten()[None].expand(targets, -1)
    else:
        raise _bad_noise(f"shape {tuple(sigma.shape)}", y)
    if bool((by_entry == 0).any()):
        raise _bad_noise("0 for some entries; give exact entries a small level", y)
    return None, by_entry


def _bad_noise(got: str, y: Tensor) -> InputError:
    return InputError(
        "noise: expected a finite number >= 0, one for each target, or standard deviations in the "
        f"shape of y, {tuple(y.shape)}, inf where nothing was measured; got {got}.",
        argument="noise",
    )


def as_measurements(y: object, device: torch.device) -> Tensor:
    """Measurements as the caller gave them, as a floating tensor; complex as pairs.

    Raises:
        MeasurementError: no array of numbers, on another device, or a single number.
    """
    if isinstance(y, np.ndarray):
        try:
            y = torch.from_numpy(np.array(y))  # a copy: y may be read-only, or reversed
        except (TypeError, ValueError) as error:
            raise MeasurementError(f"y: expected an array of numbers, got {y.dtype}.") from error
    if not isinstance(y, Tensor):
        raise MeasurementError(f"y: expected a tensor (targets, ...), got {type(y).__name__}.")
    if y.layout is not torch.strided:
        raise MeasurementError(f"y: expected a dense tensor, got {y.layout}; pass y.to_dense().")
    if y.is_complex():
        y = torch.view_as_real(y)
    if not y.is_floating_point():
        raise MeasurementError(
            f"y: expected floating point measurements, got {y.dtype}; convert with y.float()."
        )
    if y.device != device:
        raise MeasurementError(
            f"y: is on {y.device}, the trajectory on {device}; move one of them with .to(...)."
        )
    if y.ndim == 0:
        raise MeasurementError("y: expected (targets, ...), got a single number.")
    return y.detach().clone() if y.is_inference() else y.detach()

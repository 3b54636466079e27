"""Robust losses: gross outliers among the measurements weigh little."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.check import number

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["AbstractLoss", "Huber", "StudentT"]


class AbstractLoss(abc.ABC):
    """What one residual adds to the risk, s^2 rho(r / s), and its weight in least squares.

    s is the standard deviation of the noise where a noise level is given. Without one it is a
    twentieth of the root mean square of the target's measurements.
    """

    @abc.abstractmethod
    def value(
        self, residual: Float[Tensor, "r m"], scale: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r m"]:
        """s^2 rho(r / s); r^2 / 2 for small r."""

    @abc.abstractmethod
    def weights(
        self, residual: Float[Tensor, "r m"], scale: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r m"]:
        """rho'(u) / u, u = r / s: the factor of a squared residual in the next model."""


@dataclass(frozen=True)
class Huber(AbstractLoss):
    """Squares within delta standard deviations, absolute values beyond.

    rho(u) = u^2 / 2 for |u| <= delta, delta (|u| - delta / 2) beyond.

    Args:
        delta: in standard deviations, above 0.

    Source: Huber, "Robust estimation of a location parameter" (1964).
    """

    delta: float = 1.345

    def __post_init__(self) -> None:
        number("delta", self.delta, low=0, open_low=True)

    def value(
        self, residual: Float[Tensor, "r m"], scale: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r m"]:
        """The loss of each residual."""
        bend = self.delta * scale
        size = residual.abs()
        return torch.where(size <= bend, residual.square() / 2, bend * (size - bend / 2))

    def weights(
        self, residual: Float[Tensor, "r m"], scale: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r m"]:
        """min(1, delta s / |r|)."""
        bend = self.delta * scale
        return bend / torch.maximum(residual.abs(), bend.clamp(min=1e-300))


@dataclass(frozen=True)
class StudentT(AbstractLoss):
    """Minus the logarithm of Student's t: far outliers count next to nothing.

    rho(u) = (nu + 1) / 2 log(1 + u^2 / nu), scaled so that small residuals count as squares.

    Args:
        nu: degrees of freedom, above 0; the fewer, the heavier the tails.

    Source: Lange, Little and Taylor, "Robust statistical modeling using the t distribution" (1989).
    """

    nu: float = 3.0

    def __post_init__(self) -> None:
        number("nu", self.nu, low=0, open_low=True)

    def value(
        self, residual: Float[Tensor, "r m"], scale: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r m"]:
        """The loss of each residual."""
        square = self.nu * scale.square().clamp(min=1e-300)
        return square / 2 * torch.log1p(residual.square() / square)

    def weights(
        self, residual: Float[Tensor, "r m"], scale: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r m"]:
        """nu / (nu + u^2)."""
        square = self.nu * scale.square().clamp(min=1e-300)
        return square / (square + residual.square())

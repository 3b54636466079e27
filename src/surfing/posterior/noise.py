"""Noise whose standard deviation is not told: counts, and one level that has to be estimated."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from surfing import check
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = ["AbstractNoise", "Fit", "Poisson", "UnknownLevel"]

_LEAST_FREE = 10
"""Measurements beyond the latents without which a level is not estimated."""
_FLOOR = 0.05
"""Least expected count: where the generator says that nothing comes, something may."""


@dataclass(frozen=True)
class Fit:
    """How the best latents of each target explain its measurements."""

    y: Float[Tensor, "targets m"]
    predicted: Float[Tensor, "targets m"]
    counted: Bool[Tensor, "targets m"]
    """Which entries depend on the signal."""
    determined: Float[Tensor, " targets"]
    """Latent directions that the measurements determine: trace of J'J (J'J + I)^-1."""


class AbstractNoise(abc.ABC):
    """A law of noise whose standard deviations follow from a fit, and the fit from them."""

    rounds: ClassVar[int]
    """How often both are made anew in turn."""
    normal: ClassVar[bool] = True
    """Whether the law is normal once its deviations are known."""

    @abc.abstractmethod
    def first(self, y: Float[Tensor, "targets m"], latents: int) -> Float[Tensor, "targets m"]:
        """Standard deviations before there is a fit.

        Raises:
            InputError: measurements that can't come from this law, or too few.
        """

    @abc.abstractmethod
    def refined(self, fit: Fit) -> Float[Tensor, "targets m"]:
        """Standard deviations that go with a fit."""

    def log_density(
        self, y: Float[Tensor, "r m"], predicted: Float[Tensor, "r m"]
    ) -> Float[Tensor, "r m"] | None:
        """Of y, up to a constant; None where the law is normal with these deviations."""
        return None

    def note(self, level: Float[Tensor, " targets"], free: float) -> str | None:
        """What is to be told of the levels that were found.

        Args:
            level: of each target.
            free: measurements beyond what was fitted to them, of the target with fewest.
        """
        return None


@dataclass(frozen=True)
class Poisson(AbstractNoise):
    """Counts: y = gain n, n ~ Poisson(A G(z) / gain).

    The variance gain A G(z) is taken from the current fit, which is Fisher scoring: where it has
    settled the fit is that of the counts' own law. Draws are weighed by that law, not by a normal
    one.

    Args:
        gain: what one count adds to y, above 0.

    Source: McCullagh and Nelder, "Generalized linear models" (1989), section 2.5.

    >>> import surfing
    >>> surfing.Poisson(gain=0.1)
    Poisson(gain=0.1)
    """

    gain: float = 1.0
    rounds: ClassVar[int] = 3
    normal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check.number("gain", self.gain, low=0, open_low=True)

    def first(self, y: Float[Tensor, "targets m"], latents: int) -> Float[Tensor, "targets m"]:
        """From the counts themselves, one added to each."""
        if bool((y < 0).any()):
            raise InputError(
                f"noise: expected counts >= 0 for Poisson noise, got {float(y.min()):.3g}.",
                argument="noise",
            )
        return (self.gain * (y.double() + self.gain)).sqrt()

    def refined(self, fit: Fit) -> Float[Tensor, "targets m"]:
        """From the expected counts."""
        return (self.gain * self._expected(fit.predicted) * self.gain).sqrt()

    def log_density(
        self, y: Float[Tensor, "r m"], predicted: Float[Tensor, "r m"]
    ) -> Float[Tensor, "r m"]:
        """n log(mean) - mean, by measurement."""
        expected = self._expected(predicted)
        return y.double() / self.gain * expected.log() - expected

    def _expected(self, predicted: Tensor) -> Tensor:
        return (predicted.double() / self.gain).clamp(min=_FLOOR)


@dataclass(frozen=True)
class UnknownLevel(AbstractNoise):
    """One unknown standard deviation for each target: ||y - A G(z)||^2 / (m - determined).

    What is written as ``noise="estimate"``. The estimate is used as if it were known.
    """

    rounds: ClassVar[int] = 6

    def first(self, y: Float[Tensor, "targets m"], latents: int) -> Float[Tensor, "targets m"]:
        """A tenth of the measurements' own spread."""
        if y.shape[1] < latents + _LEAST_FREE:
            raise InputError(
                f"noise: expected a level: it can't be estimated from {y.shape[1]} measurements "
                f"with {latents} latents, at least {latents + _LEAST_FREE} are needed.",
                argument="noise",
            )
        spread = y.double().std(1, keepdim=True).clamp(min=1e-12)
        return (0.1 * spread).expand_as(y)

    def refined(self, fit: Fit) -> Float[Tensor, "targets m"]:
        """By the residuals."""
        gap = torch.where(fit.counted, fit.y.double() - fit.predicted.double(), 0.0)
        free = (fit.counted.sum(1) - fit.determined).clamp(min=1.0)
        level = (gap.square().sum(1) / free).sqrt()
        least = 1e-6 * fit.y.double().square().mean(1).sqrt()
        return torch.maximum(level, least.clamp(min=1e-12))[:, None].expand_as(fit.y)

    def note(self, level: Float[Tensor, " targets"], free: float) -> str | None:
        """The levels, and how well they are known."""
        if len(level) == 0:
            return None
        share = 1 / (2 * max(free, 1.0)) ** 0.5
        return (
            f"noise: levels estimated from the residuals, {float(level.min()):.3g} to "
            f"{float(level.max()):.3g}, each known to about {100 * share:.0f}%; intervals "
            "take them as known."
        )

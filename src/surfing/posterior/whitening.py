"""The law of z as a standard normal u: where draws are made, and the prior is ||u||^2 / 2."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.latents import Uniform

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.problem import Problem

__all__ = ["AbstractWhitening", "whitening_of"]

_NEAREST = 1e-3
"""No start is taken nearer to the edge than this share of the box: z hardly moves with u there."""


class AbstractWhitening(abc.ABC):
    """z = T(u), u ~ N(0, I_k); coordinate by coordinate, in float64."""

    @abc.abstractmethod
    def z(self, u: Float[Tensor, "r k"], owner: Int[Tensor, " r"]) -> Float[Tensor, "r k"]:
        """T(u) for rows that belong to the targets of `owner`."""

    @abc.abstractmethod
    def slope(self, u: Float[Tensor, "r k"], owner: Int[Tensor, " r"]) -> Float[Tensor, "r k"]:
        """dT/du."""

    @abc.abstractmethod
    def u(self, z: Float[Tensor, "r k"], owner: Int[Tensor, " r"]) -> Float[Tensor, "r k"]:
        """The inverse; what lies outside of the support is brought back into it."""


@dataclass(frozen=True)
class _Gaussian(AbstractWhitening):
    """z = mean + std u, with a standard deviation for each target."""

    mean: float
    std: Float[Tensor, " targets"]

    def z(self, u: Tensor, owner: Tensor) -> Tensor:
        return self.mean + self.std[owner][:, None] * u

    def slope(self, u: Tensor, owner: Tensor) -> Tensor:
        return self.std[owner][:, None].expand_as(u)

    def u(self, z: Tensor, owner: Tensor) -> Tensor:
        return (z.double() - self.mean) / self.std[owner][:, None]


@dataclass(frozen=True)
class _Box(AbstractWhitening):
    """z = low + (high - low) Phi(u), Phi the normal distribution function.

    Source: Wang, Bardsley, Solonen, Cui and Marzouk, "Bayesian inverse problems with l1 priors: a
    randomize-then-optimize approach" (2017): a prior that is a normal one in other coordinates.
    """

    low: float
    high: float

    def z(self, u: Tensor, owner: Tensor) -> Tensor:
        share: Tensor = torch.special.ndtr(u)
        return self.low + (self.high - self.low) * share

    def slope(self, u: Tensor, owner: Tensor) -> Tensor:
        density = torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)
        return (self.high - self.low) * density

    def u(self, z: Tensor, owner: Tensor) -> Tensor:
        share = (z.double() - self.low) / (self.high - self.low)
        inverse: Tensor = torch.special.ndtri(share.clamp(_NEAREST, 1 - _NEAREST))
        return inverse


def whitening_of(problem: Problem) -> AbstractWhitening:
    """Of a problem with a noise level and a prior.

    Raises:
        InputError: a uniform law, and a weight for its prior.
    """
    law, noise, prior = problem.latent, problem.data.noise, problem.prior
    if noise is None or prior is None:
        raise InputError("noise: expected a noise level and a prior.", argument="noise")
    if not bool((noise > 0).all()):
        raise InputError(
            "noise: expected standard deviations > 0, got 0: without noise the posterior is a "
            "point or a surface; use surfing.recover.",
            argument="noise",
        )
    if not isinstance(law, Uniform):
        return _Gaussian(law.mean, law.std * noise / prior.sqrt())
    if not torch.allclose(prior, noise.square(), rtol=1e-9, atol=0.0):
        raise InputError(
            "prior: expected 'law' where the latents' law is uniform: a weight would be that of a "
            "normal law.",
            argument="prior",
        )
    return _Box(law.low, law.high)

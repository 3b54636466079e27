"""Latent laws: where z comes from, how far from typical it is, and how to draw it reproducibly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from surfing import check
from surfing.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = ["TRUTHS", "Latent", "Normal", "Uniform", "blocked", "bounds", "latent_from_dict"]

TRUTHS = 1 << 40
"""The first identity of true latents: far from any target's, whose streams give the starts."""


@runtime_checkable
class Latent(Protocol):
    """A law for z in R^k. Anything with these members will do.

    `penalty` is the quadratic whose Gaussian has the law's mean and variance: what a MAP estimate
    adds to the risk, and what Gauss-Newton can treat as k more residuals.
    """

    @property
    def dim(self) -> int:
        """k, the length of z."""
        ...

    @property
    def mean(self) -> float:
        """Mean of one coordinate."""
        ...

    @property
    def std(self) -> float:
        """Standard deviation of one coordinate."""
        ...

    def sample(self, ids: Sequence[int], draws: int, *, seed: int) -> Float[Tensor, "ids draws k"]:
        """Draw latents; each id has a stream of its own, whatever else is in the batch."""
        ...

    def penalty(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, " rows"]:
        """1/2 ||(z - mean) / std||^2, by row."""
        ...

    def project(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows k"]:
        """The nearest point of the law's support."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What the manifest keeps."""
        ...


def _stream(seed: int, identity: int) -> np.random.Generator:
    """The random numbers of one target: a counter-based generator keyed by (seed, id)."""
    mask = (1 << 64) - 1
    key = np.array([seed & mask, identity & mask], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _gather(ids: Sequence[int], shape: tuple[int, int], *, seed: int, law: str) -> Tensor:
    """(ids, draws, k) numbers, standard normal or uniform on [0, 1)."""
    out = np.empty((len(ids), *shape), dtype=np.float32)
    for row, identity in enumerate(ids):
        stream = _stream(seed, int(identity))
        draw = stream.standard_normal if law == "normal" else stream.random
        out[row] = draw(shape, dtype=np.float32)
    return torch.from_numpy(out)


@dataclass(frozen=True)
class Normal:
    """z ~ N(0, I_k).

    >>> Normal(3).sample([0, 7], 2, seed=0).shape
    torch.Size([2, 2, 3])
    """

    dim: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", check.integer("dim", self.dim, low=1))  # to JSON

    @property
    def mean(self) -> float:
        """Zero."""
        return 0.0

    @property
    def std(self) -> float:
        """One."""
        return 1.0

    def sample(self, ids: Sequence[int], draws: int, *, seed: int) -> Float[Tensor, "ids draws k"]:
        """Draw latents; each id has a stream of its own, whatever else is in the batch."""
        return _gather(ids, (draws, self.dim), seed=seed, law="normal")

    def penalty(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, " rows"]:
        """1/2 ||z||^2, by row."""
        return z.square().sum(-1) / 2

    def project(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows k"]:
        """The support is everything: z itself."""
        return z

    def to_dict(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {"law": "normal", "dim": self.dim}


@dataclass(frozen=True)
class Uniform:
    """z uniform on the box [low, high]^k.

    >>> Uniform(2, -1, 1).std
    0.5773502691896258
    """

    dim: int
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", check.integer("dim", self.dim, low=1))  # to JSON
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise InputError(f"Uniform: expected low < high, got low={self.low}, high={self.high}.")

    @property
    def mean(self) -> float:
        """The box's centre."""
        return (self.low + self.high) / 2

    @property
    def std(self) -> float:
        """Standard deviation of one coordinate."""
        return float((self.high - self.low) / 12**0.5)

    def sample(self, ids: Sequence[int], draws: int, *, seed: int) -> Float[Tensor, "ids draws k"]:
        """Draw latents; each id has a stream of its own, whatever else is in the batch."""
        unit = _gather(ids, (draws, self.dim), seed=seed, law="uniform")
        return self.low + (self.high - self.low) * unit

    def penalty(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, " rows"]:
        """1/2 ||(z - mean) / std||^2, by row."""
        return ((z - self.mean) / self.std).square().sum(-1) / 2

    def project(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows k"]:
        """Clip to the box."""
        return z.clamp(self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {"law": "uniform", "dim": self.dim, "low": self.low, "high": self.high}


def bounds(law: Latent) -> tuple[float, float] | None:
    """The interval that each coordinate keeps to; None where the support is everything."""
    low, high = getattr(law, "low", None), getattr(law, "high", None)
    return None if low is None or high is None else (float(low), float(high))


def blocked(
    law: Latent, z: Float[Tensor, "rows k"], slope: Float[Tensor, "rows k"]
) -> Bool[Tensor, "rows k"] | None:
    """Coordinates on the edge of the support that descent would carry out; None without an edge."""
    edge = bounds(law)
    if edge is None:
        return None
    return ((z <= edge[0]) & (slope > 0)) | ((z >= edge[1]) & (slope < 0))


def latent_from_dict(description: Mapping[str, Any]) -> Latent:
    """Read what :meth:`Latent.to_dict` wrote.

    Raises:
        UnknownNameError: a law that this version doesn't know.
        InputError: a field is missing or of the wrong type.
    """
    law = description.get("law")
    try:
        if law == "normal":
            return Normal(description["dim"])
        if law == "uniform":
            return Uniform(
                description["dim"], float(description["low"]), float(description["high"])
            )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"latent law: a missing or wrong field: {dict(description)}.") from error
    raise UnknownNameError("latent law", str(law), ["normal", "uniform"])

"""One linear regression of z on the features of y, over a whole bank: a start for every target.

With many latents no sample of a bank is near a target, and a regression over the nearest ones sees
less than one over all. Its answer lies closer to the mean of the law than the truth does, as the
conditional mean would: descents that start there end in better minima than from draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["LinearInverse"]

_RIDGES = tuple(10.0**power for power in range(-7, 2))
"""What is tried, in units of the mean eigenvalue."""
_ROOM = 2
"""Samples for each feature, at least: with fewer the leading features alone are used."""


@dataclass(frozen=True)
class LinearInverse:
    """E[z | y] as a linear function of y, ridge chosen by generalised cross-validation.

    Args:
        z_mean: of the samples.
        mean: of their features.
        vectors: eigenvectors of the features' covariance.
        values: its eigenvalues.
        loadings: vectors' covariance with z.
        ridge: added to the eigenvalues.

    Source: Golub, Heath & Wahba, "Generalized Cross-Validation as a Method for Choosing a Good
    Ridge Parameter" (1979).
    """

    z_mean: Float[Tensor, " k"]
    mean: Float[Tensor, " d"]
    vectors: Float[Tensor, "d d"]
    values: Float[Tensor, " d"]
    loadings: Float[Tensor, "d k"]
    ridge: float

    @classmethod
    def fit(cls, z: Float[Tensor, "n k"], features: Float[Tensor, "n d"]) -> Self:
        """Regress z on features. Takes of the order of n d^2 operations."""
        n = len(z)
        used = features[:, : max(1, n // _ROOM)]
        mean, z_mean = used.mean(0), z.mean(0)
        x, right = used - mean, z - z_mean
        values, vectors = torch.linalg.eigh((x.T @ x).double() / n)
        values = values.clamp(min=0)
        loadings = vectors.T @ ((x.T @ right).double() / n)
        total = float(right.double().square().sum() / n)
        ridge = _chosen(values, loadings, total, n)
        return cls(z_mean, mean, vectors, values, loadings, ridge)

    def __call__(
        self, target: Float[Tensor, "t d"], noise: Float[Tensor, "t 1"] | float = 0.0
    ) -> Float[Tensor, "t k"]:
        """Latents for features of targets.

        Args:
            target: features.
            noise: variance of each feature by target: its ridge is that at least.
        """
        centred = (target[:, : len(self.mean)] - self.mean).double() @ self.vectors
        least = torch.as_tensor(noise, dtype=torch.float64, device=centred.device)
        damped = centred / (self.values + least.clamp(min=self.ridge))
        return self.z_mean + (damped @ self.loadings).to(self.z_mean.dtype)


def _chosen(values: Tensor, loadings: Tensor, total: float, n: int) -> float:
    """The ridge with the least generalised cross-validation error."""
    scale = float(values.mean().clamp(min=1e-300))
    energy = loadings.square().sum(1)
    best, least = scale * _RIDGES[0], float("inf")
    for ridge in (scale * r for r in _RIDGES):
        kept = values / (values + ridge)
        # ||z - fitted||^2 / n from the spectrum alone: energy / values is what a fit explains.
        explained = energy / values.clamp(min=1e-300) * (2 * kept - kept.square())
        left = total - float(torch.where(values > 0, explained, 0.0).sum())
        free = 1 - float(kept.sum()) / n
        error = max(left, 0.0) / max(free, 1e-3) ** 2
        if error < least:
            best, least = ridge, error
    return best

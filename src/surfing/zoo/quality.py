"""How good samples are, as a number beside the sheet that a human eye looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["frechet_distance"]


def frechet_distance(
    samples: Float[Tensor, "n ..."], images: Float[Tensor, "m ..."], *, features: int = 64
) -> float:
    """Fréchet distance between Gaussians fitted to the images' leading principal components.

        d^2 = ||mu_1 - mu_2||^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)),

    on pixels, not on a classifier's features: comparable between generators of the same data, not
    with published FID values.

    Args:
        samples: of a generator.
        images: real ones, in the same range; they define the components.
        features: how many components, at most the number of pixels.

    Returns:
        d^2, in squared units of the signal, summed over features.

    Raises:
        InputError: shapes that don't agree, or too few of either.
    """
    if samples.shape[1:] != images.shape[1:] or min(len(samples), len(images)) < 2:
        raise InputError(
            f"samples: expected at least two of shape {tuple(images.shape[1:])} as the images, "
            f"got {tuple(samples.shape)}."
        )
    real, made = images.flatten(1).double(), samples.flatten(1).double()
    _, vectors = torch.linalg.eigh(torch.cov(real.T))  # eigenvalues ascend
    basis = vectors[:, -min(features, real.shape[1]) :]
    (mean_1, cov_1), (mean_2, cov_2) = _moments(real @ basis), _moments(made @ basis)
    # The eigenvalues of a product of two covariances are real and not negative.
    roots = torch.linalg.eigvals(cov_1 @ cov_2).real.clamp(min=0).sqrt().sum()
    distance = (mean_1 - mean_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * roots
    return float(distance.clamp(min=0))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), torch.cov(x.T)

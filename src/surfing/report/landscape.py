"""A plane through latent space, chosen so that a path lies in it as well as it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Slice", "slice_through"]


@dataclass(frozen=True)
class Slice:
    """A risk on a plane, and a path seen from above it."""

    across: Float[Tensor, " size"]
    up: Float[Tensor, " size"]
    risk: Float[Tensor, "size size"]
    """risk[i, j] at (across[j], up[i])."""
    path: Float[Tensor, "stages 2"]
    origin: Float[Tensor, " k"]
    basis: Float[Tensor, "2 k"]

    def project(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows 2"]:
        """Plane coordinates of the nearest points of the plane."""
        return (z - self.origin) @ self.basis.T


def slice_through(
    risk: Callable[[Float[Tensor, "rows k"]], Float[Tensor, " rows"]],
    path: Float[Tensor, "stages k"],
    *,
    size: int = 61,
    margin: float = 0.3,
) -> Slice:
    """Evaluate a risk on the plane through a path's end, spanned by the path's main directions.

    Args:
        risk: f at latents, a batch at a time.
        path: the latents of one target, stage by stage; k at least 2.
        size: points along each side.
        margin: how much wider than the path the square is, as a share of the path's extent.

    Raises:
        InputError: a path of another shape, or not finite.
    """
    if path.ndim != 2 or path.shape[1] < 2 or not bool(path.isfinite().all()):
        raise InputError(
            f"path: expected finite latents (stages, k), k >= 2, got {tuple(path.shape)}."
        )
    origin = path[-1]
    basis = _plane(path - origin)
    flat = (path - origin) @ basis.T
    low, high = flat.amin(0), flat.amax(0)
    half = float(torch.clamp((high - low).max() * (0.5 + margin), min=1e-3))
    marks = torch.linspace(-half, half, size, dtype=path.dtype, device=path.device)
    centre = (low + high) / 2
    across, up = marks + centre[0], marks + centre[1]
    grid = torch.stack(torch.meshgrid(up, across, indexing="ij"), -1).reshape(-1, 2)
    values = risk(origin + grid.flip(-1) @ basis)
    return Slice(across, up, values.reshape(size, size), flat, origin, basis)


def _plane(offsets: Tensor) -> Tensor:
    """Two orthonormal directions: the path's main ones, completed where it has fewer."""
    k = offsets.shape[1]
    padded = torch.cat([offsets, 1e-6 * torch.eye(k, dtype=offsets.dtype, device=offsets.device)])
    directions: Tensor = torch.linalg.svd(padded, full_matrices=False)[2]
    return directions[:2]

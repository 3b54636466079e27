"""The risk of a random expansive network, to leading order in 1 / width.

For y = G(z*), no biases and W_i ~ N(0, 1/n_i), everything depends on ||z||, ||z*|| and the angle
th_0 between them, through the map th -> g(th) that one layer applies to angles.

Source: Hand & Voroninski, "Global guarantees for enforcing deep generative priors by empirical
risk" (2017); Huang, Heckel, Hand & Voroninski (2018).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["angle_map", "expected_gradient", "expected_risk", "layer_angles", "rho"]


def angle_map(angle: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """The angle between relu(Wu) and relu(Wv) where u and v are at `angle`.

    g(th) = arccos( ((pi - th) cos th + sin th) / pi ), th in [0, pi].

    >>> angle_map(torch.tensor([0.0, torch.pi]).double()).div(torch.pi)
    tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    cosine = ((torch.pi - angle) * torch.cos(angle) + torch.sin(angle)) / torch.pi
    return torch.arccos(cosine.clamp(-1, 1))


def layer_angles(
    z: Float[Tensor, "rows k"], target: Float[Tensor, " k"], depth: int
) -> Float[Tensor, "angles rows"]:
    """th_0, ..., th_d: the angle of z and z*, then that of their images after each layer.

    Raises:
        InputError: depth below 1, shapes that don't fit, or a latent that is zero.
    """
    _check_depth(depth)
    if z.ndim != 2 or target.ndim != 1 or z.shape[1] != len(target):
        raise InputError(
            f"z, target: expected (rows, k) and (k,), got {tuple(z.shape)} and "
            f"{tuple(target.shape)}."
        )
    unit, goal = z / z.norm(dim=1, keepdim=True), target / target.norm()
    if not bool(torch.isfinite(unit).all() and torch.isfinite(goal).all()):
        raise InputError("z, target: expected latents that are finite and not zero.")
    # 2 atan2 of the difference and the sum keeps its digits at 0 and pi, where arccos has none.
    angles = [2 * torch.atan2((unit - goal).norm(dim=1), (unit + goal).norm(dim=1))]
    for _ in range(depth):
        angles.append(angle_map(angles[-1]))
    return torch.stack(angles)


def expected_gradient(
    z: Float[Tensor, "rows k"], target: Float[Tensor, " k"], depth: int
) -> Float[Tensor, "rows k"]:
    """h(z), which the gradient of 1/2 ||G(z) - G(z*)||^2 concentrates about.

    2^d h = z - (prod_{i<d} (pi - th_i)/pi) z*
            - (sum_{i<d} sin(th_i)/pi prod_{j=i+1}^{d-1} (pi - th_j)/pi) ||z*|| z/||z||

    Args:
        z: latents, not zero.
        target: z*.
        depth: d.
    """
    angles = layer_angles(z, target, depth)[:-1]
    shares = (torch.pi - angles) / torch.pi  # (d, rows)
    radial = torch.zeros_like(angles[0])
    for angle, share in zip(angles, shares):
        # Horner's form: each later layer multiplies what the earlier ones left.
        radial = radial * share + torch.sin(angle) / torch.pi
    along = shares.prod(0)[:, None] * target
    outward = (radial * target.norm() / z.norm(dim=1))[:, None] * z
    field: Tensor = (z - along - outward) / 2**depth
    return field


def expected_risk(
    z: Float[Tensor, "rows k"], target: Float[Tensor, " k"], depth: int
) -> Float[Tensor, " rows"]:
    """E f(z) = 2^-(d+1) ( ||z||^2 + ||z*||^2 - 2 ||z|| ||z*|| cos th_d )."""
    last = layer_angles(z, target, depth)[-1]
    a, b = z.norm(dim=1), target.norm()
    risk: Tensor = (a.square() + b.square() - 2 * a * b * torch.cos(last)) / 2 ** (depth + 1)
    return risk


def rho(depth: int) -> float:
    """rho_d, where -rho_d z* is the second zero of h.

    rho_d = sum_{i<d} sin(th_i)/pi prod_{j=i+1}^{d-1} (pi - th_j)/pi from th_0 = pi.

    >>> [round(rho(d), 4) for d in (1, 2, 3, 8)]
    [0.0, 0.3183, 0.4937, 0.8091]
    """
    _check_depth(depth)
    angle, total = torch.tensor(torch.pi, dtype=torch.float64), 0.0
    for _ in range(depth):
        th = float(angle)
        total = total * (math.pi - th) / math.pi + max(math.sin(th), 0.0) / math.pi
        angle = angle_map(angle)
    # sin(pi) is 1e-16 in floating point; the first term is exactly zero.
    return total if depth > 1 else 0.0


def _check_depth(depth: object) -> None:
    check.integer("depth", depth, low=1)

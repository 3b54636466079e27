"""The two searches of Laloy et al. 2019, many targets at once, each with a state of its own.

Written from the paper's companion code: Adam with stochastic clipping (strategy 1), and
Gauss-Newton with a Jacobian from finite differences in a normal latent (strategy 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["FiniteDifferences", "Found", "StochasticAdam"]

Measure = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Found:
    """Where each target ended: its best iterate, and what it took."""

    z: Float[Tensor, "targets k"]
    cost: Float[Tensor, " targets"]
    """Forward-equivalents."""


class _Best:
    """The best iterate of each target, and who still searches."""

    def __init__(self, z: Tensor, floor: float) -> None:
        self.z, self.floor = z.clone(), floor
        self.risk = z.new_full((len(z),), math.inf)
        self.cost = torch.zeros(len(z), dtype=torch.float64)
        self.active = torch.arange(len(z), device=z.device)

    def note(self, z: Tensor, risk: Tensor, price: float) -> Tensor:
        """Keep what is better; returns which of the active rows go on."""
        self.cost[self.active.cpu()] += price
        better = risk < self.risk[self.active]
        rows = self.active[better]
        self.risk[rows], self.z[rows] = risk[better], z[better]
        return risk > self.floor


@dataclass(frozen=True)
class StochasticAdam:
    """Adam whose latents are drawn anew on [-1, 1] where they have left it.

    Args:
        rate: Adam's.
        iterations: at most.
        clip: "redraw" (published) or "project".
        seed: of the drawn values.
    """

    rate: float = 0.01
    iterations: int = 10_000
    clip: str = "redraw"
    seed: int = 0

    def __call__(self, measure: Measure, y: Tensor, z0: Tensor, floor: float) -> Found:
        """Search from z0 until ||measure(z) - y||^2 is at most the floor."""
        draw = torch.Generator(z0.device).manual_seed(self.seed)
        best, z = _Best(z0, floor), z0.clone()
        mean, square = torch.zeros_like(z), torch.zeros_like(z)
        for step in range(1, self.iterations + 1):
            z = self._inside(z, draw).requires_grad_()
            risk = (measure(z) - y[best.active]).square().sum(-1)
            (slope,) = torch.autograd.grad(risk.sum(), z)
            z = z.detach()
            going = best.note(z, risk.detach(), 3)
            mean = 0.9 * mean + 0.1 * slope
            square = 0.999 * square + 0.001 * slope.square()
            scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
            z = z - self.rate / (1 - 0.9**step) * mean / scale
            if not bool(going.all()):
                best.active = best.active[going]
                z, mean, square = z[going], mean[going], square[going]
            if len(z) == 0:
                break
        return Found(best.z, best.cost)

    def _inside(self, z: Tensor, draw: torch.Generator) -> Tensor:
        if self.clip == "project":
            return z.clamp(-1, 1)
        fresh = torch.rand(z.shape, generator=draw, device=z.device) * 2 - 1
        return torch.where(z.abs() > 1, fresh, z)


@dataclass(frozen=True)
class FiniteDifferences:
    """Gauss-Newton in u, z = 2 Phi(u) - 1, with central differences and a fixed prior weight.

    Args:
        iterations: at most.
        difference: step in u.
        weight: of ||u||^2 beside the squared residual.
    """

    iterations: int = 100
    difference: float = 0.1
    weight: float = 1.0

    def __call__(self, measure: Measure, y: Tensor, z0: Tensor, floor: float) -> Found:
        """Search from z0 until ||measure(z) - y||^2 is at most the floor."""
        best = _Best(z0, floor)
        u = torch.special.ndtri((z0.double() + 1) / 2).clamp(-4, 4)
        eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
        for _ in range(self.iterations):
            base = measure(self._latent(u).to(z0)).double()
            residual = y[best.active].double() - base
            risk = residual.square().sum(-1).to(z0)
            going = best.note(self._latent(u).to(z0), risk, 1 + 2 * u.shape[1])
            best.active, u, residual = best.active[going], u[going], residual[going]
            if len(u) == 0:
                break
            jacobian = self._jacobian(measure, u, z0)
            normal = jacobian.mT @ jacobian + self.weight * eye
            aim = jacobian.mT @ (residual[..., None] + jacobian @ u[..., None])
            u = torch.linalg.solve(normal, aim)[..., 0]
        return Found(best.z, best.cost)

    def _jacobian(self, measure: Measure, u: Tensor, like: Tensor) -> Float[Tensor, "rows m k"]:
        columns = []
        for index in range(u.shape[1]):
            shift = torch.zeros_like(u)
            shift[:, index] = self.difference
            ends = [measure(self._latent(u + s * shift).to(like)).double() for s in (1, -1)]
            columns.append((ends[0] - ends[1]) / (2 * self.difference))
        return torch.stack(columns, dim=-1)

    @staticmethod
    def _latent(u: Tensor) -> Tensor:
        return 2 * torch.special.ndtr(u) - 1

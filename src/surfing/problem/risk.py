"""The risk f(z) = 1/2 ||A G_theta(z) - y||^2 + reg penalty(z), row by row, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int

    from surfing.latents import Latent
    from surfing.problem.forward import ForwardMap

__all__ = ["CostMeter", "Quadratic", "Risk"]


class CostMeter:
    """Forward-equivalents by row: forward 1, reverse pass 2 more, tangent pass 1 more.

    `depth` counts the passes that had to wait for one another.
    """

    def __init__(self, rows: int, device: torch.device | str = "cpu") -> None:
        self.spent = torch.zeros(rows, dtype=torch.float64, device=device)
        self.depth = 0

    def add(self, rows: Int[Tensor, " r"], amount: float) -> None:
        """Charge `amount` to each of the rows."""
        self.spent.index_add_(0, rows, self.spent.new_full((len(rows),), amount))
        self.depth += 1


@dataclass(frozen=True)
class Quadratic:
    """The Gauss-Newton model at z: f + g.d + 1/2 d'Hd, in float64, row by row."""

    value: Float[Tensor, " r"]
    gradient: Float[Tensor, "r k"]
    hessian: Float[Tensor, "r k k"]
    """J'J, plus the penalty's own."""


class Risk:
    """One stage's objective for all rows; every call is metered.

    Args:
        forward: z -> A G_theta(z).
        y: measurements, one line a target.
        owner: the target of each row (several starts share one).
        latent: the law whose penalty is added.
        reg: weight of the penalty, one number a row; zero for none.
        meter: where costs go.
    """

    def __init__(
        self,
        forward: ForwardMap,
        y: Float[Tensor, "targets m"],
        owner: Int[Tensor, " rows"],
        *,
        latent: Latent,
        reg: Float[Tensor, " rows"] | None = None,
        meter: CostMeter | None = None,
    ) -> None:
        self.forward = forward
        self.y = y
        self.owner = owner
        self.latent = latent
        self.reg = reg
        self.meter = meter if meter is not None else CostMeter(len(owner), y.device)

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def penalised(self) -> bool:
        """Whether a penalty is part of the value."""
        return self.reg is not None

    def value(self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """f(z), summed over measurements in float64. Costs 1 a row."""
        self.meter.add(rows, 1)
        return self._value(z, rows) + self._prior(z.double(), rows)

    def misfit(self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """1/2 ||A G(z) - y||^2, the penalty left out. Costs 1 a row."""
        self.meter.add(rows, 1)
        return self._value(z, rows)

    def gradient(
        self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, " r"], Float[Tensor, "r k"]]:
        """f(z) and its gradient by reverse mode. Costs 3 a row."""
        self.meter.add(rows, 3)
        values, slopes = [z.new_zeros(0, dtype=torch.float64)], [z[:0]]
        with torch.enable_grad():
            for part, index in self._chunks(z, rows, tangents=False):
                leaf = part.detach().requires_grad_()
                f = self._residual(leaf, index).double().square().sum(-1) / 2
                f = f + self._prior(leaf.double(), index)
                slope = torch.zeros_like(part)
                if f.requires_grad:  # A G may be constant
                    (slope,) = torch.autograd.grad(f.sum(), leaf, materialize_grads=True)
                values.append(f.detach())
                slopes.append(slope)
        return torch.cat(values), torch.cat(slopes)

    def linearise(
        self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r m"], Float[Tensor, "r m k"]]:
        """Residual and Jacobian, all at once in memory. Costs 1 + k a row (reverse: 1 + 2 m)."""
        with torch.no_grad():
            value, jacobian = self.forward.linearise(z)
        self.meter.add(rows, 1 + self.forward.tangent_passes(z.shape[1], value.shape[1]))
        return value - self.y[self.owner[rows]].to(z.dtype), jacobian

    def quadratic(self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Quadratic:
        """The Gauss-Newton model. Costs 1 + k a row; the Jacobian itself is not kept.

        Products are summed in float64: squaring the condition number of a float32 Jacobian
        then loses nothing that the Jacobian had.
        """
        k, f64 = z.shape[1], torch.float64
        parts = [tuple(z.new_zeros(shape, dtype=f64) for shape in ((0,), (0, k), (0, k, k)))]
        parts += [self._normal_equations(*chunk) for chunk in self._chunks(z, rows, tangents=True)]
        self.meter.add(rows, 1 + self.forward.tangent_passes(k, self.y.shape[1]))
        value, gradient, hessian = (torch.cat(pieces) for pieces in zip(*parts))
        if self.reg is not None:
            reg, law = self.reg[rows].double(), self.latent
            value = value + self._prior(z.double(), rows)
            gradient = gradient + reg[:, None] * (z.double() - law.mean) / law.std**2
            hessian = hessian + torch.diag_embed(reg[:, None].expand(-1, k) / law.std**2)
        return Quadratic(value, gradient, hessian)

    def curvature_product(
        self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"], v: Float[Tensor, "r k"]
    ) -> Float[Tensor, "r k"]:
        """H v of the Gauss-Newton model, H never formed. Costs 4 a row (reverse mode alone: 7)."""
        products = [z.new_zeros(0, z.shape[1])]
        size = self.forward.chunk(4)
        for start in range(0, len(z), size):
            part = slice(start, start + size)
            products.append(self.forward.curvature_product(z[part], v[part].to(z.dtype)))
        self.meter.add(rows, self.forward.product_passes)
        product = torch.cat(products).double()
        if self.reg is not None:
            product = product + self.reg[rows].double()[:, None] * v / self.latent.std**2
        return product

    def _normal_equations(self, z: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            value, jacobian = self.forward.linearise(z)
        r = value.double() - self.y[self.owner[rows]].double()
        jac = jacobian.double()  # (r, m, k)
        gradient = (jac.mT @ r.unsqueeze(-1)).squeeze(-1)
        return r.square().sum(-1) / 2, gradient, jac.mT @ jac

    def _residual(self, z: Tensor, rows: Tensor) -> Tensor:
        return self.forward(z) - self.y[self.owner[rows]].to(z.dtype)

    def _value(self, z: Tensor, rows: Tensor) -> Tensor:
        parts = [z.new_zeros(0, dtype=torch.float64)]
        with torch.no_grad():
            for part, index in self._chunks(z, rows, tangents=False):
                parts.append(self._residual(part, index).double().square().sum(-1) / 2)
        return torch.cat(parts)

    def _prior(self, z: Tensor, rows: Tensor) -> Tensor | float:
        if self.reg is None:
            return 0.0
        return self.reg[rows].to(z.dtype) * self.latent.penalty(z)

    def _chunks(
        self, z: Tensor, rows: Tensor, *, tangents: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in chunks that fit the memory budget, with or without k tangents each."""
        size = self.forward.chunk(self.latent.dim if tangents else 3)
        for start in range(0, len(z), size):
            yield z[start : start + size], rows[start : start + size]

"""The risk f(z) = 1/2 ||A G_theta(z) - y||^2 + reg penalty(z), row by row, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from surfing.problem.matrices import ALIGNED, squared_norms
from surfing.problem.measurements import Level, Measurements

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.latents import Latent
    from surfing.problem.forward import ForwardMap
    from surfing.problem.inputs import RowInputs
    from surfing.problem.loss import AbstractLoss

__all__ = ["CostMeter", "Quadratic", "Risk"]


class CostMeter:
    """Forward-equivalents by row: forward 1, reverse pass 2 more, tangent pass 1 more.

    `depth` counts the passes that had to wait for one another.
    """

    def __init__(self, rows: int, device: torch.device | str = "cpu") -> None:
        self.spent: Tensor = torch.zeros(rows, dtype=torch.float64, device=device)
        self.depth: int = 0

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
    residual: Float[Tensor, "r m"] | None = None
    jacobian: Float[Tensor, "r m k"] | None = None
    """Both weighted, in the precision of z, where they were asked for."""


class Risk:
    """One stage's objective for all rows; every call is metered.

    Args:
        forward: z -> A G_theta(z).
        y: measurements, one line per target.
        owner: the target of each row (several starts share one).
        latent: the law whose penalty is added.
        reg: weight of the penalty, one number for each row; zero for none.
        meter: where costs go.
        weights: factors of the residuals by target and measurement (one line for all targets
            where they are the same); 0 where nothing was measured. None for 1.
        inputs: of the targets, for generator and operator.
        loss: how residuals are weighed down, for outliers; squares where left out.
        scale: by target, the standard deviation that the loss measures residuals in.
        level: what tells whether measurements are met, by target.
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
        weights: Float[Tensor, "targets_or_1 m"] | None = None,
        inputs: RowInputs | None = None,
        loss: AbstractLoss | None = None,
        scale: Float[Tensor, " targets"] | None = None,
        level: Level | None = None,
    ) -> None:
        self.forward = forward
        self.y = y
        self.owner = owner
        self.latent = latent
        self.reg = reg
        self.weights = weights
        self.inputs = inputs
        self.loss = loss
        self.scale = scale
        self.level: Level = level if level is not None else Measurements.of(y).level
        self.meter: CostMeter = meter if meter is not None else CostMeter(len(owner), y.device)

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
        """The value with the penalty left out. Costs 1 for each row."""
        self.meter.add(rows, 1)
        return self._value(z, rows)

    def residual(self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Float[Tensor, "r m"]:
        """Weighted residuals. Costs 1 for each row."""
        self.meter.add(rows, 1)
        out = z.new_empty(len(z), self.y.shape[1])
        with torch.no_grad():
            self.forward.fill((out,), lambda *part: (self._residual(*part),), *(z, rows), passes=3)
        return out

    def gradient(
        self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, " r"], Float[Tensor, "r k"]]:
        """f(z) and its gradient by reverse mode. Costs 3 a row."""
        self.meter.add(rows, 3)
        values, slopes = z.new_empty(len(z), dtype=torch.float64), torch.empty_like(z)

        def pulled(part: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            leaf = part.detach().requires_grad_()
            with torch.enable_grad():
                f = self._summed(self._residual(leaf, index), index)
                f = f + self._prior(leaf.double(), index)
                if not f.requires_grad:  # A G may be constant
                    return f, torch.zeros_like(part)
                (slope,) = torch.autograd.grad(f.sum(), leaf, materialize_grads=True)
            return f.detach(), slope

        self.forward.fill((values, slopes), pulled, z, rows, passes=3, reverse=True)
        return values, slopes

    def linearise(
        self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r m"], Float[Tensor, "r m k"]]:
        """Residual and Jacobian, all at once in memory. Costs 1 + k per row (reverse: 1 + 2 m)."""
        with torch.no_grad():
            value, jacobian = self.forward.linearise(z, self._inputs(rows))
        self.meter.add(rows, 1 + self.forward.tangent_passes(z.shape[1], value.shape[1]))
        residual, weights = value - self.y[self.owner[rows]].to(z.dtype), self._weights(rows)
        if weights is None:
            return residual, jacobian
        weights = weights.to(z.dtype)
        return weights * residual, weights.unsqueeze(-1) * jacobian

    def penalty(self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Tensor | float:
        """What the penalty adds to the misfit. Costs nothing."""
        return self._prior(z.double(), rows)

    def quadratic(
        self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"], *, keep: bool = False
    ) -> Quadratic:
        """The Gauss-Newton model. Costs 1 + k per row.

        Products are summed in float64: squaring the condition number of a float32 Jacobian
        then loses nothing that the Jacobian had.

        Args:
            z: where.
            rows: which.
            keep: return residuals and Jacobians too, m (k + 1) numbers for each row.
        """
        k, f64 = z.shape[1], torch.float64
        value, gradient, hessian = (
            z.new_empty(len(z), *shape, dtype=f64) for shape in ((), (k,), (k, k))
        )
        out: tuple[Tensor, ...] = (value, gradient, hessian)
        residual, jacobian = None, None
        if keep:
            residual = z.new_empty(len(z), self.y.shape[1])
            jacobian = z.new_empty(*residual.shape, k)
            out = (*out, residual, jacobian)
        self.forward.fill(
            out,
            lambda *part: self._normal_equations(*part)[: len(out)],
            *(z, rows),
            passes=self.latent.dim,
        )
        self.meter.add(rows, 1 + self.forward.tangent_passes(k, self.y.shape[1]))
        if self.reg is not None:
            reg, law = self.reg[rows].double(), self.latent
            value = value + self._prior(z.double(), rows)
            gradient = gradient + reg[:, None] * (z.double() - law.mean) / law.std**2
            hessian = hessian + torch.diag_embed(reg[:, None].expand(-1, k) / law.std**2)
        return Quadratic(value, gradient, hessian, residual, jacobian)

    def curvature_product(
        self, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"], v: Float[Tensor, "r k"]
    ) -> Float[Tensor, "r k"]:
        """H v of the Gauss-Newton model, H never formed. Costs 4 a row (reverse mode alone: 7)."""
        product = torch.empty_like(z, dtype=torch.float64)
        self.forward.fill(
            (product,),
            lambda at, to, index: (self._product(at, to, index),),
            *(z, v.to(z.dtype), rows),
            passes=4,
            reverse=True,
        )
        self.meter.add(rows, self.forward.product_passes)
        if self.reg is not None:
            product = product + self.reg[rows].double()[:, None] * v / self.latent.std**2
        return product

    def _product(self, z: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        weights = self._weights(rows)
        square = None if weights is None else weights.square()
        if self.loss is not None:
            with torch.no_grad():
                residual = self._residual(z, rows).double()
            own = self.loss.weights(residual, self._scale(rows))
            square = own if square is None else own * square
        return self.forward.curvature_product(
            z,
            v,
            self._inputs(rows),
            square_weights=None if square is None else square.to(z.dtype),
        )

    def _normal_equations(self, z: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            value, jacobian = self.forward.linearise(z, self._inputs(rows))
        r = value.double() - self.y[self.owner[rows]].double()
        jac = jacobian.double()  # (r, m, k)
        weights = self._weights(rows)
        if weights is not None:
            r, jac = weights * r, weights.unsqueeze(-1) * jac
        value, k = self._summed(r, rows), jac.shape[-1]
        if self.loss is not None:  # iteratively reweighted least squares
            root = self.loss.weights(r, self._scale(rows)).sqrt()
            r, jac = root * r, root.unsqueeze(-1) * jac
        if self.forward.batch_invariant:
            # One product of matrices that all begin at aligned addresses, [J r 0]'[J r 0].
            jac = F.pad(torch.cat([jac, r.unsqueeze(-1)], -1), (0, -(k + 1) % ALIGNED))
            square = jac.mT @ jac
            return value, square[:, k, :k], square[:, :k, :k], r, jac[..., :k]
        gradient = (jac.mT @ r.unsqueeze(-1)).squeeze(-1)
        return value, gradient, jac.mT @ jac, r, jac

    def _residual(self, z: Tensor, rows: Tensor) -> Tensor:
        """Weighted, (r, m)."""
        value = self.forward(z, self._inputs(rows))
        residual, weights = value - self.y[self.owner[rows]].to(z.dtype), self._weights(rows)
        return residual if weights is None else weights.to(z.dtype) * residual

    def _summed(self, residual: Tensor, rows: Tensor) -> Tensor:
        """Half the sum of squares, or of what a robust loss makes of them; float64."""
        if self.loss is None:
            return squared_norms(residual) / 2
        return self.loss.value(residual.double(), self._scale(rows)).sum(-1)

    def _scale(self, rows: Tensor) -> Tensor:
        """Standard deviation of a weighted residual by row, (r, 1)."""
        scale = self.y.new_ones(len(self.y)) if self.scale is None else self.scale
        return scale.double()[self.owner[rows]].unsqueeze(-1)

    def _weights(self, rows: Tensor) -> Tensor | None:
        if self.weights is None or len(self.weights) == 1:
            return self.weights
        return self.weights[self.owner[rows]]

    def _inputs(self, rows: Tensor) -> RowInputs | None:
        return None if self.inputs is None else self.inputs[self.owner[rows]]

    def _value(self, z: Tensor, rows: Tensor) -> Tensor:
        values = z.new_empty(len(z), dtype=torch.float64)
        with torch.no_grad():
            self.forward.fill(
                (values,),
                lambda *part: (self._summed(self._residual(*part), part[1]),),
                *(z, rows),
                passes=3,
            )
        return values

    def _prior(self, z: Tensor, rows: Tensor) -> Tensor | float:
        if self.reg is None:
            return 0.0
        return self.reg[rows].to(z.dtype) * self.latent.penalty(z)

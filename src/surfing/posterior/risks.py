"""Minus the logarithm of the posterior as a sum of squares, and the equations of a draw.

With u the latents in coordinates where their law is N(0, I) and r(u) = W (A G(T(u)) - y) / s the
residuals in units of their noise, minus the logarithm of the posterior is ||r||^2/2 + ||u||^2/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.latents import Normal
from surfing.problem.measurements import Level
from surfing.problem.risk import CostMeter, Risk

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.generator import State
    from surfing.posterior.noise import AbstractNoise
    from surfing.posterior.whitening import AbstractWhitening
    from surfing.problem.problem import Problem

__all__ = ["Frame", "PerturbedRisk", "PosteriorRisk", "RandomisedRisk"]


class PosteriorRisk(Risk):
    """f(u) = ||r(u)||^2/2 + ||u||^2/2, for rows that belong to the targets of `owner`.

    Args:
        problem: with a noise level.
        state: theta.
        owner: the target of each row.
        whitening: the law in normal coordinates.
        meter: where costs are charged.
    """

    def __init__(
        self,
        problem: Problem,
        state: State,
        owner: Int[Tensor, " rows"],
        *,
        whitening: AbstractWhitening,
        meter: CostMeter | None = None,
    ) -> None:
        data = problem.data
        ones = torch.ones(len(data), dtype=torch.float64, device=problem.device)
        # A row is solved where half its squares are below a millionth: for equations alone.
        super().__init__(
            problem.architecture.at(state),
            problem.y,
            owner,
            latent=Normal(problem.latent.dim),
            meter=meter,
            weights=data.weights,
            inputs=data.inputs,
            level=Level(ones, ones * problem.latent.dim, None),
        )
        self.whitening = whitening
        self.noise: Tensor = ones if data.noise is None else data.noise
        self.dtype: torch.dtype = problem.y.dtype

    @property
    def penalised(self) -> bool:
        """No value at which a row is solved is known."""
        return True

    def whitened(
        self, u: Float[Tensor, "r k"], rows: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r m"], Float[Tensor, "r m k"]]:
        """r(u) and its Jacobian, in the precision of the model; a chunk's worth of rows."""
        owner = self.owner[rows]
        z = self.whitening.z(u, owner).to(self.dtype)
        with torch.no_grad():
            value, jacobian = self.forward.linearise(z, self._inputs(rows))
        scale = self._precision(rows).to(self.dtype)
        slope = self.whitening.slope(u, owner).to(self.dtype)
        residual = scale * (value - self.y[owner])
        return residual, scale.unsqueeze(-1) * jacobian * slope.unsqueeze(1)

    def data_residual(
        self, u: Float[Tensor, "r k"], rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r m"]:
        """r(u); differentiable."""
        z = self.whitening.z(u, self.owner[rows]).to(self.dtype)
        return super()._residual(z, rows) / self.noise[self.owner[rows]].to(self.dtype)[:, None]

    def data_misfit(self, u: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """||r(u)||^2. Costs 1 for each row."""
        self.meter.add(rows, 1)
        out = u.new_empty(len(u))
        with torch.no_grad():
            self.forward.fill(
                (out,),
                lambda *part: (self.data_residual(*part).double().square().sum(-1),),
                *(u, rows),
                passes=3,
            )
        return out

    def predicted(self, u: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Float[Tensor, "r m"]:
        """A G(T(u)). Costs 1 for each row."""
        self.meter.add(rows, 1)
        out = u.new_empty(len(u), self.y.shape[1], dtype=self.dtype)

        def forward(at: Tensor, index: Tensor) -> tuple[Tensor]:
            z = self.whitening.z(at, self.owner[index]).to(self.dtype)
            return (self.forward(z, self._inputs(index)),)

        with torch.no_grad():
            self.forward.fill((out,), forward, u, rows, passes=3)
        return out

    def _precision(self, rows: Tensor) -> Tensor:
        """W / s by row, (r, m) or (r, 1), float64."""
        scale = self.noise[self.owner[rows]].reciprocal()[:, None]
        weights = self._weights(rows)
        return scale if weights is None else weights * scale

    def _residual(self, z: Tensor, rows: Tensor) -> Tensor:
        return torch.cat([self.data_residual(z, rows).double(), z], -1)

    def _normal_equations(self, z: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        residual, jacobian = (t.double() for t in self.whitened(z, rows))
        value = (residual.square().sum(-1) + z.square().sum(-1)) / 2
        gradient = (jacobian.mT @ residual.unsqueeze(-1)).squeeze(-1) + z
        return value, gradient, jacobian.mT @ jacobian + _eye(z)

    def _product(self, z: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        owner = self.owner[rows]
        slope = self.whitening.slope(z, owner)
        product = self.forward.curvature_product(
            self.whitening.z(z, owner).to(self.dtype),
            (slope * v).to(self.dtype),
            self._inputs(rows),
            square_weights=self._precision(rows).square().to(self.dtype),
        )
        return slope * product.double() + v


class PerturbedRisk(PosteriorRisk):
    """||r(u) - a||^2/2 + ||u - b||^2/2 with a and b standard normal, by row.

    Its minima are draws of the posterior where A G is linear, and near them otherwise.

    Source: Oliver, He and Reynolds, "Conditioning permeability fields to pressure data" (1996),
    randomised maximum likelihood.
    """

    def __init__(
        self,
        problem: Problem,
        state: State,
        owner: Int[Tensor, " rows"],
        *,
        whitening: AbstractWhitening,
        noise: Float[Tensor, "rows m"],
        centre: Float[Tensor, "rows k"],
        meter: CostMeter | None = None,
    ) -> None:
        super().__init__(problem, state, owner, whitening=whitening, meter=meter)
        self.perturbation: Tensor = noise
        self.centre: Tensor = centre

    def _residual(self, z: Tensor, rows: Tensor) -> Tensor:
        residual = self.data_residual(z, rows).double() - self.perturbation[rows]
        return torch.cat([residual, z - self.centre[rows]], -1)

    def _normal_equations(self, z: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        residual, jacobian = (t.double() for t in self.whitened(z, rows))
        residual, prior = residual - self.perturbation[rows], z - self.centre[rows]
        value = (residual.square().sum(-1) + prior.square().sum(-1)) / 2
        gradient = (jacobian.mT @ residual.unsqueeze(-1)).squeeze(-1) + prior
        return value, gradient, jacobian.mT @ jacobian + _eye(z)


@dataclass(frozen=True)
class Frame:
    """At each mode, k directions in the space of residuals: Q = J L^-T with L L' = J'J + I.

    Args:
        u: the modes.
        basis: Q, the rows of the measurements.
        inverse: L^-1, which is Q's part of the prior.
    """

    u: Float[Tensor, "modes k"]
    basis: Float[Tensor, "modes m k"]
    inverse: Float[Tensor, "modes k k"]

    def project(
        self, residual: Float[Tensor, "r m"], u: Float[Tensor, "r k"], mode: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"]:
        """g(u) = Q'(r, u): standard normal where u is drawn."""
        along = (self.basis[mode].mT @ residual.unsqueeze(-1)).squeeze(-1).double()
        return along + (self.inverse[mode] @ u.unsqueeze(-1)).squeeze(-1)

    def slope(
        self, jacobian: Float[Tensor, "r m k"], mode: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k k"]:
        """dg/du."""
        return (self.basis[mode].mT @ jacobian).double() + self.inverse[mode]


class RandomisedRisk(PosteriorRisk):
    """||g(u) - e||^2/2, with e standard normal by row: k equations, whose solution is a draw.

    Source: Bardsley, Solonen, Haario and Laine, "Randomize-then-optimize" (2014), equation 2.8.

    Args:
        frame: Q of each mode.
        mode: of each row.
        noise: e of each row.
        law: of the measurements, where it is not normal; weights go by it.
    """

    def __init__(
        self,
        problem: Problem,
        state: State,
        owner: Int[Tensor, " rows"],
        *,
        whitening: AbstractWhitening,
        frame: Frame,
        mode: Int[Tensor, " rows"],
        noise: Float[Tensor, "rows k"],
        law: AbstractNoise | None = None,
        meter: CostMeter | None = None,
    ) -> None:
        super().__init__(problem, state, owner, whitening=whitening, meter=meter)
        self.frame: Frame = frame
        self.mode: Tensor = mode
        self.perturbation: Tensor = noise
        self.law: AbstractNoise | None = law

    @property
    def penalised(self) -> bool:
        """The equations are solved where the value is 0."""
        return False

    def equations(self, u: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Float[Tensor, "r k"]:
        """g(u) - e. Costs 1 for each row."""
        self.meter.add(rows, 1)
        out = torch.empty_like(u)
        with torch.no_grad():
            self.forward.fill((out,), lambda *part: (self._residual(*part),), u, rows, passes=3)
        return out

    def log_weights(self, u: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """Logarithm of posterior by density of the draw. Costs 1 + k for each row.

        log w = -||r||^2/2 - ||u||^2/2 + ||g||^2/2 - log |det dg/du|: normalised so that its mean
        over e is the integral of exp(-||r||^2/2 - ||u||^2/2) over the u that are reached.
        """
        out = u.new_empty(len(u))
        self.forward.fill(
            (out,), lambda *part: (self._log_weights(*part),), u, rows, passes=self.latent.dim
        )
        self.meter.add(rows, 1 + self.forward.tangent_passes(u.shape[1], self.y.shape[1]))
        return out

    def _log_weights(self, u: Tensor, rows: Tensor) -> Tensor:
        residual, jacobian = self.whitened(u, rows)
        mode = self.mode[rows]
        drawn = self.frame.project(residual, u, mode)
        volume: Tensor = torch.linalg.slogdet(self.frame.slope(jacobian, mode)).logabsdet
        # (2 pi)^(k/2) is left out of all: of the density of e, and of the law's.
        prior = (drawn.square().sum(-1) - u.square().sum(-1)) / 2
        return prior + self._log_likelihood(residual, rows) - volume

    def _log_likelihood(self, residual: Tensor, rows: Tensor) -> Tensor:
        gaussian = residual.double().square().sum(-1) / -2
        if self.law is None:
            return gaussian
        y, precision = self.y[self.owner[rows]], self._precision(rows)
        counted = precision > 0
        predicted = y + residual / torch.where(counted, precision, 1.0).to(residual.dtype)
        density = self.law.log_density(y, predicted)
        if density is None:
            return gaussian
        return torch.where(counted, density, 0.0).sum(-1)

    def _residual(self, z: Tensor, rows: Tensor) -> Tensor:
        drawn = self.frame.project(self.data_residual(z, rows), z, self.mode[rows])
        return drawn - self.perturbation[rows]

    def _normal_equations(self, z: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        residual, jacobian = self.whitened(z, rows)
        mode = self.mode[rows]
        gap = self.frame.project(residual, z, mode) - self.perturbation[rows]
        slope = self.frame.slope(jacobian, mode)
        gradient = (slope.mT @ gap.unsqueeze(-1)).squeeze(-1)
        return gap.square().sum(-1) / 2, gradient, slope.mT @ slope


def _eye(u: Tensor) -> Tensor:
    return torch.eye(u.shape[1], dtype=torch.float64, device=u.device)

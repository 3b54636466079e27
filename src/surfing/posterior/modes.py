"""Where the posterior has its mass: local maxima, each with Laplace's estimate of its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.descent.minimise import minimise
from surfing.descent.stopping import Stopping
from surfing.posterior.risks import Frame, PosteriorRisk
from surfing.problem.matrices import product

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.descent.base import AbstractDescent

__all__ = ["Ends", "Modes", "descend", "kept_modes", "modes_at", "on_grid"]

_STEPS = 40
_TIGHT = Stopping(xtol=1e-6, ftol=1e-9)
_SAME = 0.5
"""Standard deviations within which two ends are one mode."""
_LEAST_SHARE = 1e-3
"""By Laplace's estimate; a mode with less is left out."""
_MOST = 8
"""Modes of one target."""


@dataclass(frozen=True)
class Ends:
    """Where descents from several starts of each target ended."""

    u: Float[Tensor, "targets n k"]
    value: Float[Tensor, "targets n"]
    """-log posterior, up to a constant; infinite where there is no end."""
    status: Int[Tensor, "targets n"]

    def beside(self, other: Ends, targets: Int[Tensor, " t"]) -> Ends:
        """With the ends of some targets' further starts."""
        shape = (len(self.u), other.u.shape[1])
        u = self.u.new_zeros(*shape, self.u.shape[2])
        value, status = self.value.new_full(shape, torch.inf), self.status.new_zeros(shape)
        u[targets], value[targets], status[targets] = other.u, other.value, other.status
        joined = (torch.cat(pair, 1) for pair in zip(self._parts(), (u, value, status)))
        return Ends(*joined)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.u, self.value, self.status

    @property
    def best(self) -> Int[Tensor, " targets"]:
        """The lowest of each target."""
        return self.value.argmin(1)


@dataclass(frozen=True)
class Modes:
    """Modes of all targets, in order of the targets, the likeliest first."""

    owner: Int[Tensor, " modes"]
    u: Float[Tensor, "modes k"]
    hessian: Float[Tensor, "modes k k"]
    """J'J + I."""
    misfit: Float[Tensor, " modes"]
    """||r||^2."""
    log_mass: Float[Tensor, " modes"]
    """Laplace's, up to a constant of the target."""
    frame: Frame

    def __len__(self) -> int:
        return len(self.owner)

    def distances(
        self, u: Float[Tensor, "r k"], owner: Int[Tensor, " r"], targets: int
    ) -> Float[Tensor, "r n"]:
        """Of points to all modes of their target, squared, in standard deviations of the mode.

        Infinite where a target has fewer.
        """
        table = self.table(targets)
        out = u.new_full((len(u), table.shape[1]), torch.inf)
        for number in range(table.shape[1]):
            mode = table[owner, number]
            there = (mode >= 0).nonzero().flatten()
            gap = u[there] - self.u[mode[there]]
            out[there, number] = (gap * product(self.hessian[mode[there]], gap)).sum(-1)
        return out

    def laplace(self, mode: Int[Tensor, " r"], noise: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
        """mode + L^-T e: draws of the normal law with the mode's curvature."""
        turned: Tensor = self.frame.inverse.mT[mode] @ noise.unsqueeze(-1)
        return self.u[mode] + turned.squeeze(-1)

    def ordered(self) -> Modes:
        """The likeliest of each target first, whichever start found it."""
        order = self.log_mass.argsort(descending=True, stable=True)
        order = order[self.owner[order].argsort(stable=True)]
        frame = Frame(
            *(part[order] for part in (self.frame.u, self.frame.basis, self.frame.inverse))
        )
        return Modes(
            self.owner[order],
            self.u[order],
            self.hessian[order],
            self.misfit[order],
            self.log_mass[order],
            frame,
        )

    def table(self, targets: int) -> Int[Tensor, "targets n"]:
        """The modes of each target, -1 where it has no more."""
        counts = torch.bincount(self.owner, minlength=targets)
        first = counts.cumsum(0) - counts
        rank = torch.arange(len(self), device=self.owner.device) - first[self.owner]
        most = int(counts.max()) if len(self) else 0
        table = self.owner.new_full((targets, max(1, most)), -1)
        table[self.owner, rank] = torch.arange(len(self), device=self.owner.device)
        return table


def descend(
    risk: PosteriorRisk,
    u: Float[Tensor, "targets n k"],
    descent: AbstractDescent[Any],
    *,
    allowance: Float[Tensor, " rows"] | None = None,
) -> tuple[Ends, Float[Tensor, "targets n k k"] | None]:
    """Descend -log posterior from some starts of each target.

    Args:
        risk: whose rows are the starts of the targets in turn.
        u: the starts.
        descent: the way down.
        allowance: what each row may spend.

    Returns:
        The ends, and J'J + I near them where the descent knows it.
    """
    end = minimise(
        risk,
        u.flatten(0, 1),
        descent,
        max_steps=_STEPS,
        stopping=_TIGHT,
        allowance=allowance,
    )
    shape = u.shape[:2]
    hessian = end.curvature
    if hessian is not None:
        hessian = hessian.reshape(*shape, *hessian.shape[1:])
    value = end.value.nan_to_num(nan=torch.inf).reshape(shape)
    return Ends(end.z.reshape(u.shape), value, end.status.reshape(shape)), hessian


def kept_modes(ends: Ends, hessian: Float[Tensor, "targets n k k"]) -> Bool[Tensor, "targets n"]:
    """Which ends are modes of their own with a share of the mass that counts.

    Args:
        ends: of all starts.
        hessian: J'J + I near them.
    """
    volume = torch.linalg.slogdet(hessian.nan_to_num(nan=0.0)).logabsdet
    mass = torch.where(torch.isfinite(ends.value), -ends.value - volume / 2, -torch.inf)
    mass = mass.nan_to_num(nan=-torch.inf, posinf=-torch.inf)
    order = ends.value.argsort(dim=1, stable=True)
    kept = torch.zeros_like(mass, dtype=torch.bool)
    targets = torch.arange(len(mass), device=mass.device)
    for number in range(order.shape[1]):
        at = order[:, number]
        fresh = torch.isfinite(mass[targets, at])
        for before in range(number):
            other = order[:, before]
            gap = ends.u[targets, at] - ends.u[targets, other]
            # In the standard deviations of the narrower of the two.
            for near in (at, other):
                square = (gap * product(hessian[targets, near], gap)).sum(-1)
                fresh &= ~(kept[targets, other] & (square < _SAME**2))
        kept[targets, at] = fresh
    mass = torch.where(kept, mass, -torch.inf)
    share = torch.softmax(mass, 1).nan_to_num(nan=0.0)
    share = torch.where(share >= _LEAST_SHARE, share, 0.0)
    rank = share.argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True)
    return (share > 0) & (rank < _MOST)


def on_grid(
    u: Float[Tensor, "modes k"], hessian: Float[Tensor, "modes k k"]
) -> Float[Tensor, "modes k"]:
    """Points of a grid that is finer than a fiftieth of the least standard deviation.

    A minimum of a ReLU network often lies on the edge of linear regions, where rounding decides
    which of their Jacobians is seen. A grid is off the edges, and always on the same side.
    """
    least = hessian.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=1.0).rsqrt()
    # Powers of 16, so that a Hessian from the other side of an edge seldom gives another grid.
    step = torch.exp2(4 * torch.floor(torch.log2(0.02 * least) / 4))[:, None]
    return (u / step).round() * step


def modes_at(risk: PosteriorRisk, u: Float[Tensor, "modes k"]) -> Modes:
    """Modes at these points, one for each row of the risk: a Jacobian each. In order."""
    rows = torch.arange(len(u), device=u.device)
    k, m = u.shape[1], risk.y.shape[1]
    basis = u.new_empty(len(u), m, k, dtype=risk.dtype)
    misfit, hessian = u.new_empty(len(u)), u.new_empty(len(u), k, k)
    inverse = torch.empty_like(hessian)
    eye = torch.eye(k, dtype=u.dtype, device=u.device)

    def framed(at: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        residual, jacobian = risk.whitened(at, index)
        wide = jacobian.double()
        curvature = wide.mT @ wide + eye
        lower = torch.linalg.cholesky(curvature)
        inverted = torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False)
        return (
            (wide @ inverted.mT).to(risk.dtype),
            residual.double().square().sum(-1),
            curvature,
            inverted,
        )

    risk.forward.fill((basis, misfit, hessian, inverse), framed, u, rows, passes=k)
    risk.meter.add(rows, 1 + risk.forward.tangent_passes(k, m))
    value = (misfit + u.square().sum(-1)) / 2
    log_mass = -value + inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Modes(risk.owner, u, hessian, misfit, log_mass, Frame(u, basis, inverse)).ordered()

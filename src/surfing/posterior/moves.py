"""Where few draws carry the weight, or modes share it: draws move on, each by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from surfing.problem.risk import CostMeter

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.posterior.modes import Modes
    from surfing.posterior.risks import PosteriorRisk
    from surfing.posterior.search import Posterior

__all__ = ["Moved", "moved", "numbers_for", "resampled"]

_MOVES = 4
_JUMPS = 4
"""Before each Hamiltonian move."""
_LEAPS = 4
_STEP = 0.6
"""First leapfrog step, in standard deviations of the mode."""
_JITTER = 0.2
_LOW, _HIGH = 0.65, 0.9
"""Acceptance below and above which a target's step is shortened and lengthened."""
_BYTES = 64 * 2**20


class Moved(NamedTuple):
    """Draws after their moves, all of the same weight."""

    u: Float[Tensor, "targets draws k"]
    size: Float[Tensor, " targets"]
    """Effective sample size."""
    spent: Float[Tensor, " targets"]


def numbers_for(k: int) -> int:
    """Standard normal numbers that all moves of one draw take."""
    return _MOVES * (k + 3 + 3 * _JUMPS)


def resampled(
    weights: Float[Tensor, "targets draws"], offset: Float[Tensor, " targets"]
) -> Int[Tensor, "targets draws"]:
    """Each draw as often as it weighs, within one.

    Args:
        weights: sum to one.
        offset: uniform on (0, 1).

    Source: Kitagawa, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space
    models" (1996), systematic resampling.
    """
    draws = weights.shape[1]
    edges = weights.cumsum(1)
    edges = edges / edges[:, -1:]
    points = (torch.arange(draws, device=weights.device) + offset[:, None]) / draws
    return torch.searchsorted(edges, points).clamp(max=draws - 1)


def moved(
    posterior: Posterior,
    modes: Modes,
    u: Float[Tensor, "targets draws k"],
    table: Int[Tensor, "targets n"],
    size: Float[Tensor, " targets"],
    noise: Float[Tensor, "targets draws n"],
) -> Moved:
    """Moves that leave the posterior as it is: jumps between modes, and Hamiltonian ones.

    A draw's mode is drawn by Laplace's mixture at the place where it is. A jump takes the draw to
    the same place of another mode, in the standard deviations of each; a Hamiltonian move has the
    metric of its mode. Both are accepted by Metropolis and Hastings.

    Copies of one draw part from each other. With rho the correlation of a coordinate before and
    after, draws that were worth n are worth draws / (1 + rho^2 (draws / n - 1)).

    Args:
        posterior: of these targets.
        modes: of all targets.
        u: draws, resampled.
        table: the modes of each of these targets, -1 where it has no more.
        size: what the draws were worth before.
        noise: standard normal, :func:`numbers_for` of them for each draw.

    Source: Gilks and Berzuini, "Following a moving target: Monte Carlo inference for dynamic
    Bayesian models" (2001); Neal, "MCMC using Hamiltonian dynamics" (2011); Tjelmeland and Hegstad,
    "Mode jumping proposals in MCMC" (2001).
    """
    targets, draws, k = u.shape
    together = max(1, _BYTES // (8 * draws * (3 * k * k + 12 * k)))
    end, spent = torch.empty_like(u), torch.zeros_like(size)
    for low in range(0, targets, together):
        part = slice(low, low + together)
        rows = torch.arange(low, low + len(u[part]), device=u.device).repeat_interleave(draws)
        meter = CostMeter(len(rows), u.device)
        mover = _Mover(posterior.risk(rows, meter), modes, table[rows], draws)
        end[part] = mover.run(u[part].flatten(0, 1), noise[part].flatten(0, 1)).reshape_as(u[part])
        spent[part] = meter.spent.reshape(-1, draws).sum(1)
    return Moved(end, _worth(u, end, size), spent)


@dataclass(frozen=True)
class _Mover:
    """Rows of some targets on their way.

    Args:
        risk: -log posterior of the rows.
        modes: of all targets.
        table: the modes of each row's target.
        draws: rows of each target, side by side.
    """

    risk: PosteriorRisk
    modes: Modes
    table: Int[Tensor, "rows n"]
    draws: int

    def run(self, u: Float[Tensor, "rows k"], noise: Float[Tensor, "rows n"]) -> Tensor:
        """Where each row is in the end."""
        k, rows = u.shape[1], torch.arange(len(u), device=u.device)
        value, slope = self.risk.gradient(u, rows)
        step = u.new_full((len(u) // self.draws,), _STEP)
        size = k + 3 + 3 * _JUMPS
        for number in range(_MOVES):
            part = noise[:, number * size : (number + 1) * size]
            chance = torch.special.ndtr(part[:, k:])
            u, value, gone = self._jumped(u, value, chance[:, 3:])
            if len(gone):
                _, slope[gone] = self.risk.gradient(u[gone], gone)
            u, value, slope, rate = self._driven(
                u, value, slope, part[:, :k], step=step, chance=chance[:, :3]
            )
            step = torch.where(rate < _LOW, step * 0.6, torch.where(rate > _HIGH, step * 1.3, step))
        return u

    def _mixture(self, u: Float[Tensor, "rows k"], rows: Tensor) -> Float[Tensor, "rows n"]:
        """log of Laplace's share of each mode at u."""
        table, frame = self.table[rows], self.modes.frame
        out = u.new_full(table.shape, -torch.inf)
        for number in range(table.shape[1]):
            there = (table[:, number] >= 0).nonzero().flatten()
            mode = table[there, number]
            gap = _times(self.modes.hessian[mode], u[there] - self.modes.u[mode])
            square = (gap * (u[there] - self.modes.u[mode])).sum(1)
            volume = frame.inverse[mode].diagonal(dim1=-2, dim2=-1).log().sum(1)
            out[there, number] = self.modes.log_mass[mode] - volume - square / 2
        return torch.log_softmax(out, 1)

    def _jumped(self, u: Tensor, value: Tensor, chance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """To the same place of other modes; and which rows went."""
        before, several = u, (self.table >= 0).sum(1)
        rows = (several > 1).nonzero().flatten()
        if len(rows) == 0:
            return u, value, rows
        u, value = u.clone(), value.clone()
        share, count = self._mixture(u[rows], rows), several[rows]
        frame = self.modes.frame
        for jump in range(_JUMPS):
            first, second, third = chance[rows, 3 * jump : 3 * jump + 3].T
            own = _picked(share, first)
            # One of the others, each as likely.
            other = (own + 1 + (second * (count - 1)).long().clamp(max=count - 2)) % count
            a, b = (self.table[rows].gather(1, n[:, None]).squeeze(1) for n in (own, other))
            place = _times(_lower(self.modes, a).mT, u[rows] - self.modes.u[a])
            trial = self.modes.u[b] + _times(frame.inverse[b].mT, place)
            risk = self.risk.value(trial, rows)
            new = self._mixture(trial, rows)
            volume = [frame.inverse[m].diagonal(dim1=-2, dim2=-1).log().sum(1) for m in (a, b)]
            odds = value[rows] - risk + volume[1] - volume[0]
            odds = odds + new.gather(1, other[:, None]).squeeze(1)
            odds = odds - share.gather(1, own[:, None]).squeeze(1)
            take = third.log() < odds.nan_to_num(nan=-torch.inf)
            u[rows[take]], value[rows[take]] = trial[take], risk[take]
            share = torch.where(take[:, None], new, share)
        return u, value, (u != before).any(1).nonzero().flatten()

    def _driven(
        self,
        u: Tensor,
        value: Tensor,
        slope: Tensor,
        momentum: Tensor,
        *,
        step: Tensor,
        chance: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A Hamiltonian move; and how likely each target's rows were to take theirs."""
        rows = torch.arange(len(u), device=u.device)
        share = self._mixture(u, rows)
        own = _picked(share, chance[:, 2])
        mode = self.table.gather(1, own[:, None]).squeeze(1)
        inverse = self.modes.frame.inverse[mode]  # u = L^-T w has the mode's covariance
        length = step.repeat_interleave(self.draws) * (1 + _JITTER * (2 * chance[:, 1] - 1))
        p, z, g, energy = momentum, u, slope, value
        for leap in range(_LEAPS + 1):
            half = 0.5 if leap in (0, _LEAPS) else 1.0
            p = p - half * length[:, None] * _times(inverse, g)
            if leap < _LEAPS:
                z = z + length[:, None] * _times(inverse.mT, p)
                energy, g = self.risk.gradient(z, rows)
        odds = value - energy + (momentum.square().sum(1) - p.square().sum(1)) / 2
        new = self._mixture(z, rows)
        odds = odds + (new - share).gather(1, own[:, None]).squeeze(1)
        odds = odds.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
        take = chance[:, 0] < odds
        return (
            torch.where(take[:, None], z, u),
            torch.where(take, energy, value),
            torch.where(take[:, None], g, slope),
            odds.reshape(-1, self.draws).mean(1),
        )


def _picked(log_share: Float[Tensor, "r n"], chance: Float[Tensor, " r"]) -> Int[Tensor, " r"]:
    """A mode by its share."""
    edges = log_share.exp().cumsum(1)
    picked = (chance[:, None] * edges[:, -1:] >= edges).sum(1)
    there = (log_share > -torch.inf).sum(1) - 1
    return torch.minimum(picked, there)


def _lower(modes: Modes, mode: Int[Tensor, " r"]) -> Float[Tensor, "r k k"]:
    """L of J'J + I = L L'."""
    lower: Tensor = torch.linalg.cholesky(modes.hessian[mode])
    return lower


def _worth(
    before: Float[Tensor, "t d k"], after: Float[Tensor, "t d k"], size: Float[Tensor, " t"]
) -> Float[Tensor, " t"]:
    """Of the coordinate that has moved least."""
    a, b = (x - x.mean(1, keepdim=True) for x in (before, after))
    norm = (a.square().sum(1) * b.square().sum(1)).sqrt().clamp(min=1e-300)
    square = ((a * b).sum(1) / norm).square().amax(1).clamp(max=1)
    draws = before.shape[1]
    return draws / (1 + square * (draws / size.clamp(min=1) - 1))


def _times(matrix: Tensor, v: Tensor) -> Tensor:
    return (matrix @ v.unsqueeze(-1)).squeeze(-1)

"""Where few draws carry the weight: take these, and let each move on by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from surfing.problem.risk import CostMeter

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.posterior.modes import Modes
    from surfing.posterior.search import Posterior

__all__ = ["MOVES", "Moved", "moved", "numbers_of_a_move", "resampled"]

MOVES = 4
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


def numbers_of_a_move(k: int) -> int:
    """Standard normal numbers that one move of one draw takes."""
    return k + 2


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
    mode: Int[Tensor, "targets draws"],
    size: Float[Tensor, " targets"],
    noise: Float[Tensor, "targets draws n"],
) -> Moved:
    """Hamiltonian moves that leave the posterior as it is, in the metric of each draw's mode.

    Copies of one draw part from each other. With rho the correlation of a coordinate before and
    after, draws that were worth n are worth draws / (1 + rho^2 (draws / n - 1)).

    Args:
        posterior: of these targets.
        modes: of all targets.
        u: draws, resampled.
        mode: whose metric each takes.
        size: what the draws were worth before.
        noise: standard normal, MOVES times :func:`numbers_of_a_move` for each draw.

    Source: Gilks and Berzuini, "Following a moving target: Monte Carlo inference for dynamic
    Bayesian models" (2001); Neal, "MCMC using Hamiltonian dynamics" (2011).
    """
    targets, draws, k = u.shape
    together = max(1, _BYTES // (8 * draws * (2 * k * k + 12 * k)))
    end, spent = torch.empty_like(u), torch.zeros_like(size)
    for low in range(0, targets, together):
        part = slice(low, low + together)
        end[part], spent[part] = _moved(posterior, modes, u[part], mode[part], noise[part], low)
    return Moved(end, _worth(u, end, size), spent)


def _moved(
    posterior: Posterior, modes: Modes, u: Tensor, mode: Tensor, noise: Tensor, first: int
) -> tuple[Tensor, Tensor]:
    targets, draws, k = u.shape
    owner = torch.arange(first, first + targets, device=u.device).repeat_interleave(draws)
    rows = torch.arange(len(owner), device=u.device)
    meter = CostMeter(len(owner), u.device)
    risk = posterior.risk(owner, meter)
    inverse = modes.frame.inverse[mode.flatten()]  # L^-1: u = L^-T w has the mode's covariance
    at = u.flatten(0, 1)
    value, slope = risk.gradient(at, rows)
    step = u.new_full((targets,), _STEP)
    for number in range(MOVES):
        mine = noise[:, :, number * (k + 2) : (number + 1) * (k + 2)].flatten(0, 1)
        chance = torch.special.ndtr(mine[:, k:])
        length = step.repeat_interleave(draws) * (1 + _JITTER * (2 * chance[:, 1] - 1))
        momentum = mine[:, :k]
        p, z, g = momentum, at, slope
        for leap in range(_LEAPS + 1):
            half = 0.5 if leap in (0, _LEAPS) else 1.0
            p = p - half * length[:, None] * _times(inverse, g)
            if leap < _LEAPS:
                z = z + length[:, None] * _times(inverse.mT, p)
                energy, g = risk.gradient(z, rows)
        change = value - energy + (momentum.square().sum(1) - p.square().sum(1)) / 2
        odds = change.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
        take = chance[:, 0] < odds
        at = torch.where(take[:, None], z, at)
        value, slope = torch.where(take, energy, value), torch.where(take[:, None], g, slope)
        rate = odds.reshape(targets, draws).mean(1)
        step = torch.where(rate < _LOW, step * 0.6, torch.where(rate > _HIGH, step * 1.3, step))
    return at.reshape(u.shape), meter.spent.reshape(targets, draws).sum(1)


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

"""Hamiltonian Monte Carlo on the same posterior, all chains of all targets in one batch.

What a user would otherwise run, in the engine of `surfing.sample` so that neither side pays for a
language: normal coordinates, which whiten the prior; step sizes by dual averaging towards .8
acceptance and the scales of the coordinates from the warm-up's second half, for each chain
(Hoffman and Gelman 2014; Neal 2011). A step costs a forward and a reverse pass.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

import surfing
from surfing.posterior.search import Posterior
from surfing.problem.risk import CostMeter

__all__ = ["Chains", "effective_sizes", "hamiltonian"]

_TARGET, _GAMMA, _T0, _KAPPA = 0.8, 0.05, 10.0, 0.75


@dataclass(frozen=True)
class Chains:
    """What the chains went through after their warm-up."""

    z: Tensor
    """(targets, chains, iterations, k)."""
    acceptance: float
    cost: float
    """Forward-equivalents for each target."""
    seconds: float


@dataclass
class _Averaging:
    """Dual averaging of log step sizes."""

    log_step: Tensor
    centre: Tensor
    gap: Tensor
    mean: Tensor
    count: int = 0

    @classmethod
    def begin(cls, step: Tensor) -> _Averaging:
        return cls(step.log(), (10 * step).log(), torch.zeros_like(step), step.log())

    def update(self, acceptance: Tensor) -> None:
        self.count += 1
        t = self.count
        share = 1 / (t + _T0)
        self.gap = (1 - share) * self.gap + share * (_TARGET - acceptance)
        self.log_step = self.centre - math.sqrt(t) / _GAMMA * self.gap
        weight = t**-_KAPPA
        self.mean = weight * self.log_step + (1 - weight) * self.mean


def hamiltonian(
    model: surfing.ForwardModel,
    y: Tensor,
    noise: float,
    *,
    chains: int = 4,
    warmup: int = 300,
    iterations: int = 300,
    leaps: int = 8,
    start: Tensor | None = None,
    seed: int = 0,
) -> Chains:
    """Run chains of every target.

    Args:
        model: forward model.
        y: measurements.
        noise: standard deviation.
        chains: of each target, begun at draws of the law, or at `start`.
        warmup: iterations that are thrown away.
        iterations: that are kept.
        leaps: leapfrog steps of an iteration, three quarters to five quarters of it by chance.
        start: (targets, chains, k) of latents.
        seed: of everything random.
    """
    began = time.perf_counter()
    posterior = Posterior.of(model.problem(y, noise=noise, prior="law"), model.last)
    owner = torch.arange(len(y)).repeat_interleave(chains)
    rows = torch.arange(len(owner))
    meter = CostMeter(len(owner))
    risk = posterior.risk(owner, meter)
    stream = torch.Generator().manual_seed(seed)
    if start is None:
        start = model.latent.sample(range(len(y)), chains, seed=seed + 1)
    u = posterior.whitening.u(start.flatten(0, 1), owner)
    scale = torch.ones_like(u)
    averaging = _Averaging.begin(torch.full((len(u),), 0.05, dtype=torch.float64))
    value, slope = risk.gradient(u, rows)
    kept, seen, accepted = [], [], []
    for number in range(warmup + iterations):
        warm = number < warmup
        step = (averaging.log_step if warm else averaging.mean).exp()[:, None] * scale
        momentum = torch.randn(u.shape, generator=stream, dtype=u.dtype)
        energy = value + momentum.square().sum(1) / 2
        at, p, f, g = u, momentum, value, slope
        count = int(torch.randint(max(1, 3 * leaps // 4), 5 * leaps // 4 + 1, (), generator=stream))
        p = p - step * g / 2
        for leap in range(count):
            at = at + step * p
            f, g = risk.gradient(at, rows)
            p = p - step * g * (1.0 if leap < count - 1 else 0.5)
        change = energy - f - p.square().sum(1) / 2
        chance = change.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
        take = torch.rand(len(u), generator=stream, dtype=torch.float64) < chance
        u = torch.where(take[:, None], at, u)
        value, slope = torch.where(take, f, value), torch.where(take[:, None], g, slope)
        if not warm:
            kept.append(u)
            accepted.append(float(chance.mean()))
            continue
        averaging.update(chance)
        if number >= warmup // 4:
            seen.append(u)
        if number == 3 * warmup // 4:
            scale = torch.stack(seen).std(0).clamp(min=1e-3)
            scale = scale / scale.amax(1, keepdim=True)
            averaging = _Averaging.begin(averaging.mean.exp())
    whole = torch.stack(kept, 1)
    z = posterior.whitening.z(whole.flatten(0, 1), owner.repeat_interleave(len(kept)))
    return Chains(
        z.reshape(len(y), chains, len(kept), -1),
        sum(accepted) / len(accepted),
        float(meter.spent.sum()) / len(y),
        time.perf_counter() - began,
    )


def effective_sizes(z: Tensor) -> tuple[Tensor, Tensor]:
    """Effective sample size and split R-hat of each target, of its worst coordinate.

    Args:
        z: (targets, chains, iterations, k).

    Source: Gelman et al., "Bayesian data analysis" (2013), 11.4 and 11.5, with Geyer's initial
    positive sequence.
    """
    half = z.shape[2] // 2
    split = torch.cat([z[:, :, :half], z[:, :, half : 2 * half]], 1).double()
    chains = split.shape[1]
    mean = split.mean(2, keepdim=True)
    within = split.var(2).mean(1)
    between = half * mean.squeeze(2).var(1)
    total = (half - 1) / half * within + between / half
    size = 1 << (2 * half - 1).bit_length()
    spectrum = torch.fft.rfft((split - mean).transpose(2, 3), n=size)
    auto = torch.fft.irfft(spectrum.abs().square(), n=size)[..., :half] / half
    rho = 1 - (within.unsqueeze(-1) - auto.mean(1)) / total.clamp(min=1e-300).unsqueeze(-1)
    rho[..., 0] = 1
    pairs = rho[..., : half // 2 * 2].unflatten(-1, (-1, 2)).sum(-1)
    positive = (pairs > 0).long().cumprod(-1)
    sums = (pairs * positive).cummin(-1).values.clamp(min=0) * positive
    tau = (2 * sums.sum(-1) - 1).clamp(min=1 / math.log10(max(10, chains * half)))
    ess = (chains * half / tau).amin(-1)
    return ess, (total / within.clamp(min=1e-300)).sqrt().amax(-1)

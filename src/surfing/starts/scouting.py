"""Where to start: cheap forwards look for good starts before expensive tangents are spent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.problem.matrices import squared_norms

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.generator import State
    from surfing.problem.forward import ForwardMap
    from surfing.problem.inputs import RowInputs
    from surfing.problem.problem import Problem
    from surfing.problem.risk import CostMeter

__all__ = ["Scouted", "Scouting", "derived_seed"]

_SHARED = 1 << 41
"""The identity whose stream all targets' first draws come from; far from any target's own."""
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Scouted:
    """The best starts found for each target, the lowest risk first."""

    z: Float[Tensor, "targets rows k"]
    risk: Float[Tensor, "targets rows"]
    """1/2 ||A G(z) - y||^2, float64."""
    typical: Float[Tensor, " targets"]
    """Median risk of latents drawn from the law: the scale that penalties are measured in."""


@dataclass(frozen=True)
class Scouting:
    """Draw latents from their law, keep the best, and let them have children.

    A Levenberg-Marquardt step costs k + 2 forwards, and where the surface is wavy most starts lead
    nowhere. Looking at some tens of latents first, at one forward each, moves a start into the
    right basin far more often than the steps that those forwards would pay for.

    A child keeps the law (for a normal one exactly): z' = mean + sqrt(1 - s^2) (z - mean) + s xi,
    xi a centred draw. All targets share the first draws, but each is charged for them as if it
    were alone.

    Args:
        draws: from the law, for every target.
        generations: of children.
        children: in each generation, for every target.
        elites: parents in each generation.
        spread: s, in (0, 1]; falls by a fifth from generation to generation.

    >>> Scouting(draws=64, generations=1, children=32).cost
    96
    """

    draws: int = 64
    generations: int = 1
    children: int = 32
    elites: int = 4
    spread: float = 0.7

    def __post_init__(self) -> None:
        least = {"draws": 1, "generations": 0, "children": 1, "elites": 1}
        for name, low in least.items():
            check.integer(name, getattr(self, name), low=low)
        check.number("spread", self.spread, low=0, high=1, open_low=True)

    @property
    def cost(self) -> int:
        """Forward-equivalents per target."""
        return self.draws + self.generations * self.children

    def scout(
        self,
        problem: Problem,
        state: State,
        targets: Int[Tensor, " t"],
        *,
        rows: int,
        ids: Sequence[int],
        seed: int,
        meter: CostMeter,
    ) -> Scouted:
        """Look for starts.

        Args:
            problem: whose measurements are to be met.
            state: theta of the network that is looked at.
            targets: which of the problem's.
            rows: starts to keep for each; no more than there are draws.
            ids: of all the problem's targets, for their random numbers.
            seed: of the draws.
            meter: by target.
        """
        law, forward = problem.latent, problem.architecture.at(state)
        part = problem.data.take(targets)
        y, weights, inputs = part.y, part.weights, part.inputs
        drawn = law.sample([_SHARED], self.draws, seed=derived_seed(seed, "draws"))[0].to(y)
        if inputs is None:
            measured = _measure(forward, drawn, y.shape[1], None)[None]
        else:  # what is measured of a latent differs from target to target
            each = drawn.repeat(len(y), 1)
            measured = _measure(forward, each, y.shape[1], inputs.repeated(self.draws))
            measured = measured.reshape(len(y), self.draws, -1)
        risk = _distances(measured, y, weights)
        meter.add(targets, self.draws)
        typical = risk.median(1).values
        keep = min(max(self.elites, rows), self.draws)
        risk, best = risk.topk(keep, largest=False)
        z, spread = drawn[best], self.spread
        mine = [ids[t] for t in targets.tolist()]
        for generation in range(self.generations):
            fresh = law.sample(mine, self.children, seed=derived_seed(seed, generation)).to(y)
            parents = z[:, torch.arange(self.children, device=y.device) % min(self.elites, keep)]
            born = law.mean + (1 - spread**2) ** 0.5 * (parents - law.mean)
            born = law.project((born + spread * (fresh - law.mean)).flatten(0, 1))
            shape = (len(targets), self.children, -1)
            beside = None if inputs is None else inputs.repeated(self.children)
            found = _distances(
                _measure(forward, born, y.shape[1], beside).reshape(shape), y, weights
            )
            meter.add(targets, self.children)
            both = torch.cat([risk, found], 1)
            risk, best = both.topk(keep, largest=False)
            z = _pick(torch.cat([z, born.reshape(shape)], 1), best)
            spread *= 0.8
        return Scouted(z[:, :rows], risk[:, :rows], typical)


def derived_seed(seed: int, *words: object) -> int:
    """A seed of its own for each purpose; the same on every machine.

    >>> derived_seed(0, "draws") == derived_seed(0, "draws") != derived_seed(1, "draws")
    True
    """
    text = "/".join(map(str, (seed, *words)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _measure(
    forward: ForwardMap, z: Float[Tensor, "rows k"], m: int, inputs: RowInputs | None
) -> Float[Tensor, "rows m"]:
    measured = z.new_empty(len(z), m)
    with torch.no_grad():
        forward.fill((measured,), lambda at, beside: (forward(at, beside),), *(z, inputs), passes=1)
    return measured


def _distances(
    measured: Float[Tensor, "targets_or_1 draws m"],
    y: Float[Tensor, "targets m"],
    weights: Float[Tensor, "targets_or_1 m"] | None,
) -> Float[Tensor, "targets draws"]:
    """1/2 ||measured - y||^2 in float64; infinite where it is not finite.

    Differences are formed one by one: a matrix product would be quicker, but its rounding depends
    on how many targets there are.
    """
    block = max(1, _BLOCK_BYTES // (8 * measured.shape[1] * max(1, measured.shape[2])))
    parts = [y.new_zeros(0, measured.shape[1], dtype=torch.float64)]
    for low in range(0, len(y), block):
        those = measured if len(measured) == 1 else measured[low : low + block]
        gap = those.double() - y[low : low + block, None].double()
        if weights is not None:
            few = weights if len(weights) == 1 else weights[low : low + block]
            gap = gap * few[:, None].double()
        parts.append(squared_norms(gap) / 2)
    return torch.cat(parts).nan_to_num(nan=torch.inf, posinf=torch.inf)


def _pick(z: Float[Tensor, "t n k"], index: Int[Tensor, "t r"]) -> Float[Tensor, "t r k"]:
    return z.gather(1, index.unsqueeze(-1).expand(-1, -1, z.shape[-1]))

"""Which attempts to make, and in which order: found out on targets whose latents are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.continuation.attempt import MENU, Attempt, Bench
from surfing.continuation.scouting import derived_seed
from surfing.errors import InputError
from surfing.problem.risk import CostMeter

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = ["Mix", "Pilot", "Trial", "affordable"]

_TRUTHS = 1 << 42
"""Identities of the pilot's latents; far from any target's own."""


@dataclass(frozen=True)
class Trial:
    """How one attempt did on the pilot's targets.

    Attributes:
        name: of the attempt.
        solved: goes that met the measurements, and how many there were.
        cost: mean forward-equivalents a go.
    """

    name: str
    solved: tuple[int, int]
    cost: float


@dataclass(frozen=True)
class Mix:
    """The order of attempts for one kind of problem. Its JSON form goes with the shards.

    Attributes:
        opening: names of the attempts to make first, one after the other.
        cycle: names to go through again and again when the opening is over.
        trials: what the choice rests on; empty where there was no pilot.
        cost: forward-equivalents that the pilot took in all.
    """

    opening: tuple[str, ...]
    cycle: tuple[str, ...]
    trials: tuple[Trial, ...] = ()
    cost: float = 0.0

    def __post_init__(self) -> None:
        known = {attempt.name for attempt in MENU}
        unknown = sorted({*self.opening, *self.cycle} - known)
        if unknown or not self.cycle:
            raise InputError(
                f"mix: expected a cycle of attempts from {', '.join(sorted(known))}; got "
                f"{unknown or 'none'}."
            )

    def attempt(self, number: int) -> Attempt:
        """The attempt to make as the given one, from 0 on."""
        if number < len(self.opening):
            name = self.opening[number]
        else:
            name = self.cycle[(number - len(self.opening)) % len(self.cycle)]
        return next(attempt for attempt in MENU if attempt.name == name)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        trials = [{"name": t.name, "solved": list(t.solved), "cost": t.cost} for t in self.trials]
        return {
            "opening": list(self.opening),
            "cycle": list(self.cycle),
            "trials": trials,
            "cost": self.cost,
        }

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Mix:
        """Read what :meth:`to_dict` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            trials = tuple(
                Trial(str(t["name"]), (int(t["solved"][0]), int(t["solved"][1])), float(t["cost"]))
                for t in described["trials"]
            )
            opening, cycle = tuple(described["opening"]), tuple(described["cycle"])
            return cls(opening, cycle, trials, float(described["cost"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"mix: expected what Mix.to_dict wrote, got {described!r:.80}.") from (
                error
            )


DEFAULT = Mix(("pair", "triple"), ("triple", "averaged ride", "field"))
"""What does well nearly everywhere; used where the caller wants no pilot."""


@dataclass(frozen=True)
class Pilot:
    """Try every attempt on signals that the generator made itself, and order them by what they do.

    Latents are drawn from the law and measured with the caller's operator and noise: the truth is
    free, and the caller's data are not looked at. The mix is the attempt to begin with and the
    one to go on with that together solve the most within the budget.

    Args:
        targets: latents to draw.
        goes: of each attempt at each of them.
    """

    targets: int = 48
    goes: int = 2

    def __post_init__(self) -> None:
        for name in ("targets", "goes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}: expected a positive integer, got {value!r}.")

    def choose(self, bench: Bench) -> Mix:
        """The mix for problems like the bench's.

        Args:
            bench: of the caller; its measurements are not used, nor is its meter charged.
        """
        budget, bench, menu = bench.budget, self._own(bench), affordable(bench)
        targets = torch.arange(self.targets, device=bench.meter.spent.device)
        met: dict[str, Tensor] = {}
        cost: dict[str, Tensor] = {}
        for attempt in menu:
            goes = [self._go(bench, attempt, targets, number) for number in range(self.goes)]
            met[attempt.name] = torch.stack([solved for solved, _ in goes])  # (goes, targets)
            cost[attempt.name] = torch.stack([spent for _, spent in goes])
        trials = tuple(
            Trial(name, (int(met[name].sum()), met[name].numel()), float(cost[name].mean()))
            for name in met
        )
        total = float(sum(spent.sum() for spent in cost.values()))
        first, then = _best_pair(met, cost, budget)
        cycle = dict.fromkeys((then, then, first, *_by_rate(trials)[:3]))
        return Mix((first, then), (then, *cycle), trials, total)

    def _own(self, bench: Bench) -> Bench:
        """A bench with targets of the pilot's own."""
        problem, ids = bench.problem, range(_TRUTHS, _TRUTHS + self.targets)
        seed = derived_seed(bench.seed, "pilot")
        device = problem.y.device
        z = problem.latent.sample(ids, 1, seed=seed)[:, 0].to(problem.y)
        with torch.no_grad():
            y = problem.architecture.at(bench.networks[1])(z)
        if bench.stopping.noise:
            noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed >> 1))
            y = y + bench.stopping.noise * noise.to(y)
        meter = CostMeter(self.targets, device)
        return replace(
            bench, problem=replace(problem, y=y), ids=ids, seed=seed, meter=meter, budget=torch.inf
        )

    def _go(
        self, bench: Bench, attempt: Attempt, targets: Tensor, number: int
    ) -> tuple[Bool[Tensor, " targets"], Float[Tensor, " targets"]]:
        before = bench.meter.spent.clone()
        found = attempt.launch(bench, targets, number=number)
        met = bench.stopping.met(found.misfit, bench.problem.y)
        return met, bench.meter.spent - before


def affordable(bench: Bench) -> Sequence[Attempt]:
    """The menu without the attempts whose windows are longer than the path."""
    known = set(bench.networks)
    return [a for a in MENU if all(heat.window in known for heat in a.heats)]


def _by_rate(trials: Sequence[Trial]) -> list[str]:
    """Names, the most solved for its cost first; half a success is lent to each."""
    ranked = sorted(trials, key=lambda t: -(t.solved[0] + 0.5) / (t.solved[1] * t.cost))
    return [trial.name for trial in ranked]


def _best_pair(
    met: Mapping[str, Tensor], cost: Mapping[str, Tensor], budget: float
) -> tuple[str, str]:
    """The attempt to begin with and the one to go on with.

    Only so few orders are compared because the pilot is small: among all orders of all attempts
    the best would be the luckiest. Each is played through on the pilot's goes, as often as they
    and the budget last; what counts is the share that is solved, then what it cost.
    """

    def worth(pair: tuple[str, str]) -> float:
        first, then = pair
        rest = 1 if first == then else 0  # its first go is the opening
        solved = torch.cat([met[first][:1], met[then][rest:]])  # (goes, targets)
        price = torch.cat([cost[first][:1], cost[then][rest:]])
        won = (solved & (price.cumsum(0) <= budget)).cummax(0).values
        tried = ~torch.cat([torch.zeros_like(won[:1]), won[:-1]])
        paid = (price * tried).sum(0).clamp(max=budget).mean() / budget
        # A quarter of the worth is thrift: what is not spent counts for something.
        return float(won[-1].double().mean() + (1 - paid) / 4)

    pairs = [(first, then) for first in met for then in met]
    return max(pairs, key=worth)

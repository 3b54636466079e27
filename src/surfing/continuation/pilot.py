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

__all__ = ["Mix", "Pilot", "Trial"]

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


DEFAULT = Mix(("pair", "pair", "annealed pair"), ("pair", "annealed pair", "field"))
"""What does well nearly everywhere; used where the caller wants no pilot."""


@dataclass(frozen=True)
class Pilot:
    """Try every attempt on signals that the generator made itself, and order them by what they do.

    Latents are drawn from the law and measured with the caller's operator and noise: the truth is
    free, and the caller's data are not looked at. The order is greedy: next comes the attempt
    that solves the most of what is still open, for what it costs.

    Args:
        targets: latents to draw.
        goes: of each attempt at each of them.
    """

    targets: int = 32
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
        budget, bench, menu = bench.budget, self._own(bench), _affordable(bench)
        solved: dict[str, Tensor] = {}
        cost: dict[str, Tensor] = {}
        targets = torch.arange(self.targets, device=bench.meter.spent.device)
        for attempt in menu:
            goes = [self._go(bench, attempt, targets, number) for number in range(self.goes)]
            cost[attempt.name] = torch.stack([spent for _, spent in goes])
            within = cost[attempt.name] <= budget
            solved[attempt.name] = torch.stack([met for met, _ in goes]) & within
        trials = tuple(
            Trial(name, (int(met.sum()), met.numel()), float(cost[name].mean()))
            for name, met in solved.items()
        )
        opening = _greedy(solved, cost)
        ranked = sorted(trials, key=lambda t: -(t.solved[0] + 0.5) / (t.cost * t.solved[1]))
        cycle = tuple(trial.name for trial in ranked[:3])
        total = float(sum(spent.sum() for spent in cost.values()))
        return Mix(opening, cycle, trials, total)

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


def _affordable(bench: Bench) -> Sequence[Attempt]:
    known = set(bench.networks)
    return [a for a in MENU if all(heat.window in known for heat in a.heats)]


def _greedy(solved: Mapping[str, Tensor], cost: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Attempts, each go used once, until no go solves anything that is still open."""
    goes = next(iter(solved.values())).shape[0]
    open_ = torch.ones_like(next(iter(solved.values()))[0])
    used = dict.fromkeys(solved, 0)
    order: list[str] = []
    while bool(open_.any()):
        gains = {
            name: float((met[used[name]] & open_).sum())
            / float(cost[name][used[name]][open_].sum())
            for name, met in solved.items()
            if used[name] < goes
        }
        name = max(gains, key=lambda n: gains[n], default="")
        if not name or gains[name] == 0:
            break
        open_ = open_ & ~solved[name][used[name]]
        used[name] += 1
        order.append(name)
    return tuple(order)

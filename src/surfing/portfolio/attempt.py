"""One go at the targets that are still open: scouts, then heats of descents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.continuation.scouting import Scouting, derived_seed
from surfing.descent.base import AbstractDescent
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.minimise import Minimum, minimise
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.problem.risk import CostMeter

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.generator import State
    from surfing.problem.problem import Problem

__all__ = ["MENU", "Attempt", "Bench", "Found", "Heat"]


@dataclass(frozen=True)
class Heat:
    """A few steps of the best rows of the heat before.

    Args:
        rows: how many go on, for every target.
        steps: of the descent.
        penalty: weight of the MAP penalty, as a multiple of the typical risk by latent dimension.
        window: the network is the average of so many of the last checkpoints; 1 is the last.
    """

    rows: int
    steps: int
    penalty: float = 0.0
    window: int = 1

    def __post_init__(self) -> None:
        for name in ("rows", "steps", "window"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}: expected a positive integer, got {value!r}.")
        if not 0 <= self.penalty < float("inf"):
            raise InputError(f"penalty: expected a finite number >= 0, got {self.penalty!r}.")


@dataclass(frozen=True)
class Bench:
    """What attempts work on.

    Args:
        problem: with its measurements.
        networks: theta by window; 1 is the last checkpoint.
        stopping: tolerances, and the noise level.
        ids: of the problem's targets, for their random numbers.
        seed: of everything random.
        meter: what each target has spent.
        budget: what each target may spend in all.
        descent: the corrector of every heat.
        seconds: wall time that a target may take in the mean.
    """

    problem: Problem
    networks: Mapping[int, State]
    stopping: Stopping
    ids: Sequence[int]
    seed: int
    meter: CostMeter
    budget: float
    descent: AbstractDescent[Any] = field(default_factory=LevenbergMarquardt)
    seconds: float = float("inf")

    @property
    def hurried(self) -> Stopping:
        """The tolerances of a heat: a row whose model promises next to nothing is given up.

        Near a solution the promise is nearly all of f, at a local minimum it is none; on a
        WGAN-GP with 20 measurements this saved a quarter of an attempt's cost and lost one
        success in fifty.
        """
        return replace(self.stopping, ftol=max(self.stopping.ftol, 1e-2))

    @property
    def remaining(self) -> Float[Tensor, " targets"]:
        """Forward-equivalents left to each target."""
        return self.budget - self.meter.spent


@dataclass(frozen=True)
class Found:
    """What an attempt came to, a line a target of it: the best row of its last heat."""

    z: Float[Tensor, "t k"]
    misfit: Float[Tensor, " t"]
    status: Int[Tensor, " t"]
    steps: Int[Tensor, " t"]
    curvature: Float[Tensor, "t k k"] | None


@dataclass(frozen=True)
class Attempt:
    """A plan: where to start, and what the heats are.

    A plain restart is one draw and one heat; an annealed restart is one draw and heats whose
    penalty falls to zero; a ride over averages is heats whose window falls to one.

    Args:
        name: for records.
        scouting: where the first heat starts.
        heats: in order; the last has neither penalty nor window.
    """

    name: str
    scouting: Scouting
    heats: tuple[Heat, ...]

    def __post_init__(self) -> None:
        if not self.heats or self.heats[-1].penalty or self.heats[-1].window != 1:
            raise InputError(
                f"{self.name}: expected heats of which the last has no penalty and window 1, got "
                f"{self.heats}."
            )

    def least(self, price: float) -> float:
        """Forward-equivalents without which it is not worth beginning.

        Args:
            price: of one step of the descent.
        """
        early = sum(heat.rows * (heat.steps + 1) for heat in self.heats[:-1])
        return self.scouting.cost + price * (early + 2 * self.heats[-1].rows)

    def launch(self, bench: Bench, targets: Int[Tensor, " t"], *, number: int) -> Found:
        """Go.

        Args:
            bench: what to work on.
            targets: which of the problem's.
            number: of this attempt, so that each has random numbers of its own.
        """
        first = self.heats[0]
        scouted = self.scouting.scout(
            bench.problem,
            bench.networks[first.window],
            targets,
            rows=first.rows,
            ids=bench.ids,
            seed=derived_seed(bench.seed, self.name, number),
            meter=bench.meter,
        )
        z, misfit, kept = scouted.z, scouted.risk, targets
        for heat in self.heats:
            order = misfit.argsort(dim=1, stable=True)[:, : heat.rows]
            z = z.gather(1, order.unsqueeze(-1).expand(-1, -1, z.shape[-1]))
            unit = scouted.typical / bench.problem.latent.dim
            minimum, misfit = _run(bench, heat, kept, z, unit * heat.penalty)
            z = minimum.z.reshape(z.shape)
        best = misfit.argmin(1)
        return _pick(minimum, misfit, best)


def _run(
    bench: Bench, heat: Heat, targets: Tensor, z: Tensor, reg: Tensor
) -> tuple[Minimum, Float[Tensor, "t rows"]]:
    """One heat; what it costs is charged to the targets."""
    rows = z.shape[1]
    owner = targets.repeat_interleave(rows)
    weights = reg.repeat_interleave(rows) if heat.penalty else None
    meter = CostMeter(len(owner), owner.device)
    risk = bench.problem.risk(bench.networks[heat.window], owner, reg=weights, meter=meter)
    minimum = minimise(
        risk,
        z.flatten(0, 1),
        bench.descent,
        max_steps=heat.steps,
        stopping=bench.hurried,
        allowance=(bench.remaining[targets] / rows).repeat_interleave(rows),
    )
    bench.meter.spent.index_add_(0, owner, meter.spent)
    bench.meter.depth += meter.depth
    misfit = minimum.value
    if weights is not None:
        misfit = misfit - weights * bench.problem.latent.penalty(minimum.z.double())
    misfit = misfit.nan_to_num(nan=torch.inf, posinf=torch.inf)
    return minimum, misfit.reshape(len(targets), rows)


def _pick(minimum: Minimum, misfit: Tensor, best: Tensor) -> Found:
    """The best row of each target."""
    index = torch.arange(len(best), device=best.device) * misfit.shape[1] + best
    curvature = minimum.curvature
    return Found(
        minimum.z[index],
        misfit.flatten()[index],
        minimum.status[index],
        minimum.steps[index],
        None if curvature is None else curvature[index],
    )


_ALONE = Scouting(draws=1, generations=0)

MENU = (
    Attempt("glance", Scouting(32, 0), (Heat(1, 30),)),
    Attempt("pair", Scouting(64, 1, 32, 4), (Heat(2, 2, 0.4), Heat(1, 30))),
    Attempt("triple", Scouting(96, 1, 48, 6), (Heat(3, 2, 0.3), Heat(1, 30))),
    Attempt(
        "annealed pair",
        Scouting(64, 1, 32, 4),
        (Heat(2, 2, 1.6), Heat(1, 2, 0.4), Heat(1, 2, 0.1), Heat(1, 30)),
    ),
    Attempt("field", Scouting(128, 2, 64, 8), (Heat(4, 2, 0.4), Heat(2, 3, 0.04), Heat(1, 30))),
    Attempt(
        "averaged ride",
        Scouting(64, 1, 32, 4),
        (Heat(2, 2, 0.4, window=5), Heat(1, 2, 0.1, window=2), Heat(1, 30)),
    ),
    Attempt(
        "annealed restart",
        _ALONE,
        (Heat(1, 2, 4.0), Heat(1, 2, 1.2), Heat(1, 2, 0.4), Heat(1, 2, 0.12), Heat(1, 30)),
    ),
    Attempt("restart", _ALONE, (Heat(1, 40),)),
)
"""What the pilot chooses from, from cheap to dear, then the rivals that need no scouts."""

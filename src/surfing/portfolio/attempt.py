"""One attempt at the targets that are still open: where to start, then rungs of descents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from surfing import check
from surfing.continuation.stage import run_stage
from surfing.descent.base import AbstractDescent
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.problem.risk import CostMeter
from surfing.starts.scouting import Scouted, Scouting, derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.generator import State
    from surfing.problem.problem import Problem

__all__ = ["ATTEMPTS", "DEFAULT", "GRADIENTS", "Attempt", "Found", "RunContext", "Rung", "Start"]


class Start(Protocol):
    """Where an attempt begins: anything with these members will do."""

    @property
    def cost(self) -> int:
        """Forward-equivalents for each target."""
        ...

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
        """Starts for some targets; see :meth:`surfing.Scouting.scout`."""
        ...


@dataclass(frozen=True)
class Rung:
    """A stage of an attempt: a few steps of the best rows of the rung before.

    Args:
        rows: how many go on, for every target.
        steps: of Levenberg-Marquardt; another descent takes more in proportion to its steps at a
            stage of a ride.
        penalty: weight of the MAP penalty, as a multiple of the typical risk by latent dimension.
        window: the network is the average of so many of the last checkpoints; 1 is the last.
    """

    rows: int
    steps: int
    penalty: float = 0.0
    window: int = 1

    def __post_init__(self) -> None:
        for name in ("rows", "steps", "window"):
            check.integer(name, getattr(self, name), low=1)
        check.number("penalty", self.penalty, low=0)


@dataclass(frozen=True)
class RunContext:
    """What attempts work on.

    Args:
        problem: with its measurements.
        networks: theta by window; 1 is the last checkpoint.
        stopping: tolerances.
        ids: of the problem's targets, for their random numbers.
        seed: of everything random.
        meter: what each target has spent.
        budget: what each target may spend in all.
        descent: the corrector of every rung.
        until: clock (`time.perf_counter`) after which nothing more is begun; None for no limit.
    """

    problem: Problem
    networks: Mapping[int, State]
    stopping: Stopping
    ids: Sequence[int]
    seed: int
    meter: CostMeter
    budget: float
    descent: AbstractDescent[Any]
    until: float | None = None

    @property
    def last(self) -> State:
        """Theta of the last checkpoint."""
        return self.networks[1]

    @property
    def hurried(self) -> Stopping:
        """The tolerances of a rung: a row whose model predicts next to nothing is given up.

        Near a solution the predicted decrease is nearly all of f, at a local minimum it is none; on
        a WGAN-GP with 20 measurements this saved a quarter of an attempt's cost and lost one
        success in fifty. With a penalty in the answer f does not fall to nothing, and nothing can
        be told.
        """
        if self.problem.has_prior or self.problem.loss is not None:
            return self.stopping
        return replace(self.stopping, ftol=max(self.stopping.ftol, 1e-2))

    @property
    def remaining(self) -> Float[Tensor, " targets"]:
        """Forward-equivalents left to each target."""
        return self.budget - self.meter.spent

    def descend(
        self,
        z: Float[Tensor, "t n k"],
        targets: Int[Tensor, " t"],
        *,
        steps: int,
        penalty: Float[Tensor, " t"] | None = None,
        window: int = 1,
        patient: bool = False,
    ) -> Found:
        """One stage of some rows of each target; what it costs is charged to the targets.

        Args:
            z: where the rows are.
            targets: whose they are.
            steps: of Levenberg-Marquardt, or as many more of another descent as it needs.
            penalty: weight of the MAP penalty by target.
            window: of the network.
            patient: give no row up early.
        """
        rows = z.shape[1]
        owner = targets.repeat_interleave(rows)
        reg = None if penalty is None else penalty.repeat_interleave(rows)
        local = CostMeter(len(owner), owner.device)
        result = run_stage(
            self.problem.risk(self.networks[window], owner, reg=reg, meter=local),
            z.flatten(0, 1),
            self.descent,
            stage=0.0,
            max_steps=round(steps * self.descent.stage_steps / LevenbergMarquardt.stage_steps),
            stopping=self.stopping if patient else self.hurried,
            rows=torch.arange(len(owner), device=owner.device),
            allowance=(self.remaining[targets] / rows).repeat_interleave(rows),
            until=self.until,
        )
        self.meter.spent.index_add_(0, owner, local.spent)
        self.meter.depth += local.depth
        end, shape = result.minimum, (len(targets), rows)
        misfit = result.misfit.nan_to_num(nan=torch.inf, posinf=torch.inf)
        objective = misfit
        if self.problem.prior is not None:
            own = self.problem.prior[owner] * self.problem.latent.penalty(end.z.double())
            objective = (misfit + own).nan_to_num(nan=torch.inf, posinf=torch.inf)
        curvature = end.curvature
        if curvature is not None:
            curvature = curvature.reshape(*shape, *curvature.shape[1:])
        return Found(
            end.z.reshape(z.shape),
            misfit.reshape(shape),
            objective.reshape(shape),
            end.status.reshape(shape),
            end.steps.reshape(shape),
            curvature,
        )


@dataclass(frozen=True)
class Found:
    """Where the rows of each target ended."""

    z: Float[Tensor, "t n k"]
    misfit: Float[Tensor, "t n"]
    objective: Float[Tensor, "t n"]
    """The misfit and the penalty that is kept in the answer: by this rows are compared."""
    status: Int[Tensor, "t n"]
    steps: Int[Tensor, "t n"]
    curvature: Float[Tensor, "t n k k"] | None

    def take(self, index: Int[Tensor, " i"]) -> Found:
        """Of some targets."""
        return self._each(lambda t: t[index])

    def beside(self, other: Found) -> Found:
        """The rows of both, target by target; curvatures are left out."""
        pairs = {n: torch.cat([t, getattr(other, n)], 1) for n, t in self._tensors().items()}
        return replace(self, **pairs, curvature=None)

    def replaced(self, index: Int[Tensor, " i"], other: Found) -> Found:
        """With the rows of some targets from another; curvatures are left out."""
        new = {n: t.index_copy(0, index, getattr(other, n)) for n, t in self._tensors().items()}
        return replace(self, **new, curvature=None)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Found:
        curvature = None if self.curvature is None else change(self.curvature)
        new = {n: change(t) for n, t in self._tensors().items()}
        return replace(self, **new, curvature=curvature)

    def _tensors(self) -> dict[str, Tensor]:
        return {n: getattr(self, n) for n in ("z", "misfit", "objective", "status", "steps")}

    def best(self) -> Found:
        """Of each target the best row alone."""
        pick = self.objective.argmin(1)
        rows = torch.arange(len(pick), device=pick.device)
        curvature = None if self.curvature is None else self.curvature[rows, pick][:, None]
        return Found(
            self.z[rows, pick][:, None],
            self.misfit[rows, pick][:, None],
            self.objective[rows, pick][:, None],
            self.status[rows, pick][:, None],
            self.steps[rows, pick][:, None],
            curvature,
        )


@dataclass(frozen=True)
class Attempt:
    """A plan: where to start, and what the rungs are. Pass some as `portfolio=` of `recover`.

    A plain restart is one draw and one rung; an annealed restart is one draw and rungs whose
    penalty falls to zero; a ride over averages is rungs whose window falls to one.

    Args:
        name: for records.
        start: where the first rung starts, such as a :class:`Scouting`.
        rungs: in order; the last has neither penalty nor window.

    >>> Attempt("restart", Scouting(draws=1, generations=0), (Rung(1, 40),)).least(12.0)
    25.0
    """

    name: str
    start: Start
    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        if not self.rungs or self.rungs[-1].penalty or self.rungs[-1].window != 1:
            raise InputError(
                f"{self.name}: expected rungs of which the last has no penalty and window 1, got "
                f"{self.rungs}."
            )

    @property
    def windows(self) -> frozenset[int]:
        """Of the averages that the attempt descends on."""
        return frozenset(rung.window for rung in self.rungs)

    def least(self, step_cost: float) -> float:
        """Forward-equivalents without which it is not worth beginning.

        Args:
            step_cost: of one step of the descent.
        """
        early = sum(rung.rows * (rung.steps + 1) for rung in self.rungs[:-1])
        return self.start.cost + step_cost * (early + 2 * self.rungs[-1].rows)

    def run(self, context: RunContext, targets: Int[Tensor, " t"], *, number: int) -> Found:
        """Try.

        Args:
            context: what to work on.
            targets: which of the problem's.
            number: of this attempt, so that each has random numbers of its own.
        """
        first = self.rungs[0]
        scouted = self.start.scout(
            context.problem,
            context.networks[first.window],
            targets,
            rows=first.rows,
            ids=context.ids,
            seed=derived_seed(context.seed, self.name, number),
            meter=context.meter,
        )
        unit = scouted.typical / context.problem.latent.dim
        z, ranked = scouted.z, scouted.risk
        for rung in self.rungs:
            order = ranked.argsort(dim=1, stable=True)[:, : rung.rows]
            z = z.gather(1, order.unsqueeze(-1).expand(-1, -1, z.shape[-1]))
            found = context.descend(
                z,
                targets,
                steps=rung.steps,
                penalty=unit * rung.penalty if rung.penalty else None,
                window=rung.window,
            )
            z, ranked = found.z, found.objective
        return found.best()


_ALONE = Scouting(draws=1, generations=0)

ATTEMPTS = {
    attempt.name: attempt
    for attempt in (
        Attempt("screen32", Scouting(32, 0), (Rung(1, 30),)),
        Attempt("halving2", Scouting(64, 1, 32, 4), (Rung(2, 2, 0.4), Rung(1, 30))),
        Attempt("halving3", Scouting(96, 1, 48, 6), (Rung(3, 2, 0.3), Rung(1, 30))),
        Attempt(
            "annealed halving2",
            Scouting(64, 1, 32, 4),
            (Rung(2, 2, 1.6), Rung(1, 2, 0.4), Rung(1, 2, 0.1), Rung(1, 30)),
        ),
        Attempt(
            "halving4", Scouting(128, 2, 64, 8), (Rung(4, 2, 0.4), Rung(2, 3, 0.04), Rung(1, 30))
        ),
        Attempt(
            "averaged ride",
            Scouting(64, 1, 32, 4),
            (Rung(2, 2, 0.4, window=5), Rung(1, 2, 0.1, window=2), Rung(1, 30)),
        ),
        Attempt(
            "annealed restart",
            _ALONE,
            (Rung(1, 2, 4.0), Rung(1, 2, 1.2), Rung(1, 2, 0.4), Rung(1, 2, 0.12), Rung(1, 30)),
        ),
        Attempt("restart", _ALONE, (Rung(1, 40),)),
        Attempt("long restart", Scouting(draws=4, generations=0), (Rung(1, 120),)),
    )
}
"""Ways to try, by name, from cheap to expensive, then those without scouts."""

DEFAULT = tuple(
    ATTEMPTS[name] for name in ("halving3", "averaged ride", "halving4", "annealed halving2")
)
"""What `recover` tries in turn, once learned starts have had their tries."""
GRADIENTS = (ATTEMPTS["long restart"],)
"""The same where descents take gradients alone: nothing else is worth a descent's length."""

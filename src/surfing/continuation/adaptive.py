"""Step control: every row finds its own stages between those of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing import check
from surfing.continuation.population import Population, other_side
from surfing.continuation.predictor import History
from surfing.continuation.ride import fade
from surfing.continuation.stage import StageResult
from surfing.errors import InputError
from surfing.problem.risk import CostMeter
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.continuation.ride import Ride, Track
    from surfing.latents import Latent
    from surfing.starts.rows import Rows

__all__ = ["StepControl"]


@dataclass(frozen=True)
class StepControl:
    """Lengthen the step of a row that rides well, bisect that of a row that loses its minimum.

    The schedule's stages are nodes 0, 1, ..., n - 1; a row's step is a power of two of them. It is
    refused, and the row returns to where it was, where the risk after it is more than `jump`
    times that before, where the row was carried more than `far` times as far as its last step at
    that pace would, or where it diverged or is not finite; the next step is half as long. At
    the shortest step the row continues as it is, and counts as having met a fold: its minimum is
    gone. A row that enters a stage at nearly the risk that the corrector leaves (`easy`) doubles
    its step, where its node is a multiple of the doubled one: so rows that part meet again at
    common nodes, and those with the lowest next node go first, all of them in one batch.

    Everything is decided from the target's own rows: up to rounding, results don't depend on who
    shares the batch.

    Args:
        halvings: the shortest step is 2^-halvings nodes.
        doublings: the longest is 2^doublings.
        jump: of the risk, at least 1.
        far: of the step's length, at least 1.
        easy: ratio of the risk at the entry to that at the end, at least 1.
        population: what the starts of one target do for one another; nothing where left out.

    Source: bisection and lengthening as in Allgower and Georg, "Numerical continuation methods"
    (1990), chapter 6; steps in powers of two that meet at common nodes as in the block time steps
    of McMillan, "The vectorization of small-N integrators" (1986).
    """

    halvings: int = 2
    doublings: int = 2
    jump: float = 2.0
    far: float = 8.0
    easy: float = 1.2
    population: Population | None = None

    def __post_init__(self) -> None:
        for name in ("halvings", "doublings"):
            check.integer(name, getattr(self, name), low=0, high=20)
        for name in ("jump", "far", "easy"):
            check.number(name, getattr(self, name), low=1, finite=False)
        if not isinstance(self.population, Population | None):
            raise InputError(
                f"population: expected None or a Population(), got {self.population!r:.60}."
            )

    def run(
        self,
        ride: Ride,
        stages: Sequence[float],
        rows: Rows,
        *,
        anneal: float = 0.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Track:
        """Ride the stages, each row at its own pace. See :meth:`Ride.run`."""
        if len(stages) == 1:
            return ride.run(stages, rows, anneal=anneal, progress=progress)
        meter, end = CostMeter(len(rows.z), rows.z.device), len(stages) - 1.0
        law = ride.problem.latent
        if self.population is not None:
            z = self.population.begin(rows.z, starts=rows.starts, law=law)
            rows = replace(rows, z=z)
        scale = ride.scale(stages[0], rows, meter) * anneal if anneal else None
        fleet = _Fleet.of(ride.leg(stages[0], rows, None, meter=meter, reg=scale), ride, rows)
        if self.population is not None:
            nobody = fleet.log[0].index[:0]
            fleet.meet(self.population, 0.0, nobody, starts=rows.starts, law=law)
        while bool((going := (fleet.node < end) & ~fleet.resting).any()):
            aim = (fleet.node + fleet.step).clamp(max=end)
            node = float(aim[going].min())
            index = (going & (aim == node)).nonzero().flatten()
            faded = None if scale is None or node == end else scale * fade(node, len(stages))
            stage = _stage(stages, node)
            history = fleet.history(index)
            leg = ride.leg(stage, rows, history, meter=meter, index=index, reg=faded)
            folded = self._judge(fleet, leg, index, node)
            if self.population is not None:
                lost = index[folded]
                fleet.meet(self.population, node, lost, starts=rows.starts, law=law)
            if progress is not None:
                progress(1 + int(float(fleet.node[~fleet.resting].min())), len(stages) + 1)
        index = (~fleet.resting).nonzero().flatten()
        history = fleet.history(index)
        final = ride.leg(stages[-1], rows, history, meter=meter, index=index, last=True)
        everybody = torch.ones_like(index, dtype=torch.bool)
        fleet.log.append(_Entry(end, index, everybody, final.lean()))
        if progress is not None:
            progress(len(stages) + 1, len(stages) + 1)
        return ride.track(rows, fleet.legs(_known(final, index, len(rows.z))), meter)

    def _judge(
        self, fleet: _Fleet, leg: StageResult, index: Int[Tensor, " r"], node: float
    ) -> Bool[Tensor, " r"]:
        """Which rows continue from the leg, which return, the next steps, and who met a fold."""
        step, span = fleet.step[index], node - fleet.node[index]
        length = (leg.minimum.z - fleet.z[index]).norm(dim=-1).double()
        lost = self._lost(fleet, leg, index, length=length, span=span)
        finite = _finite(leg)
        shortest = step <= 2.0**-self.halvings
        accept = ~lost | (shortest & finite)
        # At its shortest step a row continues in any case, without its new z where that is bad.
        ahead = ~lost | shortest
        smooth = ~lost & (leg.minimum.entry <= self.easy * leg.minimum.value + fleet.least[index])
        level = torch.remainder(torch.full_like(step, node), 2 * step) == 0
        longer = smooth & level & (step < 2.0**self.doublings)
        step = torch.where(longer, 2 * step, torch.where(ahead, step, step / 2))
        fleet.log.append(_Entry(node, index, accept, leg.lean()))
        fleet.step[index] = step
        fleet.node[index[ahead]] = node
        fleet.land(leg, index, accept, pace=length / span)
        return lost & shortest

    def _lost(
        self, fleet: _Fleet, leg: StageResult, index: Tensor, *, length: Tensor, span: Tensor
    ) -> Bool[Tensor, " r"]:
        """Who must go back. What is below `least` and `near` is rounding, and says nothing."""
        jumped = leg.misfit > self.jump * fleet.misfit[index] + fleet.least[index]
        usual = fleet.pace[index] * span  # NaN, and so never too far, before there is a pace
        far = (length > self.far * usual) & (length > fleet.near)
        return ~_finite(leg) | jumped | far


@dataclass(frozen=True)
class _Entry:
    """One leg of some rows, and which of them it was accepted from."""

    node: float
    index: Int[Tensor, " r"]
    accept: Bool[Tensor, " r"]
    leg: StageResult


@dataclass(frozen=True)
class _Fleet:
    """Where every row is, and what it knows. Changed in place."""

    z: Float[Tensor, "rows k"]
    misfit: Float[Tensor, " rows"]
    curvature: Float[Tensor, "rows k k"] | None
    stage: Float[Tensor, " rows"]
    before: Float[Tensor, " rows"]
    """The stage before; NaN at the first."""
    before_z: Float[Tensor, "rows k"]
    node: Float[Tensor, " rows"]
    step: Float[Tensor, " rows"]
    """Of the next leg, in nodes."""
    pace: Float[Tensor, " rows"]
    """||dz|| by node, at the last leg that was accepted; NaN before the second."""
    resting: Bool[Tensor, " rows"]
    """Merged into another row of the target."""
    least: Float[Tensor, " rows"]
    """Risk at which measurements count as met."""
    near: float
    """A hundredth of the typical ||z - mean||."""
    log: list[_Entry]

    @classmethod
    def of(cls, leg: StageResult, ride: Ride, rows: Rows) -> _Fleet:
        """After the first stage."""
        law, level = ride.problem.latent, ride.problem.level.take(rows.owner)
        z, misfit = leg.minimum.z, leg.misfit
        everybody = torch.arange(len(z), device=z.device)
        return cls(
            z=z.clone(),
            misfit=misfit.clone(),
            curvature=None if leg.minimum.curvature is None else leg.minimum.curvature.clone(),
            stage=torch.full_like(misfit, leg.stage),
            before=torch.full_like(misfit, torch.nan),
            before_z=z.clone(),
            node=torch.zeros_like(misfit),
            step=torch.ones_like(misfit),
            pace=torch.full_like(misfit, torch.nan),
            resting=torch.zeros_like(everybody, dtype=torch.bool),
            least=ride.stopping.tolerated(level) / 2,
            near=0.01 * law.std * law.dim**0.5,
            log=[
                _Entry(
                    0.0,
                    everybody,
                    torch.ones_like(everybody, dtype=torch.bool),
                    leg.lean(),
                )
            ],
        )

    def history(self, index: Int[Tensor, " r"]) -> History:
        """What these rows leave behind."""
        return History(
            self.stage[index],
            self.z[index],
            None if self.curvature is None else self.curvature[index],
            previous_stage=self.before[index],
            previous_z=self.before_z[index],
        )

    def land(self, leg: StageResult, index: Tensor, accept: Tensor, *, pace: Tensor) -> None:
        """The accepted rows are where the leg ended."""
        rows = index[accept]
        self.before[rows], self.before_z[rows] = self.stage[rows], self.z[rows]
        self.stage[rows], self.z[rows] = leg.stage, leg.minimum.z[accept]
        self.misfit[rows], self.pace[rows] = leg.misfit[accept], pace[accept]
        if self.curvature is not None and leg.minimum.curvature is not None:
            self.curvature[rows] = leg.minimum.curvature[accept]

    def meet(
        self,
        population: Population,
        node: float,
        lost: Int[Tensor, " l"],
        *,
        starts: int,
        law: Latent,
    ) -> None:
        """Rows that have become one are merged; resting ones are sent to the far side of folds."""
        here = (self.node == node) & ~self.resting
        twins = population.duplicates(self.z, self.misfit, here, starts=starts, law=law)
        self.resting.logical_or_(twins)
        lost = lost[~self.resting[lost]]
        origin, sent = population.recruits(lost, self.resting, starts=starts)
        if len(origin) == 0:
            return
        curvature = None if self.curvature is None else self.curvature[origin]
        away = other_side(self.before_z[origin], self.z[origin], curvature)
        self.z[sent] = law.project(away)
        self.misfit[sent], self.pace[sent], self.before[sent] = torch.nan, torch.nan, torch.nan
        self.stage[sent], self.node[sent] = self.stage[origin], self.node[origin]
        self.step[sent], self.before_z[sent] = self.step[origin], self.z[sent]
        self.resting[sent] = False

    def legs(self, curvature: Float[Tensor, "rows k k"] | None) -> list[StageResult]:
        """The ride in the order of its stages; who left a stage out stays as it was there."""
        whole, legs = self.log[0].leg, []
        for node in sorted({entry.node for entry in self.log}):
            entries = [entry for entry in self.log if entry.node == node]
            cost, steps = torch.zeros_like(whole.cost), torch.zeros_like(whole.minimum.steps)
            for entry in entries:
                cost[entry.index] += entry.leg.cost
                steps[entry.index] += entry.leg.minimum.steps
                whole = _updated(whole, entry)
            minimum = replace(whole.minimum, steps=steps)
            legs.append(replace(whole, stage=entries[0].leg.stage, cost=cost, minimum=minimum))
        # Who rests was merged into a better row: it must not be selected in its place, and where
        # no row of a target is finite any more, that is what is told.
        ended = legs[-1].minimum
        status = ended.status.masked_fill(self.resting, int(Status.NONFINITE))
        minimum = replace(ended, status=status, curvature=curvature)
        misfit = legs[-1].misfit.masked_fill(self.resting, torch.inf)
        return [*legs[:-1], replace(legs[-1], minimum=minimum, misfit=misfit)]


def _finite(leg: StageResult) -> Bool[Tensor, " r"]:
    return torch.isfinite(leg.misfit) & (leg.minimum.status != int(Status.DIVERGED))


def _known(leg: StageResult, index: Tensor, rows: int) -> Tensor | None:
    """J'J of all rows, from a leg of some; NaN where it was not taken."""
    part = leg.minimum.curvature
    if part is None:
        return None
    return part.new_full((rows, *part.shape[1:]), torch.nan).index_copy(0, index, part)


def _updated(whole: StageResult, entry: _Entry) -> StageResult:
    """With the accepted rows of the entry in their places."""
    rows, told, known = entry.index[entry.accept], whole.minimum, entry.leg.minimum

    def put(before: Tensor | None, now: Tensor | None) -> Tensor | None:
        if before is None or now is None:
            return now if len(rows) == len(whole.misfit) else before
        return before.index_copy(0, rows, now[entry.accept])

    fields: dict[str, Any] = {
        name: put(getattr(told, name), getattr(known, name))
        for name in ("z", "value", "status", "entry", "damping")
    }
    misfit = whole.misfit.index_copy(0, rows, entry.leg.misfit[entry.accept])
    return replace(whole, minimum=replace(told, **fields), misfit=misfit)


def _stage(stages: Sequence[float], node: float) -> float:
    """Where on the trajectory a node lies; between two of the schedule's, by interpolation."""
    low = min(int(node), len(stages) - 2)
    return stages[low] + (node - low) * (stages[low + 1] - stages[low])

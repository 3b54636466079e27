"""Rides to compare: the path changed, taken away, or replaced by something else."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.continuation import EqualDrift, Population, StepControl
from surfing.continuation.predictor import AbstractPredictor, History, Secant, Tangent
from surfing.continuation.schedule import EveryCheckpoint, EveryNth
from surfing.evaluation.methods import METHODS, still
from surfing.evaluation.solvers import Ride, Solver, Task
from surfing.solution import Solution
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.risk import Risk

__all__ = ["VARIANTS", "Noisy", "Shaken", "Variant"]


@dataclass(frozen=True)
class Variant:
    """One ride with Levenberg-Marquardt, forty steps at the last stage.

    Args:
        group: what is varied.
        solver: the ride.
    """

    group: str
    solver: Solver


@dataclass(frozen=True)
class Shaken(AbstractPredictor):
    """Noise annealing: a row enters each stage at a random distance that falls to nothing.

    Args:
        sigma: at the first of the stages, in standard deviations of the law.
        stages: of the path; the noise falls linearly and would be 0 at the one after the last.
    """

    sigma: float
    stages: int

    def guess(
        self, history: History, stage: float, risk: Risk, rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"]:
        """z and centred normal noise."""
        noise = torch.Generator().manual_seed(1 + round(stage))
        xi = torch.randn(history.z.shape, generator=noise).to(history.z)
        scale = self.sigma * (1 - stage / self.stages) * risk.latent.std
        return history.z + scale * xi

    def predict(
        self, history: History, stage: float, risk: Risk, rows: Int[Tensor, " r"]
    ) -> Float[Tensor, "r k"]:
        """The guess whether it is better or not: that is what noise is for."""
        return self.guess(history, stage, risk, rows)


@dataclass(frozen=True)
class Noisy(Solver):
    """A ride with :class:`Shaken` for its predictor, over as many stages as its path has.

    Args:
        sigma: see there.
        ride: the ride.
    """

    sigma: float
    ride: Ride

    def solve(self, task: Task) -> Solution:
        """One ride a start."""
        recorded, path = task.model.trajectory, self.ride.path
        stages = len(recorded if path is None else path(recorded))
        return replace(self.ride, predictor=Shaken(self.sigma, stages)).solve(task)


def _rearranged(recorded: Trajectory, order: Sequence[int]) -> Trajectory:
    """Those checkpoints, in that order, the last one last."""
    return Trajectory.from_state_dicts(
        ((step, recorded.state(index)) for step, index in enumerate(order)),
        latent=recorded.latent,
        architecture=recorded.architecture,
    )


def _tenth(recorded: Trajectory) -> list[int]:
    """Nine checkpoints spread over the training, the last left out."""
    last = len(recorded) - 1
    return sorted({round(i * last / 9) for i in range(9)})


def _reversed(recorded: Trajectory) -> Trajectory:
    return _rearranged(recorded, [*_tenth(recorded)[::-1], len(recorded) - 1])


def _shuffled(recorded: Trajectory) -> Trajectory:
    order = _tenth(recorded)
    random.Random(0).shuffle(order)
    return _rearranged(recorded, [*order, len(recorded) - 1])


def _in_order(recorded: Trajectory) -> Trajectory:
    return _rearranged(recorded, [*_tenth(recorded), len(recorded) - 1])


def _straight(recorded: Trajectory) -> Trajectory:
    """From the random weights to the trained ones, without the training between."""
    ends = _rearranged(recorded, [0, len(recorded) - 1])
    return Trajectory.from_state_dicts(
        ((step, ends.at(step / 9)) for step in range(10)),
        latent=recorded.latent,
        architecture=recorded.architecture,
    )


_EVERY = EveryCheckpoint()
_HALF = Ride(schedule=EqualDrift(10, start=0.5), anneal=2.0, stage_steps=1)
_FOLDS = StepControl(halvings=0, doublings=0, population=Population())
_MIRRORED = replace(_FOLDS, population=Population(mirror=True))


def _along(path: Callable[[Trajectory], Trajectory], **changed: Any) -> Ride:
    return Ride(path=path, schedule=_EVERY, **changed)


# fmt: off
VARIANTS: Mapping[str, Variant] = {
    "ten stages at equal drift": Variant("path", METHODS["lm-surfing"].solver),
    "ten checkpoints, in order": Variant("path", _along(_in_order)),
    "the same, reversed": Variant("path", _along(_reversed)),
    "the same, shuffled": Variant("path", _along(_shuffled)),
    "last checkpoint only": Variant("path", _along(lambda t: still(t, 1))),
    "straight line from random weights": Variant("path", _along(_straight)),
    "averages of the last 20, 10, 5, 2, 1": Variant("path", _along(lambda t: t.smoothed())),
    "noise annealed from .3, no path": Variant("noise", Noisy(0.3, _along(still))),
    "noise annealed from 1, no path": Variant("noise", Noisy(1.0, _along(still))),
    "noise annealed from .3 along ten stages": Variant("noise", Noisy(0.3, Ride())),
    "prior annealed, no path": Variant("prior", METHODS["direct-lm-annealed"].solver),
    "prior annealed along ten stages": Variant("prior", Ride(anneal=4.0)),
    "prior annealed along averages": Variant("prior", _along(lambda t: t.smoothed(), anneal=4.0)),
    "3 stages": Variant("stages", Ride(schedule=EqualDrift(3))),
    "5 stages": Variant("stages", Ride(schedule=EqualDrift(5))),
    "20 stages": Variant("stages", Ride(schedule=EqualDrift(20))),
    "every fifth checkpoint": Variant("stages", Ride(schedule=EveryNth(5))),
    "every checkpoint": Variant("stages", Ride(schedule=_EVERY)),
    "secant predictor": Variant("predictor", Ride(predictor=Secant())),
    "tangent predictor": Variant("predictor", Ride(predictor=Tangent())),
    "from a quarter on": Variant("start stage", Ride(schedule=EqualDrift(10, start=0.25))),
    "from a half on": Variant("start stage", Ride(schedule=EqualDrift(10, start=0.5))),
    "from three quarters on": Variant("start stage", Ride(schedule=EqualDrift(10, start=0.75))),
    "from a half on, 1 step a stage, prior annealed": Variant("annealed ride", _HALF),
    "the same, every row its own stages": Variant(
        "control", replace(_HALF, control=StepControl(halvings=1, doublings=1))),
    "the same, and bisected to a quarter": Variant(
        "control", replace(_HALF, control=StepControl(halvings=2, doublings=1))),
    "four starts, best of four": Variant("population", Ride(starts=4)),
    "four starts, merged, sent to folds": Variant("population", Ride(starts=4, control=_FOLDS)),
    "four starts, mirrored pairs, merged": Variant("population", Ride(starts=4, control=_MIRRORED)),
}
# fmt: on

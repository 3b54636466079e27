"""Rides to compare: the path changed, taken away, or replaced by something else."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from paper.rides import still
from surfing.continuation import EqualDrift, Population, StepControl
from surfing.continuation.predictor import AbstractPredictor, History, Secant, Tangent
from surfing.continuation.schedule import AbstractSchedule, EveryCheckpoint, EveryNth
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.risk import Risk

__all__ = ["VARIANTS", "Shaken", "Variant"]

_TEN = EqualDrift(10)


@dataclass(frozen=True)
class Variant:
    """One ride with Levenberg-Marquardt, forty steps at the last stage.

    Args:
        group: what is varied.
        path: makes the trajectory to ride from the recorded one.
        schedule: its stages.
        predictor: how a row enters a stage.
        anneal: weight of the falling MAP penalty.
        noise: see :class:`Shaken`; instead of a predictor.
        stage_steps: at each stage but the last.
        starts: rows of a target; the one with the lowest loss counts.
        control: of each row's steps along the path.
    """

    group: str
    path: Callable[[Trajectory], Trajectory] = lambda recorded: recorded
    schedule: AbstractSchedule = _TEN
    predictor: AbstractPredictor | None = None
    anneal: float = 0.0
    noise: float = 0.0
    stage_steps: int = 2
    starts: int = 1
    control: StepControl | None = None

    def predictor_on(self, path: Trajectory) -> AbstractPredictor | None:
        """How a row enters a stage of that path."""
        return Shaken(self.noise, len(path)) if self.noise else self.predictor


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
_HALF = Variant("annealed ride", schedule=EqualDrift(10, start=0.5), anneal=2.0, stage_steps=1)
_FOLDS = StepControl(halvings=0, doublings=0, population=Population())
# fmt: off
VARIANTS: Mapping[str, Variant] = {
    "ten stages at equal drift": Variant("path"),
    "ten checkpoints, in order": Variant("path", _in_order, _EVERY),
    "the same, reversed": Variant("path", _reversed, _EVERY),
    "the same, shuffled": Variant("path", _shuffled, _EVERY),
    "last checkpoint only": Variant("path", lambda t: still(t, 1), _EVERY),
    "straight line from random weights": Variant("path", _straight, _EVERY),
    "averages of the last 20, 10, 5, 2, 1": Variant("path", lambda t: t.smoothed(), _EVERY),
    "noise annealed from .3, no path": Variant("noise", lambda t: still(t, 5), _EVERY, noise=0.3),
    "noise annealed from 1, no path": Variant("noise", lambda t: still(t, 5), _EVERY, noise=1.0),
    "noise annealed from .3 along ten stages": Variant("noise", noise=0.3),
    "prior annealed, no path": Variant("prior", lambda t: still(t, 5), _EVERY, anneal=4.0),
    "prior annealed along ten stages": Variant("prior", anneal=4.0),
    "prior annealed along averages": Variant("prior", lambda t: t.smoothed(), _EVERY, anneal=4.0),
    "3 stages": Variant("stages", schedule=EqualDrift(3)),
    "5 stages": Variant("stages", schedule=EqualDrift(5)),
    "20 stages": Variant("stages", schedule=EqualDrift(20)),
    "every fifth checkpoint": Variant("stages", schedule=EveryNth(5)),
    "every checkpoint": Variant("stages", schedule=_EVERY),
    "secant predictor": Variant("predictor", predictor=Secant()),
    "tangent predictor": Variant("predictor", predictor=Tangent()),
    "from a quarter on": Variant("start stage", schedule=EqualDrift(10, start=0.25)),
    "from a half on": Variant("start stage", schedule=EqualDrift(10, start=0.5)),
    "from three quarters on": Variant("start stage", schedule=EqualDrift(10, start=0.75)),
    "from a half on, 1 step a stage, prior annealed": _HALF,
    "the same, every row its own stages": replace(
        _HALF, group="control", control=StepControl(halvings=1, doublings=1)),
    "the same, and bisected to a quarter": replace(
        _HALF, group="control", control=StepControl(halvings=2, doublings=1)),
    "four starts, best of four": Variant("population", starts=4),
    "four starts, merged, sent to folds": Variant("population", starts=4, control=_FOLDS),
    "four starts, mirrored pairs, merged": Variant(
        "population", starts=4, control=replace(_FOLDS, population=Population(mirror=True))),
}
# fmt: on

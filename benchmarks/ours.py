"""Our own methods as benchmark solvers: every target a row of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.cells import Cell, Outcome
from surfing.continuation import EqualDrift, direct, surf
from surfing.descent import AbstractDescent, LevenbergMarquardt, Stopping, TorchOptim
from surfing.descent.lbfgs import LBFGS
from surfing.portfolio import recover
from surfing.solution import Solution

__all__ = ["DirectAdam", "DirectLBFGS", "DirectLM", "Recover", "SurfingAdam", "SurfingLM"]


def _adam(step_size: float) -> TorchOptim:
    return TorchOptim(partial(torch.optim.Adam, lr=step_size))


def _outcome(solution: Solution) -> Outcome:
    return Outcome(solution.z, solution.cost)


def _direct(cell: Cell, descent: AbstractDescent[Any], steps: int) -> Outcome:
    solution = direct(
        cell.trajectory,
        cell.y,
        generator=cell.net,
        operator=cell.physics,
        descent=descent,
        max_steps=steps,
        z0=cell.starts,
    )
    return _outcome(solution)


def _surf(
    cell: Cell,
    descent: AbstractDescent[Any],
    schedule: EqualDrift,
    steps: tuple[int, int],
    *,
    polish: bool = False,
) -> Outcome:
    solution = surf(
        cell.trajectory,
        cell.y,
        generator=cell.net,
        operator=cell.physics,
        descent=descent,
        schedule=schedule,
        stage_steps=steps[0],
        max_steps=steps[1],
        z0=cell.starts,
        stopping=Stopping(polish=polish),
    )
    return _outcome(solution)


@dataclass(frozen=True)
class Recover:
    """What a user gets by default: starts of its own instead of the cell's.

    What it learns once is shared by the targets.

    Args:
        budget: forward-equivalents per target, what is learned once left out.
        seed: of everything random.
    """

    budget: float = 2000
    seed: int = 0

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        solution = recover(
            cell.trajectory,
            cell.y,
            generator=cell.net,
            operator=cell.physics,
            budget=self.budget,
            seed=self.seed,
        )
        return Outcome(solution.z, solution.cost + solution.cost_once / len(cell))


@dataclass(frozen=True)
class DirectLM:
    """Levenberg-Marquardt on the trained network."""

    max_steps: int = 40
    damping: float = 1e-2

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        return _direct(cell, LevenbergMarquardt(damping=self.damping), self.max_steps)


@dataclass(frozen=True)
class DirectLBFGS:
    """L-BFGS on the trained network, every row its own memory and line search."""

    max_steps: int = 200
    history: int = 10

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        return _direct(cell, LBFGS(history=self.history), self.max_steps)


@dataclass(frozen=True)
class DirectAdam:
    """Adam on the trained network, all rows in one batch."""

    max_steps: int = 1000
    step_size: float = 0.05

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        return _direct(cell, _adam(self.step_size), self.max_steps)


@dataclass(frozen=True)
class SurfingLM:
    """Levenberg-Marquardt along the trajectory.

    Args:
        stages: at equal drift.
        skip: share of the drift to skip, in [0, 1).
        stage_steps: at each stage but the last.
        max_steps: at the last stage.
        polish: end in float64.
    """

    stages: int = 10
    skip: float = 0.0
    stage_steps: int = 2
    max_steps: int = 20
    polish: bool = False

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        schedule = EqualDrift(self.stages, start=self.skip)
        steps = (self.stage_steps, self.max_steps)
        return _surf(cell, LevenbergMarquardt(), schedule, steps, polish=self.polish)


@dataclass(frozen=True)
class SurfingAdam:
    """Adam along the trajectory: Algorithm 1 as the paper's experiments run it, reconstructed."""

    stages: int = 40
    stage_steps: int = 50
    max_steps: int = 500
    step_size: float = 0.05

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        schedule = EqualDrift(self.stages)
        return _surf(cell, _adam(self.step_size), schedule, (self.stage_steps, self.max_steps))

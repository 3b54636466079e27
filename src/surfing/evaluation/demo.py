"""The demonstration: direct descent against surfing, from the same start points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from surfing.continuation import EqualDrift, direct, surf
from surfing.descent import LevenbergMarquardt
from surfing.evaluation.selftest import FOUND, OwnSamples, own_samples
from surfing.portfolio import recover
from surfing.problem import ForwardModel, as_operator
from surfing.progress import with_progress

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn

    from surfing.solution import Solution
    from surfing.trajectory import Trajectory

__all__ = ["SETTINGS", "Outcome", "Setting", "run"]


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Args:
        name: for people.
        operator: by name; None for the identity.
    """

    name: str
    operator: str | None


SETTINGS = (
    Setting("all pixels", None),
    Setting("50 measurements", "gaussian:50"),
    Setting("20 measurements", "gaussian:20"),
)
STAGES = 10
"""Of a ride, at equal drift."""
BUDGET = 1000
"""Forward-equivalents that the default strategy may spend on each target."""
METHODS = ("direct", "surfing", "recover")


@dataclass(frozen=True)
class Outcome:
    """One method at one setting.

    Attributes:
        setting: what was measured.
        method: "direct", "surfing", or "recover", the default strategy.
        found: targets with ||z - z*|| < .01, and how many there were.
        residual: median ||A G(z) - y||.
        cost: mean forward-equivalents of a target.
        seconds: wall time of all targets in one call.
        seconds_one: wall time of a call with the first target alone.
        solution: what was found.
        y: what it was found from.
    """

    setting: str
    method: str
    found: tuple[int, int]
    residual: float
    cost: float
    seconds: float
    seconds_one: float
    solution: Solution
    y: Float[Tensor, "targets ..."]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; tensors are left out."""
        return {name: value for name, value in vars(self).items() if name not in ("solution", "y")}


@with_progress("demo: runs")
def run(
    trajectory: Trajectory,
    generator: nn.Module,
    *,
    targets: int = 100,
    settings: tuple[Setting, ...] = SETTINGS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[OwnSamples, list[Outcome]]:
    """Draw latents, measure their signals, and look for them.

    Args:
        trajectory: checkpoints of training.
        generator: their architecture.
        targets: latents to draw.
        settings: what is measured.
        seed: of latents, starts and operators.
        progress: called with (runs done, runs in all).

    Returns:
        The targets, and the outcomes: settings in order, all by Levenberg-Marquardt.
    """
    truth = own_samples(trajectory, generator, targets, seed=seed)
    total = len(METHODS) * len(settings)
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes), total)

    for setting in settings:
        bench = _Bench(trajectory, generator, truth, setting, seed)
        for method in METHODS:
            keep(bench.outcome(method))
    return truth, outcomes


@dataclass(frozen=True)
class _Bench:
    """One setting: all methods get the same measurements, surfing and descent the same starts."""

    trajectory: Trajectory
    generator: nn.Module
    truth: OwnSamples
    setting: Setting
    seed: int

    def outcome(self, method: str) -> Outcome:
        """All targets in one call, then the first one alone."""
        y = self.y()
        solution = self._solve(method, y)
        error = (solution.z - self.truth.z).norm(dim=1)
        return Outcome(
            self.setting.name,
            method,
            (int((error < FOUND).sum()), len(error)),
            float((2 * solution.risk).sqrt().median()),
            float(solution.cost.mean()) + solution.cost_once / len(solution),
            solution.seconds,
            self._solve(method, y[:1]).seconds,
            solution,
            y,
        )

    def y(self) -> Tensor:
        """The measurements."""
        x = self.truth.x
        shape = tuple(x.shape[1:])
        forward = as_operator(self.setting.operator, shape, seed=self.seed, device=x.device)
        return forward(x)

    def _solve(self, method: str, y: Tensor) -> Solution:
        """By the trained network alone, along the checkpoints, or by the default strategy."""
        model = ForwardModel(
            self.trajectory,
            generator=self.generator,
            operator=self.setting.operator,
            operator_seed=self.seed,
        )
        if method == "direct":
            return direct(model, y, descent=LevenbergMarquardt(), seed=self.seed)
        if method == "recover":
            return recover(model, y, budget=BUDGET, seed=self.seed)
        ride = EqualDrift(STAGES)
        return surf(model, y, descent=LevenbergMarquardt(), schedule=ride, seed=self.seed)

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
from surfing.problem import as_operator

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
"""Forward-equivalents a target, of the default strategy."""


@dataclass(frozen=True)
class Outcome:
    """One method at one setting.

    Attributes:
        setting: what was measured.
        method: "direct", "surfing", or "recover", the default strategy.
        found: targets with ||z - z*|| < .01, and how many there were.
        residual: median ||A G(z) - y||.
        cost: mean forward-equivalents a target.
        seconds: wall time of all targets.
        x: recovered signals.
    """

    setting: str
    method: str
    found: tuple[int, int]
    residual: float
    cost: float
    seconds: float
    x: Float[Tensor, "targets ..."]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the signals are left out."""
        return {name: value for name, value in vars(self).items() if name != "x"}


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
    total = 3 * len(settings)
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes), total)

    for setting in settings:
        bench = _Bench(trajectory, generator, truth, setting, seed)
        keep(bench.direct())
        keep(bench.surfing())
        keep(bench.recover())
    return truth, outcomes


@dataclass(frozen=True)
class _Bench:
    """One setting: both methods get the same measurements and the same start points."""

    trajectory: Trajectory
    generator: nn.Module
    truth: OwnSamples
    setting: Setting
    seed: int

    def direct(self) -> Outcome:
        """On the trained network alone."""
        solution = direct(
            self.trajectory,
            self._measured(),
            generator=self.generator,
            operator=self.setting.operator,
            operator_seed=self.seed,
            descent=LevenbergMarquardt(),
            seed=self.seed,
        )
        return self._outcome("direct", solution)

    def surfing(self) -> Outcome:
        """Along the checkpoints."""
        solution = surf(
            self.trajectory,
            self._measured(),
            generator=self.generator,
            operator=self.setting.operator,
            operator_seed=self.seed,
            descent=LevenbergMarquardt(),
            schedule=EqualDrift(STAGES),
            seed=self.seed,
        )
        return self._outcome("surfing", solution)

    def recover(self) -> Outcome:
        """By the default strategy; what it learns once is in the cost."""
        solution = recover(
            self.trajectory,
            self._measured(),
            generator=self.generator,
            operator=self.setting.operator,
            operator_seed=self.seed,
            budget=BUDGET,
            seed=self.seed,
        )
        return self._outcome("recover", solution)

    def _measured(self) -> Tensor:
        x = self.truth.x
        shape = tuple(x.shape[1:])
        forward = as_operator(self.setting.operator, shape, seed=self.seed, device=x.device)
        return forward(x)

    def _outcome(self, method: str, solution: Solution) -> Outcome:
        error = (solution.z - self.truth.z).norm(dim=1)
        return Outcome(
            self.setting.name,
            method,
            (int((error < FOUND).sum()), len(error)),
            float((2 * solution.risk).sqrt().median()),
            float(solution.cost.mean()) + solution.cost_once / len(solution),
            solution.seconds,
            solution.x,
        )

"""The demonstration: direct descent against surfing, from the same start points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from surfing.evaluation.methods import METHODS
from surfing.evaluation.samples import FOUND, OwnSamples, model_of, own_samples
from surfing.evaluation.solvers import Recover, Solver, Task
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
BUDGET = 1000
"""Forward-equivalents a target, of the default strategy."""
_WAYS: Mapping[str, Callable[[], Solver]] = {
    "direct": lambda: METHODS["direct-lm"].solver,
    "surfing": lambda: METHODS["lm-surfing"].solver,
    "recover": lambda: Recover(BUDGET),
}


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
    outcomes: list[Outcome] = []
    for setting in settings:
        model = model_of(trajectory, generator, setting.operator, seed=seed)
        task = Task(model, model.measure(truth.x), seed)
        for name, way in _WAYS.items():
            solution = way().solve(task)
            alone = way().solve(Task(model, task.y[:1], seed)).seconds
            outcomes.append(_outcome(setting, name, solution, alone, truth, task.y))
            if progress is not None:
                progress(len(outcomes), len(_WAYS) * len(settings))
    return truth, outcomes


def _outcome(
    setting: Setting,
    method: str,
    solution: Solution,
    alone: float,
    truth: OwnSamples,
    y: Tensor,
) -> Outcome:
    """What is learned once is in the cost; `alone` are the seconds of the first target alone."""
    error = (solution.z - truth.z).norm(dim=1)
    return Outcome(
        setting.name,
        method,
        (int((error < FOUND).sum()), len(error)),
        float((2 * solution.risk).sqrt().median()),
        float(solution.cost.mean()) + solution.cost_once / len(solution),
        solution.seconds,
        alone,
        solution,
        y,
    )

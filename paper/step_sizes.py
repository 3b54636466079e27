"""Adam as the paper runs it, direct or riding, with the step size that suits each best.

Adam's step size decides a lot, and not the same for both. So each takes the one with which it finds
the most of some targets that are not reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surfing.continuation import EqualDrift
from surfing.evaluation.methods import METHODS, adam, adam_label
from surfing.evaluation.samples import FOUND, own_samples
from surfing.evaluation.solvers import Direct, Ride, Solver, Task

if TYPE_CHECKING:
    from paper.cells import Bed

__all__ = ["ADAM_METHODS", "AdamRuns", "Tuned", "labels"]

ADAM_METHODS = ("adam-2000", "surf-adam-2000")
"""Names of methods: direct, and riding."""


def labels(names: Iterable[str], runs: AdamRuns | None = None) -> dict[str, str]:
    """Methods for people, by name; Adam's with the numbers of steps that it was given."""
    own = {} if runs is None else runs.labels()
    return {name: own.get(name) or METHODS[name].label for name in names}


@dataclass(frozen=True)
class Tuned:
    """A step size, and why it.

    Args:
        step_size: the chosen one.
        found: of the tuning targets, by step size.
    """

    step_size: float
    found: dict[str, int]


@dataclass(frozen=True)
class AdamRuns:
    """One run from one start for every target.

    Args:
        direct_steps: of direct Adam.
        stages: of the ride, at equal drift.
        stage_steps: at each stage but the last.
        last_steps: at the last, as many as direct Adam has: the ride is what differs.
        step_sizes: to choose from.
        tuning_targets: for each step size; other targets than those reported.
    """

    direct_steps: int = 2000
    stages: int = 40
    stage_steps: int = 50
    last_steps: int = 2000
    step_sizes: tuple[float, ...] = (0.1, 0.2, 0.4)
    tuning_targets: int = 20

    def solver(self, name: str, step_size: float) -> Solver:
        """Direct Adam or Adam surfing, by name, with these steps."""
        if name == ADAM_METHODS[0]:
            return Direct(adam(step_size), self.direct_steps)
        return Ride(
            adam(step_size),
            EqualDrift(self.stages),
            stage_steps=self.stage_steps,
            max_steps=self.last_steps,
        )

    def labels(self) -> dict[str, str]:
        """Both methods for people, by name."""
        told = (self.direct_steps,), (self.stages, self.stage_steps, self.last_steps)
        return {name: adam_label(*steps) for name, steps in zip(ADAM_METHODS, told)}

    def tune(self, name: str, bed: Bed, *, seed: int) -> Tuned:
        """The step size that finds the most; among equals, meets the most, then ends nearest.

        Args:
            name: as for :meth:`solver`.
            bed: the model; all pixels are measured.
            seed: of the tuning targets and starts.
        """
        own = own_samples(bed.trajectory, bed.generator, self.tuning_targets, seed=seed)
        task = Task(bed.model(), own.x, seed)
        ends = {size: self.solver(name, size).solve(task) for size in self.step_sizes}
        error = {size: (end.z - own.z).norm(dim=1) for size, end in ends.items()}
        hits = {size: int((e < FOUND).sum()) for size, e in error.items()}

        def merit(size: float) -> tuple[int, int, float]:
            return hits[size], int(ends[size].success.sum()), -float(error[size].median())

        best = max(self.step_sizes, key=merit)
        return Tuned(best, {str(size): number for size, number in hits.items()})

    def described(self) -> str:
        """How they are run, for people."""
        return (
            f"Direct Adam: {self.direct_steps} steps. Adam surfing: {self.stages} stages of "
            f"{self.stage_steps} steps, {self.last_steps} at the last. Step sizes: picked from "
            f"{', '.join(map(str, self.step_sizes))} for each method and model, on "
            f"{self.tuning_targets} other targets; where the smallest is picked, a smaller one "
            "might find more."
        )

"""How methods work: each a way to spend forward-equivalents, go after go."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from surfing.continuation import StepControl, direct, surf
from surfing.continuation.predictor import AbstractPredictor
from surfing.continuation.schedule import AbstractSchedule
from surfing.descent import AbstractDescent
from surfing.descent.stopping import Stopping
from surfing.errors import require
from surfing.evaluation.samples import beside
from surfing.execution.targets import Targets
from surfing.portfolio.attempt import ATTEMPTS
from surfing.portfolio.recover import recover
from surfing.portfolio.solver import solver_of
from surfing.starts.scouting import derived_seed
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.problem import ForwardModel
    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise
    from surfing.solution import Solution

__all__ = ["CMAES", "Attempts", "Direct", "Go", "Recover", "Restarts", "Ride", "Solver", "Task"]


@dataclass(frozen=True)
class Task:
    """What all methods are given alike.

    Args:
        model: trajectory, generator, operator and law.
        y: measurements.
        seed: of starts and everything else random.
        noise: of the measurements.
        prior: kept in the answer.
        given: inputs by target.
        ids: of the targets, for their random numbers; 0, 1, ... where left out.
    """

    model: ForwardModel
    y: Float[Tensor, "targets ..."]
    seed: int
    noise: Noise = None
    prior: float | str | None = None
    given: Given | None = None
    ids: Sequence[int] | None = None

    def take(self, ids: Sequence[int], *, seed: int) -> Task:
        """Some of the targets, with other random numbers."""
        mine = beside(ids, self.noise, self.given, len(self.y))
        return dataclasses.replace(self, y=self.y[list(ids)], seed=seed, ids=ids, **mine)

    @property
    def arguments(self) -> dict[str, Any]:
        """All but the model and the measurements, as `surf`, `direct` and `recover` take it."""
        names = ("seed", "noise", "prior", "given", "ids")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Go:
    """One go of a method at some targets."""

    z: Float[Tensor, "t k"]
    misfit: Float[Tensor, " t"]
    cost: Float[Tensor, " t"]


class Restarts(Protocol):
    """What can be tried again and again, with other random numbers each time."""

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """Go number `number` at the targets `ids`."""
        ...


@dataclass(frozen=True)
class Solver(ABC):
    """A method that makes a :class:`surfing.Solution` of measurements."""

    @abstractmethod
    def solve(self, task: Task) -> Solution:
        """Recover the latents of all targets."""

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One restart."""
        solution = self.solve(task.take(ids, seed=derived_seed(task.seed, "go", number)))
        return Go(solution.z, solution.risk, solution.cost)


@dataclass(frozen=True)
class Direct(Solver):
    """Descend from one random start on the trained network."""

    descent: AbstractDescent[Any]
    max_steps: int

    def solve(self, task: Task) -> Solution:
        """One descent a target."""
        return direct(
            task.model,
            task.y,
            descent=self.descent,
            max_steps=self.max_steps,
            **task.arguments,
        )


@dataclass(frozen=True)
class Ride(Solver):
    """Ride a path of networks; see :func:`surfing.surf` for what is not said here.

    Args:
        path: makes the trajectory to ride from the recorded one; that itself where left out.
    """

    descent: AbstractDescent[Any] | None = None
    schedule: AbstractSchedule | None = None
    stage_steps: int | None = None
    max_steps: int | None = None
    anneal: float = 0.0
    starts: int = 1
    control: StepControl | None = None
    predictor: AbstractPredictor | None = None
    stopping: Stopping | None = None
    path: Callable[[Trajectory], Trajectory] | None = None

    def solve(self, task: Task) -> Solution:
        """One ride a start."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        path, model = options.pop("path"), task.model
        if path is not None:
            model = model.along(path(model.trajectory))
        return surf(model, task.y, **options, **task.arguments)


@dataclass(frozen=True)
class Recover(Solver):
    """What a user gets by default."""

    budget: float = 2000

    def solve(self, task: Task) -> Solution:
        """Within the budget."""
        return recover(task.model, task.y, budget=self.budget, **task.arguments)


@dataclass(frozen=True)
class Attempts:
    """One attempt of recover's, by name, again and again; with this descent."""

    name: str
    descent: AbstractDescent[Any]

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One attempt."""
        attempt = ATTEMPTS[self.name]
        solver = solver_of(
            task.model,
            budget=1e12,
            prior=task.prior,
            portfolio=[attempt],
            descent=self.descent,
            seed=task.seed,
        )
        mine = task.take(ids, seed=task.seed)
        context = solver.context(Targets(mine.y, noise=mine.noise, given=mine.given), ids)
        everybody = torch.arange(len(ids), device=task.y.device)
        found = attempt.run(context, everybody, number=number)
        return Go(found.z[:, 0], found.misfit[:, 0], context.meter.spent)


@dataclass(frozen=True)
class CMAES:
    """Covariance matrix adaptation, one target at a time, each generation one batch of forwards.

    Args:
        evaluations: in one go.
        sigma: first step size, in deviations of the law.
    """

    evaluations: int = 2000
    sigma: float = 0.5

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One restart for each target."""
        cma = require("cmaes", "bench").CMA
        ends = [self._one(cma, task, identity, number) for identity in ids]
        z, misfit, cost = (torch.stack(column) for column in zip(*ends))
        return Go(z, misfit, cost)

    def _one(
        self, cma: Any, task: Task, identity: int, number: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        law = task.model.latent
        mine = task.take([identity], seed=task.seed)
        problem = task.model.problem(mine.y, noise=mine.noise, prior=mine.prior, given=mine.given)
        state = task.model.last
        seed = derived_seed(task.seed, "cma", number)
        start = law.sample([identity], 1, seed=seed)[0, 0].double().numpy()
        search = cma(mean=start, sigma=self.sigma * law.std, seed=seed % 2**31)
        best, best_z, best_misfit, spent = float("inf"), start, float("inf"), 0
        while spent + search.population_size <= self.evaluations and not search.should_stop():
            asked = np.stack([search.ask() for _ in range(search.population_size)])
            owner = torch.zeros(len(asked), dtype=torch.long, device=problem.device)
            rows = torch.arange(len(asked), device=problem.device)
            at = torch.from_numpy(asked).to(problem.y)
            misfits = problem.risk(state, owner).misfit(at, rows)
            penalised = misfits
            if problem.prior is not None:
                penalised = misfits + problem.prior * law.penalty(at.double())
            values = penalised.tolist()
            spent += len(values)
            low = int(np.argmin(values))
            if values[low] < best:
                best, best_z, best_misfit = values[low], asked[low], float(misfits[low])
            search.tell([(z, value) for z, value in zip(asked, values)])
        return torch.from_numpy(best_z).to(task.y), _number(best_misfit), _number(spent)


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)

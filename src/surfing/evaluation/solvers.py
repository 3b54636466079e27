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
from surfing.execution.targets import Targets
from surfing.generator import Generator
from surfing.portfolio.attempt import ATTEMPTS
from surfing.portfolio.recover import recover, solver_of
from surfing.starts.scouting import derived_seed
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.problem import ForwardModel
    from surfing.solution import Solution

__all__ = ["CMAES", "Attempts", "Direct", "Go", "Recover", "Restarts", "Ride", "Solver", "Task"]


@dataclass(frozen=True)
class Task:
    """What all methods are given alike.

    Args:
        model: trajectory, generator, operator and law.
        y: measurements.
        seed: of starts and everything else random.
    """

    model: ForwardModel
    y: Float[Tensor, "targets ..."]
    seed: int


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
    def solve(
        self,
        model: ForwardModel,
        y: Float[Tensor, "targets ..."],
        *,
        seed: int,
        ids: Sequence[int] | None = None,
    ) -> Solution:
        """Recover the latents."""

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One restart."""
        seed = derived_seed(task.seed, "go", number)
        solution = self.solve(task.model, task.y[list(ids)], seed=seed, ids=ids)
        return Go(solution.z, solution.risk, solution.cost)


@dataclass(frozen=True)
class Direct(Solver):
    """Descend from one random start on the trained network."""

    descent: AbstractDescent[Any]
    max_steps: int

    def solve(
        self,
        model: ForwardModel,
        y: Float[Tensor, "targets ..."],
        *,
        seed: int,
        ids: Sequence[int] | None = None,
    ) -> Solution:
        """One descent a target."""
        return direct(model, y, descent=self.descent, max_steps=self.max_steps, seed=seed, ids=ids)


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

    def solve(
        self,
        model: ForwardModel,
        y: Float[Tensor, "targets ..."],
        *,
        seed: int,
        ids: Sequence[int] | None = None,
    ) -> Solution:
        """One ride a start."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        path = options.pop("path")
        if path is not None:
            model = model.along(path(model.trajectory))
        return surf(model, y, seed=seed, ids=ids, **options)


@dataclass(frozen=True)
class Recover(Solver):
    """What a user gets by default."""

    budget: float = 2000

    def solve(
        self,
        model: ForwardModel,
        y: Float[Tensor, "targets ..."],
        *,
        seed: int,
        ids: Sequence[int] | None = None,
    ) -> Solution:
        """Within the budget."""
        return recover(model, y, budget=self.budget, seed=seed, ids=ids)


@dataclass(frozen=True)
class Attempts:
    """One attempt of recover's, by name, again and again."""

    name: str

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One attempt."""
        attempt = ATTEMPTS[self.name]
        solver = solver_of(task.model, budget=1e12, seed=task.seed, portfolio=[attempt])
        context = solver.context(Targets(task.y[list(ids)]), ids)
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
        law, bound = task.model.latent, Generator(task.model.generator).at(task.model.last)
        seed = derived_seed(task.seed, "cma", number)
        start = law.sample([identity], 1, seed=seed)[0, 0].double().numpy()
        search = cma(mean=start, sigma=self.sigma * law.std, seed=seed % 2**31)
        best, best_z, spent = float("inf"), start, 0
        while spent + search.population_size <= self.evaluations and not search.should_stop():
            asked = np.stack([search.ask() for _ in range(search.population_size)])
            with torch.no_grad():
                measured = task.model.operator(bound(torch.from_numpy(asked).to(task.y)))
            gap = (measured - task.y[identity]).flatten(1).double()
            values = (gap.square().sum(1) / 2).tolist()
            spent += len(values)
            low = int(np.argmin(values))
            if values[low] < best:
                best, best_z = values[low], asked[low]
            search.tell([(z, value) for z, value in zip(asked, values)])
        return torch.from_numpy(best_z).to(task.y), _number(best), _number(spent)


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)

"""Who is compared: each a way to spend forward-equivalents, go after go."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from surfing.continuation import EqualDrift, Population, StepControl, direct, surf
from surfing.descent import AbstractDescent, LevenbergMarquardt, TorchOptim
from surfing.descent.lbfgs import LBFGS
from surfing.descent.stopping import Stopping
from surfing.errors import UnknownNameError, require
from surfing.evaluation.samples import beside
from surfing.execution.targets import Targets
from surfing.portfolio.attempt import ATTEMPTS
from surfing.portfolio.recover import solver_of
from surfing.problem import ForwardModel
from surfing.starts.scouting import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise

__all__ = ["ADAM_STEP_SIZE", "METHODS", "Go", "Method", "Task", "method"]


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
    """

    model: ForwardModel
    y: Float[Tensor, "targets ..."]
    seed: int
    noise: Noise = None
    prior: float | str | None = None
    given: Given | None = None

    def beside(self, ids: Sequence[int]) -> dict[str, Any]:
        """What goes with the measurements of some targets, as arguments."""
        return {"prior": self.prior, **beside(ids, self.noise, self.given, len(self.y))}


@dataclass(frozen=True)
class Go:
    """One go of a method at some targets."""

    z: Float[Tensor, "t k"]
    misfit: Float[Tensor, " t"]
    cost: Float[Tensor, " t"]


class Method(Protocol):
    """A restart strategy: goes with other random numbers each."""

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """Go number `number` at the targets `ids`."""
        ...


@dataclass(frozen=True)
class Direct:
    """Descend from one random start on the trained network."""

    descent: AbstractDescent[Any]
    max_steps: int

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One restart."""
        solution = direct(
            task.model,
            task.y[list(ids)],
            **task.beside(ids),
            descent=self.descent,
            max_steps=self.max_steps,
            seed=derived_seed(task.seed, "go", number),
            ids=ids,
        )
        return Go(solution.z, solution.risk, solution.cost)


@dataclass(frozen=True)
class Surf:
    """Ride the training from one random start; a row that gets nowhere is given up early."""

    descent: AbstractDescent[Any]
    stages: int
    stage_steps: int
    max_steps: int
    start: float = 0.0
    anneal: float = 0.0
    starts: int = 1
    control: StepControl | None = None

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One ride."""
        solution = surf(
            task.model,
            task.y[list(ids)],
            **task.beside(ids),
            descent=self.descent,
            schedule=EqualDrift(self.stages, start=self.start),
            starts=self.starts,
            control=self.control,
            stage_steps=self.stage_steps,
            max_steps=self.max_steps,
            anneal=self.anneal,
            stopping=Stopping(ftol=1e-2),
            seed=derived_seed(task.seed, "go", number),
            ids=ids,
        )
        return Go(solution.z, solution.risk, solution.cost)


@dataclass(frozen=True)
class Planned:
    """One attempt of the menu, by name, again and again."""

    name: str

    def __call__(self, task: Task, ids: Sequence[int], number: int) -> Go:
        """One attempt."""
        solver = solver_of(
            task.model,
            budget=1e12,
            prior=task.prior,
            seed=task.seed,
            portfolio=[ATTEMPTS[self.name]],
        )
        mine = beside(ids, task.noise, task.given, len(task.y))
        context = solver.context(Targets(task.y[list(ids)], **mine), ids)
        everybody = torch.arange(len(ids), device=task.y.device)
        found = ATTEMPTS[self.name].run(context, everybody, number=number)
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
        problem = task.model.problem(task.y[[identity]], **task.beside([identity]))
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


ADAM_STEP_SIZE = 0.2
"""The median of what was picked for Table 1, direct and riding together; of rides alone, .1."""


def _adam() -> TorchOptim:
    return TorchOptim(partial(torch.optim.Adam, lr=ADAM_STEP_SIZE))


METHODS: Mapping[str, tuple[str, Any]] = {
    "adam": ("direct Adam, 1000 steps", functools.partial(Direct, max_steps=1000)),
    "lbfgs": ("direct L-BFGS", Direct(LBFGS(), 200)),
    "lm": ("direct LM", Planned("restart")),
    "annealed-lm": ("direct LM, MAP penalty annealed", Planned("annealed restart")),
    "cma-es": ("CMA-ES", CMAES()),
    "surf-adam": ("Adam surfing, 10 x 50 + 500", functools.partial(Surf, stages=10,
                  stage_steps=50, max_steps=500)),
    "surf-lm": ("LM surfing, 10 x 2 + 40", Surf(LevenbergMarquardt(), 10, 2, 40)),
    "annealed-ride": ("LM surfing, second half, 10 x 1 + 40, MAP penalty annealed",
                      Surf(LevenbergMarquardt(), 10, 1, 40, start=0.5, anneal=2.0)),
    "adaptive-ride": ("the same, every row its own stages",
                      Surf(LevenbergMarquardt(), 10, 1, 40, start=0.5, anneal=2.0,
                           control=StepControl(halvings=1, doublings=1))),
    "population-ride": ("LM surfing, 10 x 1 + 40, annealed, 4 starts merged and sent to folds",
                        Surf(LevenbergMarquardt(), 10, 1, 40, anneal=2.0, starts=4,
                             control=StepControl(halvings=0, doublings=1,
                                                 population=Population()))),
    "averaged-ride": ("LM surfing, scouts and averages", Planned("averaged ride")),
}  # fmt: skip


def method(name: str) -> tuple[str, Method]:
    """Label and method of a name.

    Raises:
        UnknownNameError: nobody knows it.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, [*METHODS, "recover"])
    label, made = METHODS[name]
    # Adam is made anew: importing this module must not build an optimiser.
    return label, made(_adam()) if isinstance(made, functools.partial) else made

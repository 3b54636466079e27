"""Who is compared: every method that a comparison, a table or a figure names, by its one name.

Two that differ in anything, be it only in when a row is given up, have two names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from surfing.continuation import EqualDrift, Population, StepControl
from surfing.continuation.schedule import EveryCheckpoint
from surfing.descent import LevenbergMarquardt, TorchOptim
from surfing.descent.lbfgs import LBFGS
from surfing.descent.stopping import Stopping
from surfing.errors import UnknownNameError
from surfing.evaluation.solvers import CMAES, Attempts, Direct, Recover, Restarts, Ride, Solver
from surfing.trajectory import Trajectory

__all__ = [
    "ADAM_STEP_SIZE",
    "FORMER",
    "METHODS",
    "RECOVER",
    "Method",
    "adam",
    "adam_label",
    "current",
    "method",
    "still",
]


ADAM_STEP_SIZE = 0.2
"""The median of what was picked for Table 1, direct and riding together; of rides alone, .1."""


def adam(step_size: float = ADAM_STEP_SIZE) -> TorchOptim:
    """Adam as the methods use it."""
    return TorchOptim(partial(torch.optim.Adam, lr=step_size))


def adam_label(*steps: int) -> str:
    """How Adam is named: of its steps alone, or of a ride's stages, steps at each, and at the last.

    >>> adam_label(1000), adam_label(10, 50, 500)
    ('direct Adam, 1000 steps', 'Adam surfing, 10 x 50 + 500')
    """
    if len(steps) == 1:
        return f"direct Adam, {steps[0]} steps"
    stages, each, last = steps
    return f"Adam surfing, {stages} x {each} + {last}"


def still(trajectory: Trajectory, stages: int = 5) -> Trajectory:
    """The last network again and again: a path that does not move, to anneal a prior on."""
    last = dict(trajectory[-1].state)
    return Trajectory.from_state_dicts(
        [(step, last) for step in range(stages)],
        latent=trajectory.latent,
        architecture=trajectory.architecture,
    )


@dataclass(frozen=True)
class Method:
    """A method by name.

    Args:
        name: its key on the command line and in records.
        label: for people; no other method has it.
        make: the method itself, made when it is asked for: importing this module must not build an
            optimiser.
        on_request: left out of a comparison that names no methods.
    """

    name: str
    label: str
    make: Callable[[], Restarts]
    on_request: bool = False

    @property
    def solver(self) -> Solver:
        """The method, which makes a Solution."""
        made = self.make()
        if not isinstance(made, Solver):
            raise TypeError(f"{self.name} makes restarts only, no Solution.")
        return made


_EARLY = Stopping(ftol=1e-2)
"""A restart is worth more than the steps of a row that gets nowhere: it is given up."""
_HALF = Ride(schedule=EqualDrift(10, start=0.5), stage_steps=1, max_steps=40, anneal=2.0,
             stopping=_EARLY)  # fmt: skip
_FOLDS = StepControl(halvings=0, doublings=1, population=Population())
RECOVER = "recover"


def _lm(attempt: str) -> Attempts:
    return Attempts(attempt, LevenbergMarquardt())


# fmt: off
METHODS: Mapping[str, Method] = {m.name: m for m in (
    Method("adam", adam_label(1000), lambda: Direct(adam(), 1000)),
    Method("lbfgs", "direct L-BFGS", lambda: Direct(LBFGS(), 200)),
    Method("lm-restarts", "LM restarts, given up early", lambda: _lm("restart")),
    Method("annealed-restarts", "annealed LM restarts, given up early",
           lambda: _lm("annealed restart")),
    Method("cma-es", "CMA-ES", CMAES),
    Method("surf-adam", adam_label(10, 50, 500),
           lambda: Ride(adam(), stage_steps=50, max_steps=500, stopping=_EARLY)),
    Method("ride-restarts", "LM surfing, 10 x 2 + 40, given up early",
           lambda: Ride(stage_steps=2, max_steps=40, stopping=_EARLY)),
    Method("annealed-ride", "LM surfing, second half, 10 x 1 + 40, annealed, given up early",
           lambda: _HALF),
    Method("adaptive-ride", "the annealed ride, every row its own stages",
           lambda: dataclasses.replace(_HALF, control=StepControl(halvings=1, doublings=1))),
    Method("population-ride", "LM surfing, 10 x 1 + 40, annealed, 4 starts merged, sent to folds",
           lambda: dataclasses.replace(_HALF, schedule=EqualDrift(10), starts=4, control=_FOLDS)),
    Method("averaged-ride", "LM surfing, scouts and averages", lambda: _lm("averaged ride")),
    Method("direct-lm", "direct LM", lambda: Direct(LevenbergMarquardt(), 40), on_request=True),
    Method("direct-lm-annealed", "direct LM, prior annealed",
           lambda: Ride(schedule=EveryCheckpoint(), anneal=4.0, path=still), on_request=True),
    Method("lm-surfing", "LM surfing", Ride, on_request=True),
    Method("adam-2000", adam_label(2000), lambda: Direct(adam(), 2000), on_request=True),
    Method("surf-adam-2000", adam_label(40, 50, 2000),
           lambda: Ride(adam(), EqualDrift(40), stage_steps=50, max_steps=2000), on_request=True),
    Method(RECOVER, "recover", Recover),
)}
# fmt: on
"""LM is Levenberg-Marquardt. The first ten are for budgets that pay for many restarts; those on
request are single runs to their end, as the paper's tables count them."""

FORMER = {
    "lm": "lm-restarts",
    "annealed-lm": "annealed-restarts",
    "surf-lm": "ride-restarts",
    "direct LM": "direct-lm",
    "annealed LM": "direct-lm-annealed",
    "LM surfing": "lm-surfing",
    "direct Adam": "adam-2000",
    "Adam surfing": "surf-adam-2000",
}
"""What methods were called in the first release, where "direct LM" and "annealed LM" were told of
two each: those of comparisons had the keys above, those of Table 1 and Figure 4 the names below."""


def current(name: str) -> str:
    """The name of a method that may have had another one."""
    return FORMER.get(name, name)


def method(name: str) -> Method:
    """The method of a name, of today or of before.

    Raises:
        UnknownNameError: an unknown name.
    """
    found = METHODS.get(current(name))
    if found is None:
        raise UnknownNameError("method", name, [*METHODS])
    return found

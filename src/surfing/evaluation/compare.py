"""Success against cost: every method at the same budgets, on the same targets.

A method that fails is restarted until the budget is spent; of a target's runs
the one with the lowest measurement loss counts, whatever the truth is. So each curve is that of
best-of-R, with R what the budget pays for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import TYPE_CHECKING, Any

import torch

from surfing.descent import Stopping
from surfing.errors import InputError
from surfing.evaluation.methods import METHODS, RECOVER, Method, method
from surfing.evaluation.samples import Criterion, model_of, noisy, own_z
from surfing.evaluation.solvers import Recover, Task
from surfing.progress import with_progress
from surfing.report.intervals import wilson

if TYPE_CHECKING:
    from torch import nn

    from surfing.problem import ForwardModel
    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise
    from surfing.problem.operators import OperatorLike
    from surfing.trajectory import Trajectory

__all__ = ["BUDGETS", "Comparison", "Curve", "compare", "hits", "paired"]

BUDGETS = (200, 400, 1000, 2000, 4000, 8000, 16000)
_SCARCE = 100
"""Goes after which a method gives a target up, whatever is left of the budget."""


@dataclass(frozen=True)
class Curve:
    """One method.

    Attributes:
        name: its key.
        label: for people.
        found: for each budget, whether each target's latent is found.
        cost: for each budget, mean forward-equivalents spent.
        extra: forward-equivalents spent once for all targets: recover's pilot.
    """

    name: str
    label: str
    found: list[list[bool]]
    cost: list[float]
    extra: float = 0.0

    def rates(self) -> list[tuple[int, int]]:
        """(found, targets) for each budget; (0, 0) where a single go costs more than the budget."""
        return [
            (sum(row), len(row)) if cost > 0 else (0, 0) for row, cost in zip(self.found, self.cost)
        ]


@dataclass(frozen=True)
class Comparison:
    """All methods on one problem."""

    budgets: tuple[int, ...]
    curves: tuple[Curve, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, intervals and paired differences included."""
        return {
            **self.facts,
            "budgets": list(self.budgets),
            "methods": [self._line(curve) for curve in self.curves],
        }

    def _line(self, curve: Curve) -> dict[str, Any]:
        line: dict[str, Any] = {
            "name": curve.name,
            "label": curve.label,
            "found": [list(pair) for pair in curve.rates()],
            "interval": [list(wilson(*pair)) for pair in curve.rates()],
            "cost": curve.cost,
            "extra_cost": curve.extra,
            "by_target": [
                "".join("01"[hit] for hit in row[:trials])
                for row, (_, trials) in zip(curve.found, curve.rates())
            ],
        }
        ours = next((c for c in self.curves if c.name == RECOVER), None)
        if ours is not None and curve.name != RECOVER:
            line["recover_against_it"] = [
                paired(mine[:both], theirs[:both])
                for mine, theirs, both in zip(ours.found, curve.found, _shared(ours, curve))
            ]
        return line


def _shared(one: Curve, other: Curve) -> list[int]:
    """How many targets both were run on, at each budget."""
    return [min(a, b) for (_, a), (_, b) in zip(one.rates(), other.rates())]


def hits(told: str) -> list[bool]:
    """Whether each target was found, of the digits that a record keeps.

    >>> hits("101")
    [True, False, True]
    """
    return [digit == "1" for digit in told]


def paired(ours: Sequence[bool], theirs: Sequence[bool]) -> dict[str, float]:
    """Targets that only one of two methods found, and how surprising that is.

    The p-value is that of the exact two-sided sign test: were the two alike, either would win a
    disputed target with probability 1/2.

    >>> paired([True] * 8 + [False], [False] * 8 + [True])["p"]
    0.0390625
    """
    won = sum(a and not b for a, b in zip(ours, theirs))
    lost = sum(b and not a for a, b in zip(ours, theirs))
    disputed = won + lost
    tail = sum(comb(disputed, i) for i in range(max(won, lost), disputed + 1)) / 2**disputed
    return {"won": won, "lost": lost, "p": min(1.0, 2 * tail) if disputed else 1.0}


@with_progress("compare: methods")
def compare(
    model: ForwardModel | Trajectory,
    generator: nn.Module | None = None,
    *,
    operator: OperatorLike = None,
    targets: int = 100,
    budgets: Sequence[int] = BUDGETS,
    methods: Sequence[str] = (),
    scarce: Sequence[str] = ("cma-es",),
    scarce_targets: int = 20,
    noise: Noise = None,
    prior: float | str | None = None,
    given: Given | None = None,
    exact: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Give every method the same targets and the same budgets.

    Args:
        model: a :class:`ForwardModel`, or checkpoints of training.
        generator: beside checkpoints: their architecture.
        operator: beside checkpoints: what measures the signals; None for the identity.
        targets: own samples of the generator, so that the truth is known.
        budgets: forward-equivalents per target, increasing.
        methods: names from :data:`surfing.evaluation.methods.METHODS`; all but those on request
            where left out.
        scarce: methods so slow that they get the first `scarce_targets` only.
        scarce_targets: see there.
        noise: standard deviations of noise that is added, and told to every method.
        prior: kept in the answer of every method.
        given: inputs by target.
        exact: count every target by its latent, whatever its measurements determine.
        seed: of targets, noise, starts and a named operator.
        progress: called with (methods done, in all).

    Raises:
        InputError, UnknownNameError: a bad argument, before any work.
    """
    budgets = _checked(budgets)
    usual = [name for name, each in METHODS.items() if not each.on_request]
    chosen = [method(name) for name in methods or usual]
    made = model_of(model, generator, operator, seed=seed)
    truth = own_z(made, targets, seed=seed)
    measured = made.measure(made.signals(truth, given=given), given=given)
    task = Task(made, noisy(measured, noise, seed=seed), seed, noise, prior, given)
    problem = made.problem(task.y, noise=noise, prior=prior, given=given)
    criterion = Criterion.of(problem, made, truth, exact=exact)
    curves = []
    for number, each in enumerate(chosen):
        if each.name == RECOVER:
            curves.append(_recovered(task, criterion, budgets))
        else:
            few = min(targets, scarce_targets) if each.name in scarce else targets
            curves.append(_restarted(each, task, criterion, few, budgets))
        if progress is not None:
            progress(number + 1, len(chosen))
    facts = {
        "operator": made.operator.name,
        "m": task.y[0].numel(),
        "k": truth.shape[1],
        "targets": targets,
        "open_directions": int(criterion.open.max()),
        "success": criterion.words,
    }
    return Comparison(budgets, tuple(curves), facts)


def _checked(budgets: Sequence[int]) -> tuple[int, ...]:
    whole = tuple(budgets)
    if not whole or whole[0] <= 0 or any(b <= a for a, b in itertools.pairwise(whole)):
        raise InputError(f"budgets: expected increasing positive numbers, got {list(budgets)}.")
    return whole


def _restarted(
    method: Method,
    task: Task,
    criterion: Criterion,
    count: int,
    budgets: tuple[int, ...],
) -> Curve:
    """Goes until each target's measurements are met or the largest budget is spent."""
    stopping, go = Stopping(), method.make()
    best = torch.full((count,), torch.inf, dtype=torch.float64)
    misfit = best.clone()
    hit = torch.zeros(count, dtype=torch.bool)
    spent = torch.zeros(count, dtype=torch.float64)
    found = torch.zeros(len(budgets), count, dtype=torch.bool)
    paid = torch.zeros(len(budgets), count, dtype=torch.float64)
    level = criterion.level
    open_ = torch.arange(count)
    for number in range(_SCARCE):
        went = go(task, open_.tolist(), number)
        spent[open_] += went.cost.cpu()
        rows = open_.to(went.z.device)
        value = criterion.ranked(went.z, went.misfit, rows).cpu()
        better = value < best[open_]
        index = open_[better]
        best[index], misfit[index] = value[better], went.misfit.cpu()[better]
        hit[index] = criterion.found(went.z, went.misfit, rows).cpu()[better]
        for i, budget in enumerate(budgets):
            within = open_[spent[open_] <= budget]
            found[i, within], paid[i, within] = hit[within], spent[within]
        met = stopping.met(misfit.to(task.y.device), level.take(torch.arange(count))).cpu()[open_]
        open_ = open_[~met & (spent[open_] < budgets[-1])]
        if len(open_) == 0:
            break
    # What a target had come to by a smaller budget it also has at every larger one.
    for i in range(1, len(budgets)):
        unchanged = paid[i] == 0
        found[i, unchanged], paid[i, unchanged] = found[i - 1, unchanged], paid[i - 1, unchanged]
    return Curve(method.name, method.label, found.tolist(), paid.mean(1).tolist())


def _recovered(task: Task, criterion: Criterion, budgets: tuple[int, ...]) -> Curve:
    """The default strategy, anew at every budget; what it spends once is in its cost."""
    found, cost = [], []
    everybody = torch.arange(len(task.y), device=task.y.device)
    for budget in budgets:
        solution = Recover(budget).solve(task)
        found.append(criterion.found(solution.z, solution.risk, everybody).tolist())
        cost.append(float(solution.cost.mean()) + solution.cost_once / max(1, len(task.y)))
    return Curve(RECOVER, METHODS[RECOVER].label, found, cost)

"""What a descent is: `init`, then `step` by `step`, one risk, many rows, each on its own."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.problem.risk import Risk

__all__ = ["AbstractDescent", "State"]


@dataclass(frozen=True)
class State:
    """What a descent carries from step to step, one entry per row.

    Subclasses add tensors whose first axis is the row; :meth:`take` then works for them too.
    """

    rows: Int[Tensor, " r"]
    """Which rows of the risk these are."""
    z: Float[Tensor, "r k"]
    value: Float[Tensor, " r"]
    """f(z), float64."""
    step_norm: Float[Tensor, " r"]
    """Length of the last step that was tried; infinite before the first."""
    predicted_decrease: Float[Tensor, " r"]
    """Decrease of f that the last model predicted, relative to f; infinite where there is none."""
    failed: Bool[Tensor, " r"]
    """No acceptable step was found: going on is pointless."""

    def take(self, index: Tensor) -> Self:
        """The rows of `index` only."""
        return dataclasses.replace(self, **_indexed(self, index))

    def put(self, place: Int[Tensor, " few"], part: Self) -> Self:
        """The same with the entries of some rows replaced; every field is a tensor."""
        names = [field.name for field in dataclasses.fields(self)]
        new = {n: getattr(self, n).index_copy(0, place, getattr(part, n)) for n in names}
        return dataclasses.replace(self, **new)


def _indexed(state: State, index: Tensor) -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if isinstance(value, Tensor):
            picked[field.name] = value[index]
        elif hasattr(value, "take"):
            picked[field.name] = value.take(index)
    return picked


S = TypeVar("S", bound=State)


class AbstractDescent(abc.ABC, Generic[S]):
    """One way down. Configuration only: what evolves is in the state.

    The driver (:func:`surfing.descent.minimise`) owns the loop, the limits, the finite check and
    the best iterate; a descent says how to start and how to take one step for every row given.
    """

    exact_curvature: ClassVar[bool] = True
    """Whether :meth:`curvature` tells products of a Jacobian that was taken, near the end."""
    stage_steps: ClassVar[int] = 50
    """Steps at each stage of a ride, unless the caller says otherwise."""
    final_steps: ClassVar[int] = 1000
    """Steps at the last stage, likewise."""

    @abc.abstractmethod
    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> S:
        """Evaluate the start; `value` must be f(z)."""

    @abc.abstractmethod
    def step(self, risk: Risk, state: S) -> S:
        """One step for every row of the state; a row that finds none keeps its z."""

    @property
    def resumes(self) -> bool:
        """Whether :meth:`resume` makes use of the state; where not, a ride does not keep it."""
        return False

    def resume(self, risk: Risk, z: Float[Tensor, "r k"], state: S) -> S:
        """Go on at z on a risk that is near the one of `state`; as at a start where not said."""
        return self.init(risk, z, state.rows)

    def max_step_cost(self, risk: Risk) -> float:
        """The most that one step may cost a row, in forward-equivalents.

        One value and gradient, where a descent does not say otherwise.
        """
        return 3.0

    def ended(self, state: S) -> Int[Tensor, " r"] | None:
        """A status for each row that this descent ends for a reason of its own.

        `Status.RUNNING` for the others; None where there are no such reasons. A row that is
        solved, diverged or not finite is called that whatever is said here.
        """
        return None

    def curvature(self, state: S) -> Float[Tensor, "r k k"] | None:
        """J'J (penalty included) near z, where the descent knows it."""
        return None

    def current_damping(self, state: S) -> Float[Tensor, " r"] | None:
        """What the next step would add to the diagonal of J'J, where the descent damps its own."""
        return None


def fresh(rows: Tensor, z: Tensor, value: Tensor) -> dict[str, Any]:
    """The common fields of a first state."""
    infinite = torch.full_like(value, torch.inf)
    return {
        "rows": rows,
        "z": z,
        "value": value,
        "step_norm": infinite,
        "predicted_decrease": infinite,
        "failed": torch.zeros_like(rows, dtype=torch.bool),
    }

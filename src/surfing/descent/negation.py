"""The negation check: of z and -z, descend from the lower one.

A random expansive network without biases has, besides z*, one more point where plain descent can
end: near -rho_d z*. Its negative lies in the basin of z*, and f there is lower.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from surfing.descent.base import AbstractDescent, State
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.risk import Risk

__all__ = ["NegationCheck"]


@dataclass(frozen=True)
class NegationCheck(AbstractDescent[Any]):
    """If f(-z) < f(z) then z <- -z, before every step of another descent.

    Costs one forward per step and row, and the start of the other descent for a row that flips.

    Args:
        descent: what steps; its state must be tensors (gradient descent, Levenberg-Marquardt).

    Source: Hand & Voroninski (2017); Huang, Heckel, Heckel & Hand (2018), Algorithm 1.

    >>> from surfing.descent.gradient import GradientDescent
    >>> NegationCheck(GradientDescent(0.5)).descent.step_size
    0.5
    """

    descent: AbstractDescent[Any]

    @property
    def stage_steps(self) -> int:  # type: ignore[override]
        """The other descent's."""
        return self.descent.stage_steps

    @property
    def final_steps(self) -> int:  # type: ignore[override]
        """The other descent's."""
        return self.descent.final_steps

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> Any:
        """The other descent's start.

        Raises:
            InputError: its state holds more than tensors.
        """
        state = self.descent.init(risk, z, rows)
        for field in dataclasses.fields(state):
            if not isinstance(getattr(state, field.name), Tensor):
                raise InputError(
                    f"NegationCheck: {type(self.descent).__name__} keeps {field.name!r}, which is "
                    "not a tensor, so single rows can't be restarted; use GradientDescent or "
                    "LevenbergMarquardt."
                )
        return state

    def step(self, risk: Risk, state: Any) -> Any:
        """Flip the rows whose negative is lower, then step."""
        lower = risk.value(-state.z, state.rows) < state.value
        flipped = lower.nonzero().flatten()
        if len(flipped):
            restarted = self.descent.init(risk, -state.z[flipped], state.rows[flipped])
            state = _put(state, flipped, restarted)
        return self.descent.step(risk, state)

    def max_step_cost(self, risk: Risk) -> float:
        """The other descent's step and, for a row that flips, its start, which costs no more."""
        return 1 + 2 * self.descent.max_step_cost(risk)

    def ended(self, state: Any) -> Int[Tensor, " r"] | None:
        """The other descent's."""
        return self.descent.ended(state)

    def curvature(self, state: Any) -> Float[Tensor, "r k k"] | None:
        """The other descent's."""
        return self.descent.curvature(state)

    def current_damping(self, state: Any) -> Float[Tensor, " r"] | None:
        """The other descent's."""
        return self.descent.current_damping(state)


def _put(state: State, index: Tensor, part: State) -> State:
    """The state with the rows of `index` replaced."""
    merged = {}
    for field in dataclasses.fields(state):
        before: Tensor = getattr(state, field.name)
        merged[field.name] = before.index_copy(0, index, getattr(part, field.name).to(before))
    return dataclasses.replace(state, **merged)

"""How a target's run ended, and what to try."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

__all__ = ["Status", "Statuses", "summarise_status"]

_SHOWN = 12
"""Statuses that are printed before the rest is only counted."""


class Status(IntEnum):
    """How a target's run ended; :attr:`message` says what happened and what to try.

    Whether measurements that are met determine z is told by the Jacobian, which
    Levenberg-Marquardt and `polish` know. A descent by gradients alone can't: its targets are
    `UNIDENTIFIED` only where there are fewer measurements than latents, or where two random
    latents give the same measurements; otherwise they are called `SOLVED`.
    """

    RUNNING = -1
    SOLVED = 0
    NOISE_LEVEL = 1
    UNIDENTIFIED = 2
    CONVERGED = 3
    MAX_STEPS = 4
    BUDGET_SPENT = 5
    STALLED = 6
    PIECE_LIMIT = 7
    DIVERGED = 8
    NONFINITE = 9
    OUTSIDE = 10

    @property
    def label(self) -> str:
        """The name as words."""
        return self.name.lower().replace("_", " ")

    def __str__(self) -> str:
        return self.label

    @property
    def message(self) -> str:
        """The sentence, with its remedy."""
        return _MESSAGES[self]

    @property
    def success(self) -> bool:
        """Whether the measurements are met."""
        return self in (Status.SOLVED, Status.NOISE_LEVEL, Status.UNIDENTIFIED)


_MESSAGES = {
    Status.RUNNING: "still running.",
    Status.SOLVED: "the measurements are met to the requested precision.",
    Status.NOISE_LEVEL: "the residual reached the noise level; going on would fit the noise.",
    Status.UNIDENTIFIED: (
        "the measurements are met, but they do not determine every latent direction: take more "
        "measurements, or pass prior=1e-3, or prior='law' with a noise level."
    ),
    Status.CONVERGED: (
        "a stationary point that does not meet the measurements: a local minimum, or a target "
        "outside the generator's range. Try more starts or a larger budget; `surfing selftest` "
        "tells the two apart."
    ),
    Status.MAX_STEPS: "the steps ran out before it converged: raise max_steps.",
    Status.BUDGET_SPENT: "the budget ran out before it converged: raise the budget.",
    Status.STALLED: (
        "no step lowers the risk any further at this precision: try Stopping(polish=True), or more "
        "starts."
    ),
    Status.PIECE_LIMIT: "the limit on linear pieces was met: raise max_pieces, or lower tau.",
    Status.DIVERGED: "the risk grew without bound: lower the step size.",
    Status.NONFINITE: (
        "the risk or its derivative is not finite: look at the start, the generator and the "
        "operator."
    ),
    Status.OUTSIDE: (
        "the best latents lie far outside of the law of z, or on the edge of its support, and do "
        "not meet the measurements: a local minimum, or a signal that the generator can't make. "
        "Try a larger budget, or a prior: prior=1e-2, or prior='law' with a noise level that "
        "covers what the generator can't make."
    ),
}


class Statuses(Tensor):
    """Integers by target, as any other tensor; printed as words."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():  # what is computed of them is plain
            return func(*args, **(kwargs or {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Statuses:
        return self.as_subclass(Tensor).clone().as_subclass(Statuses)

    def __reduce_ex__(self, protocol: Any) -> Any:
        plain = self.as_subclass(Tensor)  # files load without this class
        return plain.__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        words = [Status(s).label for s in self.flatten().tolist()[:_SHOWN]]
        more = self.numel() - len(words)
        return f"[{', '.join(words)}{f', ... {more} more' if more > 0 else ''}]"


def summarise_status(status: Tensor | Sequence[int]) -> list[tuple[str, int]]:
    """("name: sentence", count) for each status that occurs, the most frequent first."""
    values = status.tolist() if isinstance(status, Tensor) else list(status)
    counts = {s: values.count(s) for s in set(values)}
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(f"{Status(s).label}: {Status(s).message}", count) for s, count in ranked]

"""Inputs by target: what the generator and the operator are told beside z and x, row by row."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Int

__all__ = ["Given", "RowInputs", "asked_names", "required_names"]

Given = Mapping[str, "Tensor | np.ndarray"]
"""Tensors by name, each with one entry along its first axis for every target."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class RowInputs:
    """Keyword arguments whose tensors have one entry for each row.

    Indexing picks rows, so that inputs travel through chunks as latents do.
    """

    generator: Mapping[str, Tensor] = field(default_factory=dict)
    operator: Mapping[str, Tensor] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.generator or self.operator)

    def __len__(self) -> int:
        return next((len(t) for t in self._tensors()), 0)

    def __getitem__(self, index: Int[Tensor, " r"] | slice) -> Self:
        return self._each(lambda t: t[index])

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next((t.device for t in self._tensors()), torch.device("cpu"))

    def to(self, dtype: torch.dtype) -> Self:
        """Floating tensors in another precision."""
        return self._each(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def repeated(self, times: int) -> Self:
        """Every row so many times, side by side."""
        return self._each(lambda t: t.repeat_interleave(times, 0))

    def _tensors(self) -> list[Tensor]:
        return [*self.generator.values(), *self.operator.values()]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(
            {name: change(t) for name, t in self.generator.items()},
            {name: change(t) for name, t in self.operator.items()},
        )

    @classmethod
    def of(
        cls,
        given: Given | None,
        *,
        targets: int,
        generator: frozenset[str],
        operator: frozenset[str],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Self | None:
        """What the caller gave, sorted by who asks for it; None where there is nothing.

        Args:
            given: tensors or arrays by name, (targets, ...).
            targets: how many there are.
            generator: names that the generator's forward takes.
            operator: names that the operator takes.
            device: where the work is done.
            dtype: of floating tensors.

        Raises:
            InputError: no mapping, a name that nobody asks for, another number of targets, what
                is no array of finite numbers.
        """
        if given is None:
            return None
        if not isinstance(given, Mapping):
            raise InputError(
                f"given: expected a dict of tensors by name, got {type(given).__name__}."
            )
        read = {
            str(name): _as_tensor(str(name), value, targets).to(device)
            for name, value in given.items()
        }
        read = {n: t.to(dtype) if t.is_floating_point() else t for n, t in read.items()}
        for name in read:
            if name not in generator | operator:
                known = ", ".join(sorted(generator | operator)) or "no further arguments"
                raise InputError(
                    f"given: nothing asks for {name!r}: the generator's forward and the operator "
                    f"take {known}. Name the argument in one of them, as in "
                    f"operator=lambda x, {name}: ..."
                )
        made = cls(
            {n: t for n, t in read.items() if n in generator},
            {n: t for n, t in read.items() if n in operator},
        )
        return made if made else None


def asked_names(call: Callable[..., Any] | None) -> frozenset[str]:
    """Names of the arguments that a function takes beside its first."""
    return frozenset(p.name for p in _beside_first(call))


def required_names(call: Callable[..., Any] | None) -> frozenset[str]:
    """Those among them that have no default."""
    return frozenset(p.name for p in _beside_first(call) if p.default is inspect.Parameter.empty)


def _beside_first(call: Callable[..., Any] | None) -> list[inspect.Parameter]:
    if call is None:
        return []
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):  # built in: torch.round has no signature
        return []
    named = [p for p in parameters if p.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)]
    if named and named[0].kind in _POSITIONAL:
        named = named[1:]
    return [p for p in named if p.kind is not inspect.Parameter.POSITIONAL_ONLY]


def _as_tensor(name: str, value: object, targets: int) -> Tensor:
    if isinstance(value, np.ndarray | list | tuple):
        try:
            value = torch.from_numpy(np.array(value))  # a copy: it may be read-only, or reversed
        except (TypeError, ValueError) as error:
            raise InputError(f"given[{name!r}]: expected an array of numbers.") from error
    if not isinstance(value, Tensor):
        raise InputError(
            f"given[{name!r}]: expected a tensor ({targets}, ...), one entry for each target, got "
            f"{type(value).__name__}."
        )
    if value.ndim == 0 or len(value) != targets:
        came = tuple(value.shape)
        hint = f" For one value for all, pass it {targets} times." if targets != 1 else ""
        raise InputError(
            f"given[{name!r}]: expected one entry for each of {targets} targets along the first "
            f"axis, got shape {came}.{hint}"
        )
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise InputError(f"given[{name!r}]: expected finite numbers, got NaN or infinity.")
    return value.detach().clone() if value.is_inference() else value.detach()

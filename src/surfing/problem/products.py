"""How many multiplications a call takes, counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["products_of"]


def products_of(call: Callable[[], object]) -> float:
    """Multiplications of matrix products and convolutions, by torch's own formulas for each."""
    from torch.utils.flop_counter import flop_registry  # loads what few calls need

    counter = _Counter(flop_registry)
    with torch.no_grad(), counter:
        call()
    return counter.operations / 2


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """torch's own counter keeps a tally for each module, and loads its compiler: two seconds."""

    def __init__(self, formulas: dict[Any, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._formulas = formulas
        self.operations: float = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = self._formulas.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.operations += formula(*args, **kwargs, out_val=result)
        return result

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
    # Out of inference mode what torch makes of a layer is seen in the parts that have a formula.
    with torch.inference_mode(False), torch.no_grad(), counter:
        call()
    return counter.operations / 2


_NAMES = ("is_contiguous", "size", "stride", "storage_offset", "numel")
_LAYOUT = {f"aten::{way}{name}" for name in _NAMES for way in ("", "sym_")}
_LAYOUT |= {"aten::is_non_overlapping_and_dense", "aten::is_strides_like_format", "aten::dim"}
_LAYOUT |= {"prim::layout"}
"""Asked of tensors that lay themselves out, such as nested ones: they answer themselves."""


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
        if func.name().partition(".")[0] in _LAYOUT:
            return NotImplemented
        result = func(*args, **(kwargs or {}))
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=result)
        return result

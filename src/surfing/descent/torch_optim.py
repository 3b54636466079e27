"""Any element-wise ``torch.optim`` optimiser as a descent of independent rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from surfing.descent.base import AbstractDescent, State, fresh
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.risk import Risk

__all__ = ["TorchOptim"]

_MIXES_ROWS = ("LBFGS", "Adafactor", "Muon", "SparseAdam")


@dataclass(frozen=True)
class _Memory:
    """The optimiser and the one tensor that it moves; indexing a row indexes its moments."""

    make: Callable[[Iterable[Tensor]], Optimizer]
    leaf: Tensor
    optimiser: Optimizer

    @classmethod
    def start(cls, make: Callable[[Iterable[Tensor]], Optimizer], z: Tensor) -> _Memory:
        leaf = z.detach().clone().requires_grad_()
        return cls(make, leaf, make([leaf]))

    def take(self, index: Tensor) -> _Memory:
        kept = _Memory.start(self.make, self.leaf.detach()[index])
        for name, value in self.optimiser.state[self.leaf].items():
            by_row = isinstance(value, Tensor) and value.shape == self.leaf.shape
            kept.optimiser.state[kept.leaf][name] = value[index] if by_row else value
        return kept


@dataclass(frozen=True)
class _State(State):
    gradient: Float[Tensor, "r k"]
    memory: _Memory


@dataclass(frozen=True)
class TorchOptim(AbstractDescent[_State]):
    """Steps of a torch optimiser, every row with its own moments.

    Args:
        make: called with a list of one tensor (rows, k); returns the optimiser.

    Raises:
        InputError: an optimiser that mixes rows (L-BFGS, Adafactor, Muon), where a row's result
            would depend on which others are in the batch.

    >>> from functools import partial
    >>> TorchOptim(partial(torch.optim.Adam, lr=0.05)).stage_steps
    50
    """

    make: Callable[[Iterable[Tensor]], Optimizer]

    def __new__(cls, *make: object, **options: object) -> TorchOptim:
        """Say how options are given, where some are given in the optimiser's own way."""
        strange = sorted(options.keys() - {"make"})
        if strange or len(make) > 1:
            raise InputError(
                f"TorchOptim: expected a function of a list of parameters alone, got "
                f"{', '.join(strange) or 'further arguments'} beside it; give options by "
                "functools.partial, as in TorchOptim(partial(torch.optim.Adam, lr=0.05)).",
                argument="descent",
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        try:
            probe = self.make([torch.zeros(2, 3, requires_grad=True)])
        except TypeError as error:
            raise InputError(
                f"TorchOptim: expected a function of a list of parameters ({error}); give options "
                "by functools.partial, as in TorchOptim(partial(torch.optim.Adam, lr=0.05)).",
                argument="descent",
            ) from error
        kinds = {base.__name__ for base in type(probe).__mro__}
        if not isinstance(probe, Optimizer):
            raise InputError(
                f"TorchOptim: expected a function that returns a torch optimiser, got "
                f"{type(probe).__name__}.",
                argument="descent",
            )
        mixes = kinds.intersection(_MIXES_ROWS)
        if mixes:
            raise InputError(
                f"TorchOptim: {mixes.pop()} mixes the rows of its parameter; use an element-wise "
                "optimiser (Adam, SGD, RMSprop, ...) or surfing.LBFGS."
            )

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> _State:
        """Value and gradient at the start, moments empty."""
        if risk.forward.batch_invariant:
            self._check_bits(z)
        value, gradient = risk.gradient(z, rows)
        memory = _Memory.start(self.make, z)
        return _State(**fresh(rows, z, value), gradient=gradient, memory=memory)

    def _check_bits(self, z: Float[Tensor, "r k"]) -> None:
        """See on made-up gradients that no bit of a row depends on the others.

        Raises:
            InputError: one does.
        """
        draw = torch.Generator().manual_seed(0)
        start, *slopes = torch.randn(4, 33, z.shape[1], generator=draw).to(z)
        whole = self._ends(start, slopes)
        everybody = torch.arange(33, device=z.device)
        others = (everybody.flip(0), everybody[1::2], everybody[:1], everybody[16:17])
        for rows in others:
            if not self._ends(start[rows], [g[rows] for g in slopes]).equal(whole[rows]):
                raise InputError(
                    "batch_invariant: this optimiser gives a row other bits where other rows are "
                    "beside it. Does it use fused kernels, or norms over all rows? Leave "
                    "fused=True out, or take surfing.LBFGS or GradientDescent.",
                    argument="batch_invariant",
                )

    def _ends(self, start: Tensor, slopes: list[Tensor]) -> Tensor:
        memory = _Memory.start(self.make, start)
        for slope in slopes:
            memory.leaf.grad = slope.clone()
            memory.optimiser.step()
        return memory.leaf.detach()

    def step(self, risk: Risk, state: _State) -> _State:
        """One optimiser step; the risk may rise."""
        leaf: Any = state.memory.leaf
        leaf.grad = state.gradient.clone()
        state.memory.optimiser.step()
        with torch.no_grad():
            leaf.copy_(risk.latent.project(leaf))
        z = leaf.detach().clone()
        value, gradient = risk.gradient(z, state.rows)
        step_norm = (z - state.z).norm(dim=-1).double()
        return dataclasses.replace(state, z=z, value=value, gradient=gradient, step_norm=step_norm)

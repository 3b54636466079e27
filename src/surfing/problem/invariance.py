"""Whether blocks of one size are enough for a row's bits not to depend on the others."""

from __future__ import annotations

import contextlib
import copy
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.problem.forward import BLOCK, Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float

    from surfing.generator import State
    from surfing.latents import Latent
    from surfing.problem.forward import Architecture, ForwardMap
    from surfing.problem.inputs import RowInputs

__all__ = ["settle_blocks"]


def settle_blocks(
    architecture: Architecture,
    latent: Latent,
    state: State,
    dtype: torch.dtype,
    inputs: RowInputs | None = None,
) -> None:
    """Give an architecture blocks in which, on latents of the law, no row depends on the others.

    Args:
        architecture: with batch invariance.
        latent: the law.
        state: theta.
        dtype: of the evaluations.
        inputs: of any number of targets, gone through in turn.

    Raises:
        InputError: there are none.
    """
    device = next((t.device for t in state.values()), torch.device("cpu"))
    z = latent.sample(range(BLOCK), 1, seed=0)[:, 0].to(device, dtype)
    if inputs is not None:
        inputs = inputs[torch.arange(BLOCK, device=device) % len(inputs)].to(dtype)
    architecture.blocks = fixed_blocks(architecture, state, z, inputs)


def fixed_blocks(
    architecture: Architecture,
    state: State,
    z: Float[Tensor, "rows k"],
    inputs: RowInputs | None = None,
) -> Blocks:
    """Blocks in which no bit of these latents depends on their places or on the others.

    Kernels don't promise what is seen here: it holds for this machine, and for as many threads.
    Where blocks of many rows fail, rows are taken one by one.

    Args:
        architecture: with batch invariance; its blocks are tried first.
        state: theta.
        z: latents; their dtype is that of the evaluations.
        inputs: one entry for each latent.

    Raises:
        InputError: one row alone gives other bits a second time, or can't be evaluated.
    """
    trial = copy.copy(architecture)
    trial.notes = []  # that a derivative is missing concerns those alone who come to need it
    forward = trial.at(state, dtype=z.dtype if z.dtype == torch.float64 else None)
    try:
        with torch.no_grad():
            forward.linearise(
                z[:1], _of(inputs, slice(0, 1))
            )  # finds out whether there is a forward mode
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"batch_invariant: generator or operator failed on one latent alone ({error}); does it "
            "use the statistics of a batch?",
            argument="batch_invariant",
        ) from error
    kinds = (_values if trial.reverse_only else _ahead, _back)
    sizes = [
        _largest(trial, size, partial(kind, forward), z, inputs)
        for kind, size in zip(kinds, architecture.blocks or (), strict=True)
    ]
    # Without a forward mode, Jacobians too are taken in reverse.
    return Blocks(min(sizes) if trial.reverse_only else sizes[0], sizes[1])


def _largest(
    trial: Architecture,
    size: int,
    evaluate: Callable[[Tensor, RowInputs | None], list[Tensor]],
    z: Tensor,
    inputs: RowInputs | None,
) -> int:
    """`size`, or 1 where that many rows are not enough alike."""
    everybody = torch.arange(len(z), device=z.device)
    # In other places, in other company, and two among copies of themselves.
    moved = (everybody.flip(0), everybody[1::2], everybody[:1], everybody[18:19])
    for rows in dict.fromkeys((size, 1)):
        trial.blocks = Blocks(rows, rows)
        whole = evaluate(z, inputs)
        if all(
            _same(evaluate(z[index], _of(inputs, index)), [t[index] for t in whole])
            for index in moved
        ):
            return rows
    raise InputError(
        "batch_invariant: expected the same bits of the same latent, but this generator, with "
        f"operator {trial.operator.name}, gave others the second time, in {z.dtype} on {z.device}."
        " Does it draw random numbers, or use kernels that are not deterministic?",
        argument="batch_invariant",
    )


def _of(inputs: RowInputs | None, rows: Tensor | slice) -> RowInputs | None:
    return None if inputs is None else inputs[rows]


def _values(forward: ForwardMap, z: Tensor, inputs: RowInputs | None) -> list[Tensor]:
    with torch.no_grad():
        values = z.new_empty(len(z), forward(z[:1], _of(inputs, slice(0, 1))).shape[1])
        forward.fill((values,), lambda at, beside: (forward(at, beside),), z, inputs, passes=3)
    return [values]


def _ahead(forward: ForwardMap, z: Tensor, inputs: RowInputs | None) -> list[Tensor]:
    """Values and Jacobians, row by row."""
    (values,), k = _values(forward, z, inputs), z.shape[1]
    jacobians = values.new_empty(*values.shape, k)
    with torch.no_grad():
        forward.fill(
            (jacobians,), lambda at, beside: forward.linearise(at, beside)[1:], z, inputs, passes=k
        )
    return [values, jacobians]


def _back(forward: ForwardMap, z: Tensor, inputs: RowInputs | None) -> list[Tensor]:
    """Gradients of 1/2 ||A G(z)||^2, and products with J'J."""
    slopes, products = torch.empty_like(z), torch.zeros_like(z)
    forward.fill(
        (slopes,),
        lambda at, beside: (_slope(forward, at, beside),),
        *(z, inputs),
        passes=3,
        reverse=True,
    )
    with contextlib.suppress(NotImplementedError, RuntimeError):
        # Not every module can be differentiated twice; the descents that need it will say so.
        forward.fill(
            (products,),
            lambda at, beside: (forward.curvature_product(at, at, beside),),
            *(z, inputs),
            passes=4,
            reverse=True,
        )
    return [slopes, products]


def _slope(forward: ForwardMap, z: Tensor, inputs: RowInputs | None) -> Tensor:
    leaf = z.detach().requires_grad_()
    with torch.enable_grad():
        value = forward(leaf, inputs)
        if not value.requires_grad:  # A G is constant
            return torch.zeros_like(z)
        f = value.square().sum() / 2
        (slope,) = torch.autograd.grad(f, leaf, materialize_grads=True)
    return slope


def _same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(
        bool(((a == b) | (a.isnan() & b.isnan())).all())
        for a, b in zip(found, expected, strict=True)
    )

"""What is to be recovered: a generator, an operator and measurements, checked before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surfing.errors import GeneratorError, InputError, MeasurementError
from surfing.generator import Generator
from surfing.problem.forward import BLOCK, Architecture
from surfing.problem.invariance import fixed_blocks
from surfing.problem.operators import OperatorLike, as_operator
from surfing.problem.risk import CostMeter, Risk

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import nn

    from surfing.generator import State
    from surfing.latents import Latent

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """y = A G_theta(z) + noise, for many targets and any theta of one trajectory.

    Args:
        architecture: G without its weights, and A.
        y: one line a target.
        latent: the law of z.
        measurement_shape: of one target's measurements, before flattening.
        device: where the work is done.
        blind: two random latents give the same measurements, bit for bit.
    """

    architecture: Architecture
    y: Float[Tensor, "targets m"]
    latent: Latent
    measurement_shape: tuple[int, ...]
    device: torch.device
    blind: bool = False

    @classmethod
    def build(
        cls,
        module: nn.Module,
        state: State,
        y: Float[Tensor, "targets ..."] | np.ndarray | None,
        *,
        latent: Latent,
        operator: OperatorLike = None,
        operator_seed: int = 0,
        batch_invariant: bool = False,
    ) -> Problem:
        """Check everything that can be checked before work starts.

        Args:
            module: the generator's architecture.
            state: any checkpoint of the trajectory.
            y: (targets, ...) as the operator returns it; None for what it makes of two random
                latents, to check the rest before there are measurements.
            latent: the law of z.
            operator: see :func:`surfing.problem.as_operator`.
            operator_seed: of a named operator's own random numbers.
            batch_invariant: see that the bits of a target don't depend on the others.

        Raises:
            GeneratorError: the checkpoint doesn't fit, or G fails on a latent of that length.
            MeasurementError: y is not finite, not real, or not what the operator returns; the
                operator makes nothing finite of signals.
            InputError: batch invariance is asked for and can't be had.
        """
        generator = Generator(module)
        bound = generator.at(state)
        device = next((t.device for t in state.values()), torch.device("cpu"))
        y = None if y is None else _as_measurements(y, device)
        floating = (t.dtype for t in bound.state.values() if t.is_floating_point())
        dtype = next(floating, torch.float32)
        probe = latent.sample([0, 1], 1, seed=0).flatten(0, 1).to(device, dtype)
        with torch.no_grad():
            x = _try_generator(bound, probe)
            signal_shape = tuple(x.shape[1:])
            forward = as_operator(operator, signal_shape, seed=operator_seed, device=device)
            expected = _try_operator(forward, x)
        y = _finite((expected if y is None else y).to(x.dtype))
        if tuple(y.shape[1:]) != tuple(expected.shape[1:]):
            raise MeasurementError(
                f"y: expected (targets, {', '.join(map(str, expected.shape[1:]))}), which is what "
                f"operator {forward.name} makes of a signal of shape {signal_shape}; got "
                f"{tuple(y.shape)}.{_batch_hint(y, expected)}"
            )
        shape = tuple(y.shape[1:])
        architecture = Architecture(
            generator, forward, signal_shape, batch_invariant=batch_invariant
        )
        architecture.check(state, probe, x)
        blind = bool((expected[0] == expected[1]).all())
        problem = cls(architecture, y.flatten(1), latent, shape, device, blind)
        if batch_invariant:
            problem.settle_blocks(state, dtype=x.dtype)
        return problem

    def __len__(self) -> int:
        return len(self.y)

    @property
    def surely_open(self) -> int:
        """Latent directions that no descent can determine, whatever it knows of the Jacobian."""
        k, m = self.latent.dim, self.y.shape[1]
        return k if self.blind else max(0, k - m)

    @property
    def batch_invariant(self) -> bool:
        """Whether the bits of a target must not depend on the others."""
        return self.architecture.batch_invariant

    def settle_blocks(self, state: State, *, dtype: torch.dtype) -> None:
        """Find blocks in which, on latents of the law, no row's bits depend on the others.

        Raises:
            InputError: there are none.
        """
        z = self.latent.sample(range(BLOCK), 1, seed=0)[:, 0].to(self.device, dtype)
        self.architecture.blocks = fixed_blocks(self.architecture, state, z)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done in another way than one would expect."""
        blocks, notes = self.architecture.blocks, tuple(self.architecture.notes)
        if self.blind:
            what = "two random latents give the same measurements, bit for bit"
            notes = (*notes, f"{what}: nothing about z can be found from them.")
        if blocks is None or min(blocks) > 1:
            return notes
        what = "all passes" if blocks.forward == 1 else "reverse passes"
        return (*notes, f"batch invariance: {what} had to be made row by row, which takes long.")

    def risk(
        self,
        state: State,
        owner: Int[Tensor, " rows"],
        *,
        reg: Float[Tensor, " rows"] | None = None,
        meter: CostMeter | None = None,
        dtype: torch.dtype | None = None,
    ) -> Risk:
        """The risk of one stage, for rows that belong to the targets of `owner`."""
        forward = self.architecture.at(state, dtype=dtype)
        y = self.y if dtype is None else self.y.to(dtype)
        return Risk(forward, y, owner, latent=self.latent, reg=reg, meter=meter)

    def signals(
        self, state: State, z: Float[Tensor, "targets k"], *, block: int | None = None
    ) -> Float[Tensor, "targets ..."]:
        """G_theta(z) in the precision of z, each chunk put in place: joining would need as much.

        Args:
            state: theta.
            z: latents.
            block: rows worked on at a time at most, where they are to be those of other calls.
        """
        forward = self.architecture.at(state, dtype=None if z.dtype == self.y.dtype else z.dtype)
        x = z.new_empty(len(z), *self.architecture.signal_shape)
        size = block or max(1, len(z))
        with torch.no_grad():
            for rows, place in zip(torch.split(z, size), torch.split(x, size), strict=True):
                forward.fill((place,), lambda part: (forward.signals(part),), rows, passes=1)
        return x

    def check_start(self, z0: Tensor, starts: int) -> Float[Tensor, "targets starts k"]:
        """Starts that the caller gave, (targets, k) or (targets, starts, k).

        Raises:
            InputError: another shape or device, or not finite.
        """
        k = self.latent.dim
        if not isinstance(z0, Tensor):
            raise InputError(f"z0: expected a tensor, got {type(z0).__name__}.")
        shaped = z0[:, None] if z0.ndim == 2 else z0
        if tuple(shaped.shape) != (len(self), starts, k):
            raise InputError(
                f"z0: expected ({len(self)}, {starts}, {k}) (targets, starts, k), got "
                f"{tuple(z0.shape)}."
            )
        if not z0.is_floating_point():
            raise InputError(f"z0: expected floating point numbers, got {z0.dtype}.")
        if z0.device != self.device:
            raise InputError(f"z0: expected device {self.device}, got {z0.device}.")
        if not bool(torch.isfinite(z0).all()):
            raise InputError("z0: expected finite numbers, got NaN or infinity.")
        return shaped.detach().to(self.y.dtype)


def _as_measurements(y: object, device: torch.device) -> Tensor:
    if isinstance(y, np.ndarray):
        try:
            y = torch.from_numpy(np.array(y))  # a copy: y may be read-only, or reversed
        except (TypeError, ValueError) as error:
            raise MeasurementError(f"y: expected an array of numbers, got {y.dtype}.") from error
    if not isinstance(y, Tensor):
        raise MeasurementError(f"y: expected a tensor (targets, ...), got {type(y).__name__}.")
    if y.is_complex():
        y = torch.view_as_real(y)
    if not y.is_floating_point():
        raise MeasurementError(
            f"y: expected floating point measurements, got {y.dtype}; convert with y.float()."
        )
    if y.device != device:
        raise MeasurementError(
            f"y: is on {y.device}, the trajectory on {device}; move one of them with .to(...)."
        )
    if y.ndim == 0:
        raise MeasurementError("y: expected (targets, ...), got a single number.")
    return y.detach()


def _finite(y: Tensor) -> Tensor:
    bad = (~torch.isfinite(y)).flatten(1).any(-1) if y.ndim > 1 else ~torch.isfinite(y)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise MeasurementError(
            f"y: {int(bad.sum())} of {len(y)} targets hold NaN or infinity, the first is target "
            f"{first}; drop or mask them."
        )
    return y


def _try_generator(bound: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    try:
        x = bound(z)
    except Exception as error:
        raise GeneratorError(
            f"generator: failed on latents of shape {tuple(z.shape)} ({error}); does its input "
            "have the length of the latent law?"
        ) from error
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) != len(z):
        came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise GeneratorError(f"generator: expected signals ({len(z)}, ...), got {came}.")
    return x


def _try_operator(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    try:
        with torch.enable_grad():
            y = forward(x.detach().requires_grad_())
    except Exception as error:
        raise MeasurementError(
            f"operator: failed on signals of shape {tuple(x.shape)} ({error})."
        ) from error
    if not isinstance(y, Tensor) or y.ndim < 2 or len(y) != len(x):
        came = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise MeasurementError(
            f"operator: expected measurements ({len(x)}, ...) of {len(x)} signals, got {came}."
        )
    if not y.is_floating_point() or not y.requires_grad:
        raise MeasurementError(
            f"operator: expected floating point numbers that depend on the signal in a way torch "
            f"can differentiate, got {y.dtype}{'' if y.requires_grad else ' without a gradient'}. "
            "Write it in torch operations, without detach, numpy or rounding."
        )
    whole, met = (torch.isfinite(t).flatten(1).all(-1) for t in (x, y))
    if bool(whole.any()) and not bool((whole & met).any()):  # one of two may leave A's domain
        raise MeasurementError(
            "operator: expected finite measurements of finite signals, got NaN or infinity for "
            "each one that was tried; look at its entries and at the signals that it is made for."
        )
    return y.detach()


def _batch_hint(y: Tensor, expected: Tensor) -> str:
    if y.shape == expected.shape[1:]:
        return " For a single target, pass y[None]."
    if y.ndim > 1 and y[0].numel() == expected[0].numel():
        return " The numbers would fit: reshape y."
    return ""

"""What is to be recovered: a forward model's parts and the measurements of some targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.problem.forward import Architecture
from surfing.problem.invariance import settle_blocks
from surfing.problem.measurements import Level, Measurements
from surfing.problem.risk import CostMeter, Risk

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.generator import State
    from surfing.latents import Latent
    from surfing.problem.inputs import RowInputs
    from surfing.problem.loss import AbstractLoss

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """y = A G_theta(z) + noise, for many targets and any theta of one trajectory.

    Made by :meth:`surfing.ForwardModel.problem`, which checks everything.

    Args:
        architecture: G without its weights, and A.
        data: measurements, their weights and inputs.
        latent: the law of z.
        device: where the work is done.
        blind: two random latents give the same measurements, bit for bit.
        remarks: what was found about the measurements, for people.
        prior: by target, the weight of the law's penalty that is kept in the answer; None for none.
        weak: the prior is ours: it only chooses among latents that meet the measurements.
        loss: how residuals are weighed; squares where left out.
        loss_scale: by target, what the loss takes for the standard deviation of a residual.
    """

    architecture: Architecture
    data: Measurements
    latent: Latent
    device: torch.device
    blind: bool = False
    remarks: tuple[str, ...] = ()
    prior: Float[Tensor, " targets"] | None = None
    weak: bool = False
    loss: AbstractLoss | None = None
    loss_scale: Float[Tensor, " targets"] | None = None

    def __len__(self) -> int:
        return len(self.data)

    @property
    def y(self) -> Float[Tensor, "targets m"]:
        """Measurements, flattened."""
        return self.data.y

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """Of one target's measurements, before flattening."""
        return self.data.shape

    @property
    def inputs(self) -> RowInputs | None:
        """Inputs by target."""
        return self.data.inputs

    @property
    def has_prior(self) -> bool:
        """Whether the caller asked for a prior."""
        return self.prior is not None and not self.weak

    @property
    def level(self) -> Level:
        """What tells whether measurements are met, for each target.

        The latents that measurements came from have a penalty too, about k/2 and seldom above
        k/2 + 3 sqrt(k/2): the minimum of the penalised risk may leave as much, times the prior's
        weight, beyond what the noise explains.
        """
        level = self.data.level
        if self.prior is None or not self.has_prior:
            return level
        k = self.latent.dim
        weight = self.prior.double()
        if level.variance is not None:  # the law's own share is within the noise level
            weight = (weight - level.variance).clamp(min=0)
        return replace(level, slack=weight * (k + 3 * (2 * k) ** 0.5))

    def take(self, targets: Int[Tensor, " t"]) -> Problem:
        """Of some targets."""
        scale = None if self.loss_scale is None else self.loss_scale[targets]
        prior = None if self.prior is None else self.prior[targets]
        return replace(self, data=self.data.take(targets), prior=prior, loss_scale=scale)

    @property
    def surely_open(self) -> Int[Tensor, " targets"]:
        """Latent directions that no descent can determine, whatever it knows of the Jacobian."""
        k = self.latent.dim
        if self.blind:
            return torch.full((len(self),), k, device=self.device)
        return (k - self.data.count).clamp(min=0).long()

    @property
    def batch_invariant(self) -> bool:
        """Whether the bits of a target must not depend on the others."""
        return self.architecture.batch_invariant

    def settle_blocks(self, state: State, *, dtype: torch.dtype) -> None:
        """Find blocks in which, on latents of the law, no row's bits depend on the others.

        Raises:
            InputError: there are none.
        """
        settle_blocks(self.architecture, self.latent, state, dtype, self.inputs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done in another way than one would expect."""
        blocks, notes = self.architecture.blocks, (*self.remarks, *self.architecture.notes)
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
        """The risk of one stage, for rows that belong to the targets of `owner`.

        Args:
            state: theta of the stage.
            owner: target of each row.
            reg: weight of the penalty beside that of the prior, by row.
            meter: where costs go.
            dtype: of the evaluations, where it is not that of the measurements.
        """
        if self.prior is not None:
            kept = self.prior[owner]
            reg = kept if reg is None else reg.double() + kept
        forward = self.architecture.at(state, dtype=dtype)
        y = self.y if dtype is None else self.y.to(dtype)
        inputs = self.inputs
        if dtype is not None and inputs is not None:
            inputs = inputs.to(dtype)
        return Risk(
            forward,
            y,
            owner,
            latent=self.latent,
            reg=reg,
            meter=meter,
            weights=self.data.weights,
            inputs=inputs,
            loss=self.loss,
            scale=self.data.noise if self.loss_scale is None else self.loss_scale,
            level=self.level,
        )

    def signals(
        self, state: State, z: Float[Tensor, "targets k"], *, block: int | None = None
    ) -> Float[Tensor, "targets ..."]:
        """G_theta(z) of each target in the precision of z.

        Args:
            state: theta.
            z: latents, one for each target.
            block: rows worked on at a time at most, where they are to be those of other calls.
        """
        return self.architecture.signals(state, z, self.inputs, block=block)

    def check_start(
        self, z0: Tensor | np.ndarray, starts: int | None = None
    ) -> Float[Tensor, "targets starts k"]:
        """Starts that the caller gave, (targets, k) or (targets, starts, k).

        Raises:
            InputError: another shape, or not finite.
        """
        k = self.latent.dim
        if isinstance(z0, np.ndarray):
            try:
                z0 = torch.from_numpy(np.array(z0))
            except (TypeError, ValueError) as error:
                raise InputError("z0: expected numbers.", argument="z0") from error
        if not isinstance(z0, Tensor):
            raise InputError(
                f"z0: expected a tensor or array, got {type(z0).__name__}.", argument="z0"
            )
        shaped = z0[:, None] if z0.ndim == 2 else z0
        starts = (shaped.shape[1] if shaped.ndim == 3 else 1) if starts is None else starts
        if tuple(shaped.shape) != (len(self), starts, k) or starts < 1:
            raise InputError(
                f"z0: expected ({len(self)}, {starts}, {k}) (targets, starts, k), got "
                f"{tuple(z0.shape)}.",
                argument="z0",
            )
        if not z0.is_floating_point():
            raise InputError(f"z0: expected floating point numbers, got {z0.dtype}.", argument="z0")
        if z0.device != self.device:
            raise InputError(f"z0: expected device {self.device}, got {z0.device}.", argument="z0")
        if not bool(torch.isfinite(z0).all()):
            raise InputError("z0: expected finite numbers, got NaN or infinity.", argument="z0")
        shaped = shaped.detach().clone() if shaped.is_inference() else shaped.detach()
        return shaped.to(self.y.dtype)

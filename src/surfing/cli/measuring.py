"""What is measured of which generator: the options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from cyclopts import Group, Parameter

from surfing.cli.common import as_typed
from surfing.cli.inputs import (
    load_generator,
    load_operator,
    open_run,
    read_given,
    read_noise,
    read_prior,
)
from surfing.problem import ForwardModel

__all__ = ["SHARED", "Measuring"]

SHARED = ("operator", "operator_seed", "generator", "latent", "noise", "prior", "given", "targets")
"""Arguments of the library that are options under the same names."""

_GROUP = Group("The measurements", sort_key=50)


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True, kw_only=True)
class Measuring:
    """A forward model, and what is told of the measurements."""

    operator: str | None = None
    """gaussian:20, inpainting:0.5, downsampling:4, blur:2.0, mri:4 or phase-retrieval:400, or
    package.module:callable; the identity where left out."""

    operator_seed: int = 0
    """Of the operator's own random numbers, as in surfing recover."""

    generator: str | None = None
    """package.module:callable, where the trajectory names no architecture of the zoo."""

    latent: str | None = None
    """normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law."""

    noise: str | None = None
    """Standard deviation of the noise: a number, or a .npy of one for each target or in the shape
    of the measurements, inf where nothing was measured."""

    prior: str | None = None
    """Weight of the law's penalty that is kept in the answer, or law for the MAP estimate."""

    given: list[str] | None = None
    """NAME=FILE.npy, (targets, ...): what generator and operator are told of each target; may be
    repeated."""

    def model(self, run: str, device: torch.device) -> ForwardModel:
        """The model of a run, checked.

        Raises:
            SurfingError: something does not fit.
        """
        trajectory = open_run(run, device, latent=self.latent)
        with as_typed(*SHARED):
            return ForwardModel(
                trajectory,
                generator=load_generator(self.generator, trajectory),
                operator=load_operator(self.operator),
                operator_seed=self.operator_seed,
            )

    def arguments(self) -> dict[str, Any]:
        """`noise`, `prior` and `given`, read from their files.

        Raises:
            InputError: a file that is not there, or not of numbers.
        """
        return {
            "noise": read_noise(self.noise),
            "prior": read_prior(self.prior),
            "given": read_given(self.given),
        }

"""Targets whose latents are known: the generator's own signals, and their measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from surfing import check
from surfing.continuation.ending import singular_values
from surfing.descent.default import EXPENSIVE_TANGENTS
from surfing.descent.stopping import Stopping
from surfing.errors import InputError
from surfing.generator import Generator
from surfing.latents import TRUTHS
from surfing.problem.measurements import Level, Measurements
from surfing.problem.model import ForwardModel, ModelArguments, as_model
from surfing.solution import open_directions
from surfing.starts.scouting import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import nn

    from surfing.problem import Problem
    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise
    from surfing.problem.operators import OperatorLike
    from surfing.trajectory import Trajectory

__all__ = [
    "FOUND",
    "TRUTHS",
    "Criterion",
    "OwnSamples",
    "beside",
    "model_of",
    "noisy",
    "own_samples",
    "own_z",
]

FOUND = 0.01
"""||z - z*|| below which a latent counts as found."""


@dataclass(frozen=True)
class OwnSamples:
    """Targets whose latents are known."""

    z: Float[Tensor, "targets k"]
    x: Float[Tensor, "targets ..."]


def own_samples(
    trajectory: Trajectory, generator: nn.Module, targets: int, *, seed: int = 0
) -> OwnSamples:
    """Latents of the trajectory's law, and the trained generator's signals.

    Raises:
        InputError: the trajectory has no latent law, or `targets` is not positive.
    """
    if trajectory.latent is None:
        raise InputError(
            "latent: the trajectory does not say what law its latents have; open it with "
            "latent=surfing.Normal(k), on the command line --latent normal:K."
        )
    check.integer("targets", targets, low=1)
    state = trajectory[-1].state
    device = next(t.device for t in state.values())
    ids = range(TRUTHS, TRUTHS + targets)
    z = trajectory.latent.sample(ids, 1, seed=seed)[:, 0].to(device)
    bound = Generator(generator).at(state)
    with torch.no_grad():
        x = torch.cat([bound(part) for part in torch.split(z, 256)])
    return OwnSamples(z, x)


def model_of(
    given: ForwardModel | Trajectory,
    generator: nn.Module | None,
    operator: OperatorLike,
    *,
    seed: int,
) -> ForwardModel:
    """A model as it is, or the one that a trajectory makes; `seed` is a named operator's.

    Raises:
        SurfingError: see :class:`surfing.ForwardModel`; also a model, and parts of another.
    """
    made: ModelArguments = {"generator": generator, "operator": operator}
    if not isinstance(given, ForwardModel):
        made["operator_seed"] = seed
    return as_model(given, made)


def own_z(model: ForwardModel, targets: int, *, seed: int = 0) -> Float[Tensor, "targets k"]:
    """Latents of the model's law: the truths of a test.

    Raises:
        InputError: `targets` is not positive.
    """
    check.integer("targets", targets, low=1)
    seed = check.integer("seed", seed)
    ids = range(TRUTHS, TRUTHS + targets)
    z = model.latent.sample(ids, 1, seed=seed)[:, 0]
    return z.to(model.device, model.dtype)


def noisy(
    y: Float[Tensor, "targets ..."], noise: Noise, *, seed: int = 0
) -> Float[Tensor, "targets ..."]:
    """Measurements with normal noise of this level; without it where the level is infinite.

    Raises:
        InputError: a level of another shape.
    """
    if noise is None:
        return y
    Measurements.of(y, noise=noise)  # refuses what is no level
    level = torch.as_tensor(np.asarray(noise) if not isinstance(noise, Tensor) else noise)
    level = level.to(y.device, y.dtype)
    if level.ndim == 1 and len(level) == len(y) and y.ndim > 1:
        level = level.reshape(-1, *[1] * (y.ndim - 1))
    stream = torch.Generator().manual_seed(derived_seed(seed, "noise", 0))
    drawn = torch.randn(y.shape, generator=stream, dtype=torch.float64).to(y)
    return y + torch.where(torch.isfinite(level), level, 0.0) * drawn


def beside(ids: Sequence[int], noise: Noise, given: Given | None, targets: int) -> dict[str, Any]:
    """The noise levels and inputs of some of the targets, as arguments."""
    rows = list(ids)
    level: Any = noise
    if noise is not None and np.ndim(noise) > 0 and len(noise) == targets:  # type: ignore[arg-type]
        level = noise[rows]  # type: ignore[index]
    mine = None if given is None else {name: value[rows] for name, value in given.items()}
    return {"noise": level, "given": mine}


@dataclass(frozen=True)
class Criterion:
    """When a target counts as found.

    By its latent where the measurements determine it: ||z - z*|| < .01. Where they leave directions
    open, or are noisy, by what they can tell: that they are met, to the relative residual or to the
    noise level that counts as met elsewhere.

    Args:
        truth: latents that the measurements came from.
        open: latent directions that the measurements leave open there.
        problem: what is to be recovered.
        exact: go by the latents of all targets, whatever is determined.
    """

    truth: Float[Tensor, "targets k"]
    open: Int[Tensor, " targets"]
    problem: Problem
    exact: bool = False

    @classmethod
    def of(
        cls,
        problem: Problem,
        model: ForwardModel,
        truth: Float[Tensor, "targets k"],
        *,
        exact: bool = False,
    ) -> Criterion:
        """Of own samples: what is open is told by the Jacobian at the truth, where affordable."""
        return cls(truth, _open_at(problem, model, truth), problem, exact)

    @property
    def level(self) -> Level:
        """What tells whether measurements are met."""
        return self.problem.level

    @property
    def by_latent(self) -> Bool[Tensor, " targets"]:
        """Whether each target is to be found by its latent."""
        if self.exact:
            return torch.ones_like(self.open, dtype=torch.bool)
        return (self.open == 0) & (self.level.variance is None)

    def found(
        self, z: Float[Tensor, "t k"], misfit: Float[Tensor, " t"], rows: Int[Tensor, " t"]
    ) -> Bool[Tensor, " t"]:
        """Whether each of some targets is found.

        Args:
            z: where their runs ended.
            misfit: 1/2 ||A G(z) - y||^2 there.
            rows: which targets.
        """
        near = (z - self.truth[rows]).norm(dim=1) < FOUND
        met = Stopping().met(misfit.to(self.truth.device), self.level.take(rows))
        return torch.where(self.by_latent[rows], near, met)

    def ranked(
        self, z: Float[Tensor, "t k"], misfit: Float[Tensor, " t"], rows: Int[Tensor, " t"]
    ) -> Float[Tensor, " t"]:
        """What the runs of a target are ranked by: the misfit, and the prior's part of the risk."""
        prior = self.problem.prior
        if prior is None:
            return misfit.double()
        return misfit.double() + prior[rows] * self.problem.latent.penalty(z.double())

    @property
    def words(self) -> str:
        """What success is."""
        rule = f"||z - z*|| < {FOUND}"
        if self.exact:
            return rule
        if self.level.variance is not None:
            return "measurements met to their noise level"
        loose = self.open > 0
        if not bool(loose.any()):
            return rule
        told = (
            f"measurements met, since they leave up to {int(self.open.max())} latent directions "
            "open"
        )
        if bool(loose.all()):
            return told
        return f"{rule}; for {int(loose.sum())} targets {told}"


def _open_at(problem: Problem, model: ForwardModel, z: Tensor) -> Int[Tensor, " targets"]:
    everybody = torch.arange(len(problem), device=problem.device)
    risk = replace(problem, prior=None, loss=None).risk(model.last, everybody)
    passes = risk.forward.tangent_passes(problem.latent.dim, problem.y.shape[1])
    if passes > EXPENSIVE_TANGENTS:
        return problem.surely_open
    hessian = risk.quadratic(z, everybody).hessian
    return torch.maximum(open_directions(singular_values(hessian)), problem.surely_open)

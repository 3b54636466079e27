"""From what the caller gave to what a ride works on: the problem, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.architectures import generator_from_manifest
from surfing.errors import InputError
from surfing.latents import Latent as LatentLaw
from surfing.problem.problem import Problem
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import nn

    from surfing.latents import Latent
    from surfing.problem.operators import OperatorLike

__all__ = ["Rows", "bind", "check_trajectory", "checked_ids", "draw_starts"]


@dataclass(frozen=True)
class Rows:
    """The rows of a run: `starts` for each target, those of one target side by side."""

    z: Float[Tensor, "rows k"]
    owner: Int[Tensor, " rows"]
    starts: int


def bind(
    trajectory: Trajectory,
    y: Tensor | np.ndarray | None,
    *,
    generator: nn.Module | None,
    operator: OperatorLike,
    latent: Latent | None,
    operator_seed: int,
    batch_invariant: bool = False,
) -> Problem:
    """The problem that the caller's arguments describe, checked; y as in `Problem.build`."""
    check_trajectory(trajectory)
    latent = trajectory.latent if latent is None else latent
    if latent is None:
        raise InputError(
            "latent: the trajectory does not say what law its latents have; pass "
            "latent=surfing.Normal(k) or surfing.Uniform(k, low, high)."
        )
    if isinstance(latent, type) or not isinstance(latent, LatentLaw):
        raise InputError(f"latent: expected a law such as surfing.Normal(k), got {latent!r:.60}.")
    if generator is None:
        if trajectory.architecture is None:
            raise InputError(
                "generator: the trajectory does not name a zoo architecture; pass the module that "
                "was trained as generator=..."
            )
        generator = generator_from_manifest(trajectory.architecture, trajectory[-1].state)
    return Problem.build(
        generator,
        trajectory[-1].state,
        y,
        latent=latent,
        operator=operator,
        operator_seed=operator_seed,
        batch_invariant=batch_invariant,
    )


def draw_starts(
    problem: Problem,
    starts: int,
    *,
    z0: Tensor | None,
    seed: int,
    ids: Sequence[int] | None,
) -> Rows:
    """The caller's starts, or drawn ones: each target has a stream of its own."""
    if isinstance(starts, bool) or not isinstance(starts, int) or starts < 1:
        raise InputError(f"starts: expected a positive integer, got {starts!r}.")
    targets = len(problem)
    ids = checked_ids(ids, targets)
    if z0 is None:
        z = problem.latent.sample(ids, starts, seed=seed).to(problem.device, problem.y.dtype)
    else:
        z = problem.check_start(z0, starts)
    owner = torch.arange(targets, device=problem.device).repeat_interleave(starts)
    return Rows(z.reshape(targets * starts, problem.latent.dim), owner, starts)


def checked_ids(ids: Sequence[int] | None, targets: int) -> Sequence[int]:
    """One id a target; 0, 1, ... where left out.

    Raises:
        InputError: another number of them, or no sequence.
    """
    if ids is None:
        return range(targets)
    there = len(ids) if hasattr(ids, "__len__") and hasattr(ids, "__getitem__") else None
    if there != targets:
        got = f"{ids!r:.60}" if there is None else there
        raise InputError(f"ids: expected {targets}, one a target, got {got}.")
    return ids


def check_trajectory(trajectory: object) -> None:
    """See that a trajectory is one.

    Raises:
        InputError: it is something else, such as a folder's name.
    """
    if not isinstance(trajectory, Trajectory):
        raise InputError(
            f"trajectory: expected a surfing.Trajectory, got {type(trajectory).__name__}; open a "
            "folder by Trajectory.open, the packaged one by surfing.zoo.packaged()."
        )

"""Problems of a few lines, made as the entry points make them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from surfing import ForwardModel, Trajectory
from surfing.problem import Problem
from surfing.problem.measurements import Measurements

__all__ = ["bind", "built", "with_y"]


def bind(trajectory: Trajectory, y: Any, **parts: Any) -> Problem:
    """The problem of a trajectory, its parts and measurements."""
    return ForwardModel(trajectory, **parts).problem(y)


def built(net: nn.Module, state: Any, y: Tensor | Any, *, latent: Any, **parts: Any) -> Problem:
    """The problem of a single network."""
    held = {name: torch.as_tensor(t).detach() for name, t in state.items()}
    trajectory = Trajectory.from_state_dicts([(0, held)], latent=latent)
    return ForwardModel(trajectory, generator=net, **parts).problem(y)


def with_y(problem: Problem, y: Tensor, *, noise: Any = None) -> Problem:
    """The problem with other measurements."""
    return replace(problem, data=Measurements.of(y, noise=noise))

"""How finely the surfaces are sampled, so that a page of a large generator is made in seconds.

A surface takes a forward pass for each point of its grid at each moment. How long a pass takes is
measured; moments between the stages, targets and points are given up in this order, and the page
says what it shows.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from surfing.problem.problem import Problem
    from surfing.report.page.scene import Scene

__all__ = ["Detail", "detail", "residual_norms"]

FULL, COARSE, LEAST = 45, 23, 11
"""Points along each side: at most, before targets are given up, and at least."""
FEW = 2
"""Targets that get a surface however long it takes."""
_SAMPLE = 64


@dataclass(frozen=True)
class Detail:
    """Which surfaces are made.

    Args:
        targets: in the order of the page.
        frames: positions on the trajectory: the stages, and moments between them where there is
            time for these.
        size: points along each side.
    """

    targets: list[int]
    frames: list[float]
    size: int


def detail(
    scene: Scene, targets: list[int], *, size: int | None = None, seconds: float = 5.0
) -> Detail:
    """The finest that can be had in the time, or what was asked for.

    Args:
        scene: with a trajectory, a problem and stages.
        targets: that would get a surface.
        size: points along each side; all frames and targets are kept then. None decides by time.
        seconds: what the passes may take together, about.
    """
    stages = [record.stage for record in scene.solution.stages]
    every = sorted({*stages, *((a + b) / 2 for a, b in pairwise(stages))})
    if size is not None:
        return Detail(targets, every, size)
    passes = seconds / max(_seconds_per_pass(scene), 1e-9)
    for frames in (every, stages):
        fits = math.isqrt(int(passes / (max(1, len(targets)) * len(frames))))
        if fits >= COARSE:
            return Detail(targets, frames, min(FULL, fits))
    # As many targets as can be shown well; the first ones are worth the most.
    affordable = int(passes / (COARSE**2 * len(stages)))
    count = max(min(len(targets), FEW), min(len(targets), affordable))
    fits = math.isqrt(int(passes / (max(1, count) * len(stages))))
    return Detail(targets[:count], stages, max(LEAST, min(COARSE, fits)))


def residual_norms(
    problem: Problem, state: dict[str, torch.Tensor], z: torch.Tensor, target: int
) -> torch.Tensor:
    """||A G(z) - y|| of one target at many latents."""
    owner = torch.full((len(z),), target, device=problem.device)
    risk = problem.risk(state, owner)
    with torch.no_grad():
        misfit = risk.misfit(z, torch.arange(len(z), device=problem.device))
    return (2 * misfit).sqrt().cpu()


def _seconds_per_pass(scene: Scene) -> float:
    """Of one latent in a batch: the better of two, since the first call prepares things."""
    trajectory, problem = scene.trajectory, scene.problem
    if trajectory is None or problem is None:
        return 0.0
    state = trajectory.at(scene.solution.stages[-1].stage)
    z = scene.solution.z[:1].expand(_SAMPLE, -1).contiguous()
    times = []
    for _ in range(2):
        began = time.perf_counter()
        residual_norms(problem, state, z, 0)
        times.append(time.perf_counter() - began)
    return min(times) / _SAMPLE

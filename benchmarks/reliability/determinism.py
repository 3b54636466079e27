"""The same seed gives the same bits again; across batch sizes, the same to rounding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import surfing
from benchmarks.reliability.commands import make_trajectory
from benchmarks.reliability.laws import expect
from surfing import Solution, Status, Trajectory
from surfing.architectures import generator_from_manifest
from surfing.continuation.pilot import DEFAULT

__all__ = ["SAME", "across_batches", "run"]

SAME = 1e-4
"""||z - z'|| of a target that both solved; single precision rounds otherwise at other sizes."""

METHODS: dict[str, Callable[..., Solution]] = {
    "surf": partial(surfing.surf, starts=2),
    "direct": partial(surfing.direct, starts=2),
    "recover": partial(surfing.recover, budget=400, mix=DEFAULT),
}


def run(*, targets: int, seed: int) -> dict[str, Any]:
    """Every method, all pixels and Gaussian measurements, whole and in pieces."""
    with tempfile.TemporaryDirectory() as folder:
        trajectory = make_trajectory(Path(folder) / "run")
        return {
            "tolerance": SAME,
            "methods": {
                f"{name}, {'all pixels' if operator is None else operator}": across_batches(
                    trajectory, method, operator, targets=targets, seed=seed
                )
                for name, method in METHODS.items()
                for operator in (None, "gaussian:8")
            },
        }


def across_batches(
    trajectory: Trajectory,
    method: Callable[..., Solution],
    operator: str | None,
    *,
    targets: int,
    seed: int,
) -> dict[str, Any]:
    """All targets twice, backwards, and in batches of several sizes.

    Returns:
        Over all sizes: the share of targets with the same bits, and the largest ||z - z'||.

    Raises:
        Violation: other bits at the same size, or a status or latent that depends on the size.
    """
    y = _measured(trajectory, operator, targets)
    solve = partial(method, trajectory, operator=operator, seed=seed)
    whole, again = solve(y), solve(y)
    expect(whole.z.equal(again.z), "the same bits again", (whole.z - again.z).abs().max())
    same, largest = [], 0.0
    for size in sorted({1, min(3, targets), min(8, targets), targets}):
        for ids in torch.arange(targets).flip(0).split(size):  # the last target first
            part = solve(y[ids], ids=ids.tolist())
            both = part.success & whole.success[ids]
            expect(
                part.success.tolist() == whole.success[ids].tolist(),
                "solved in a batch of any size",
                [Status(int(s)).name for s in part.status],
            )
            apart = (part.z - whole.z[ids]).norm(dim=-1)
            largest = max([largest, *apart[both].tolist()])
            same += (apart == 0).tolist()
    expect(largest <= SAME, "the same latents in a batch of any size", largest)
    return {
        "solved": int(whole.success.sum()),
        "same_bits": sum(same) / len(same),
        "apart": largest,
    }


def _measured(trajectory: Trajectory, operator: str | None, targets: int) -> torch.Tensor:
    assert trajectory.latent is not None
    assert trajectory.architecture is not None
    net = generator_from_manifest(trajectory.architecture)
    net.load_state_dict(trajectory[-1].state)
    with torch.no_grad():
        x = net.eval()(trajectory.latent.sample(range(targets), 1, seed=5)[:, 0])
        y: torch.Tensor = surfing.problem.as_operator(operator, tuple(x.shape[1:]))(x)
    return y

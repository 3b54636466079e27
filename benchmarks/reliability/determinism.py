"""The same seed gives the same bits again; in other batches to rounding, on request as bits."""

from __future__ import annotations

import tempfile
import time
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
from surfing.zoo import packaged

__all__ = ["SAME", "across_batches", "run"]

SAME = 1e-4
"""||z - z'|| of a target that both solved; single precision rounds otherwise at other sizes."""

TOLD = ("z", "x", "risk", "status", "cost", "candidates_z", "candidates_risk", "singular_values")
"""What batch invariance holds for."""

REPEATS = 2

METHODS: dict[str, Callable[..., Solution]] = {
    "surf": partial(surfing.surf, starts=2),
    "direct": partial(surfing.direct, starts=2),
    "recover": partial(surfing.recover, budget=400),
}


def run(*, targets: int, seed: int, priced: bool = True) -> dict[str, Any]:
    """Every method, all pixels and Gaussian measurements, whole and in pieces.

    Args:
        targets: of each.
        seed: of each.
        priced: measure on the packaged trajectory what batch invariance costs.
    """
    with tempfile.TemporaryDirectory() as folder:
        trajectory = make_trajectory(Path(folder) / "run")
        return {
            "tolerance": SAME,
            "prices": prices(packaged(), seed=seed) if priced else [],
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
        Over all sizes: the share of targets with the same bits, and the largest ||z - z'||. With
        batch invariance: targets compared.

    Raises:
        Violation: other bits at the same size, or a status or latent that depends on the size; with
            batch invariance any number that does.
    """
    y = _measured(trajectory, operator, targets)
    solve = partial(method, trajectory, operator=operator, seed=seed)
    whole, again = solve(y), solve(y)
    expect(whole.z.equal(again.z), "the same bits again", (whole.z - again.z).abs().max())
    same, largest = [], 0.0
    for ids in _batches(targets):
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
        "invariant": _invariant(partial(solve, batch_invariant=True), y),
    }


def _batches(targets: int) -> list[torch.Tensor]:
    """One by one, in threes, in eights and all at once, the last target first."""
    sizes = sorted({1, min(3, targets), min(8, targets), targets})
    return [ids for size in sizes for ids in torch.arange(targets).flip(0).split(size)]


def _invariant(solve: Callable[..., Solution], y: torch.Tensor) -> int:
    """Targets whose whole solution had the same bits in a batch of each size."""
    whole, compared = solve(y), 0
    for ids in _batches(len(y)):
        part = solve(y[ids], ids=ids.tolist())
        for name in TOLD:
            found, there = getattr(part, name), getattr(whole, name)
            # What is unknown of all targets of a batch is None, of some NaN.
            found = there[ids] * torch.nan if found is None else found
            expect(
                torch.equal(found.nan_to_num(-7.0), there[ids].nan_to_num(-7.0)),
                f"the same {name} in a batch of any size",
                ids.tolist(),
            )
        compared += len(ids)
    return compared


def prices(trajectory: Trajectory, *, seed: int) -> list[dict[str, Any]]:
    """What batch invariance costs: the processor's time with it over that without, one thread.

    Each is measured `REPEATS` times, turn by turn; the least of each counts.
    """
    found = []
    for name, method in METHODS.items():
        for targets in (1, 24, 192):
            y = _measured(trajectory, "gaussian:20", targets)
            solve = partial(method, trajectory, y, operator="gaussian:20", seed=seed)
            plain, fixed = [], []
            for _ in range(REPEATS):
                plain.append(_seconds(solve))
                fixed.append(_seconds(partial(solve, batch_invariant=True)))
            found.append(
                {"method": name, "targets": targets, "seconds": min(plain)}
                | {"ratio": min(fixed) / min(plain)}
            )
    return found


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _measured(trajectory: Trajectory, operator: str | None, targets: int) -> torch.Tensor:
    assert trajectory.latent is not None
    assert trajectory.architecture is not None
    net = generator_from_manifest(trajectory.architecture)
    net.load_state_dict(trajectory[-1].state)
    with torch.no_grad():
        x = net.eval()(trajectory.latent.sample(range(targets), 1, seed=5)[:, 0])
        y: torch.Tensor = surfing.problem.as_operator(operator, tuple(x.shape[1:]))(x)
    return y

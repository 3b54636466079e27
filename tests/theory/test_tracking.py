"""Algorithm 2 against the global minimiser of every stage, found by enumerating all pieces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from surfing import EveryCheckpoint, EveryNth, RegionDescent, Status, Trajectory, surf
from surfing.descent.regions.pieces import tau_needed
from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.descent.regions.region_descent import RegionStep
from surfing.theory import (
    GlobalPath,
    global_path,
    small_trajectory,
    sufficient_tau,
    tau_along,
)

REACH = 30.0


@dataclass(frozen=True)
class Small:
    net: nn.Module
    trajectory: Trajectory
    y: Tensor
    path: GlobalPath


@cache
def problem(widths: tuple[int, ...], seed: int, *, targets: int, stages: int) -> Small:
    net, trajectory = small_trajectory(list(widths), stages=stages, seed=seed)
    rng = torch.Generator().manual_seed(70 + seed)
    z = torch.randn(targets, widths[0], generator=rng, dtype=torch.float64)
    with torch.no_grad():
        y = net(z / z.norm(dim=1, keepdim=True))
    return Small(net, trajectory, y, global_path(net, trajectory, y, reach=REACH))


def ride(
    small: Small, target: int, tau: float, *, every: int = 1
) -> tuple[Tensor, list[int], Tensor]:
    """By how much f exceeds the global minimum by stage, the pieces searched, the latents."""
    pieces: list[int] = []

    def observe(step: RegionStep) -> None:
        pieces.append(step.pieces)

    chosen = slice(target, target + 1)
    solution = surf(
        small.trajectory,
        small.y[chosen],
        generator=small.net,
        descent=RegionDescent(tau, recentre=False, reach=2 * REACH, observe=observe),
        schedule=EveryCheckpoint() if every == 1 else EveryNth(every),
        z0=small.path.z[0, chosen, None],
        stage_steps=1,
        max_steps=1,
    )
    stages = [round(record.stage) for record in solution.stages]
    risk = torch.stack([record.risk[0] for record in solution.stages])
    lowest = small.path.risk[stages, target]
    return (risk - lowest) / (1e-6 + lowest), pieces, solution.path[0]


def enough(small: Small, target: int) -> float:
    """The least tau that the whole path needs, and rounding."""
    return float(small.path.tau[:, target].max()) * 1.001 + 1e-6


def exact_throughout(small: Small, target: int) -> tuple[float, float]:
    """Assert that the ride with a sufficient tau is exact at every stage; that tau and the path's.

    Sufficient for the ride's own leaps: where a stage has several global minimisers the ride may
    stand at another one than the path does, from which the next is farther away.
    """
    lowest = small.path.z[:, target]
    tau = sufficient_tau(
        small.net, small.trajectory, lowest, lambda tau: ride(small, target, tau)[2]
    )
    excess, pieces, z = ride(small, target, tau)
    # Both sides are solved to 1e-11 by an interior-point method.
    assert float(excess.abs().max()) < 1e-6
    assert max(pieces) <= max(small.path.pieces) * 1.1
    leaps = (z[:-1] - lowest[1:]).norm(dim=1)
    needed = tau_along(small.net, small.trajectory, z, lowest)
    assert bool((needed <= lipschitz(small)[1:] * leaps + 1e-9).all())
    return tau, enough(small, target)


def lipschitz(small: Small) -> Tensor:
    """max(M, 1)^d by stage: d layers with kinks, M their largest spectral norm."""
    bounds = []
    for checkpoint in small.trajectory:
        weights = [w for name, w in checkpoint.state.items() if "weight" in name][:-1]
        norms = [float(torch.linalg.matrix_norm(w, 2)) for w in weights]
        bounds.append(max(1.0, *norms) ** len(norms))
    return torch.tensor(bounds, dtype=torch.float64)


@pytest.mark.parametrize(
    ("widths", "seed", "targets"), [((2, 8, 7, 30), 0, 3), ((3, 8, 30), 1, 2)], ids=["k=2", "k=3"]
)
def test_algorithm_2_is_exact_at_every_stage_where_tau_is_what_it_needs(
    widths: tuple[int, ...], seed: int, targets: int
) -> None:
    small = problem(widths, seed, targets=targets, stages=10)
    for target in range(targets):
        exact_throughout(small, target)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("widths", [(2, 12, 10, 40), (3, 12, 40)], ids=["k=2", "k=3"])
def test_algorithm_2_is_exact_at_every_stage_of_every_problem(
    widths: tuple[int, ...], seed: int
) -> None:
    """Three problems each, 24 in all, against all pieces enumerated."""
    small = problem(widths, seed, targets=3, stages=24)
    taus = [exact_throughout(small, target) for target in range(3)]
    assert all(tau >= path for tau, path in taus)


def test_a_stage_is_exact_wherever_it_needs_no_more_than_tau() -> None:
    """Whatever the stages before did: a lost ride is found again where a leap is short enough."""
    small = problem((2, 8, 7, 30), 0, targets=3, stages=10)
    seen = []
    for target in range(3):
        lowest = small.path.z[:, target]
        for share in (0.25, 0.5):
            tau = share * enough(small, target)
            excess, _, z = ride(small, target, tau)
            within = tau_along(small.net, small.trajectory, z, lowest) <= tau
            assert bool((excess[1:][within].abs() < 1e-6).all())
            seen += within.tolist()
    assert 10 < sum(seen) < len(seen) - 10


def test_with_tau_too_small_it_is_lost_at_the_first_stage_that_needs_more() -> None:
    small = problem((2, 8, 7, 30), 0, targets=3, stages=10)
    target = int(small.path.tau.max(0).values.argmax())
    tau = enough(small, target) / 2
    lost = int((small.path.tau[:, target] > tau).nonzero()[0])
    excess, *_ = ride(small, target, tau)
    assert float(excess[:lost].abs().max()) < 1e-6
    assert float(excess[lost]) > 1e-4


def test_with_stages_too_far_apart_it_is_lost_at_the_first_leap_beyond_tau() -> None:
    """tau that is enough for every stage is not enough for every third one."""
    small = problem((2, 8, 7, 30), 0, targets=3, stages=10)
    states = [PiecewiseAffine(small.net, small.trajectory[i].state) for i in (3, 6, 9)]
    lost = 0
    for target in range(3):
        tau = enough(small, target)
        z = small.path.z[::3, target]
        needed = [tau_needed(net, a, b) for net, a, b in zip(states, z, z[1:])]
        excess, *_ = ride(small, target, tau, every=3)
        first = next((i for i, leap in enumerate(needed, 1) if leap > tau), len(z))
        assert float(excess[:first].abs().max()) < 1e-6
        # Beyond tau it is lost, unless another piece has a minimum as low, as flat ones have.
        lost += first < len(z) and float(excess[first]) > 1e-4
    assert lost


def test_the_limit_on_pieces_ends_the_row_with_its_status() -> None:
    net, trajectory = small_trajectory([2, 8, 30], stages=3, seed=0)
    solution = surf(
        trajectory,
        torch.zeros(1, 30).double(),
        generator=net,
        descent=RegionDescent(10.0, max_pieces=3),
        schedule=EveryCheckpoint(),
    )
    assert Status(int(solution.status[0])) is Status.PIECE_LIMIT


def test_the_tau_needed_is_within_the_theorems_bound() -> None:
    """|a_i(z) - a_i(z')| <= max(M, 1)^d ||z - z'||, M the largest spectral norm."""
    small = problem((2, 8, 7, 30), 2, targets=2, stages=6)
    for number, checkpoint in enumerate(small.trajectory):
        norms = [
            torch.linalg.matrix_norm(w, 2) for n, w in checkpoint.state.items() if "weight" in n
        ]
        if number:
            step = (small.path.z[number] - small.path.z[number - 1]).norm(dim=1)
            bound = max(1.0, float(max(norms))) ** 2 * step
            assert bool((small.path.tau[number] <= bound + 1e-9).all())

"""Where descent on a random network can end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.theory import ExpansiveReLU, critical_points, rho

K = 2
SEEDS = range(4)


def draw(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def scatter(width: int) -> float:
    """The farthest that a critical point lies from both z* and -rho z*, over several networks."""
    farthest = 0.0
    for seed in SEEDS:
        net = ExpansiveReLU([K, width, width], seed=seed)
        target = draw(K, seed=50 + seed)
        target = target / target.norm()
        starts = torch.cat([draw(4, K, seed=seed), -target + 0.5 * draw(8, K, seed=seed)])
        with torch.no_grad():
            y = net(target[None])[0]
        found = critical_points(net, y, starts, max_steps=300, tolerance=1e-4, seed=seed)
        assert bool(found.still.float().mean() > 0.9)
        points = found.z[found.still]
        shadow = -rho(2) * target
        away = torch.minimum((points - target).norm(dim=1), (points - shadow).norm(dim=1))
        farthest = max(farthest, float(away.max()))
    return farthest


def test_descent_ends_near_the_target_and_its_shadow_alone_once_the_network_is_wide() -> None:
    narrow, wide = scatter(40), scatter(160)
    assert narrow > 0.1  # the law is one of wide networks: narrow ones have other minima
    assert wide < narrow / 2 * 1.6


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_on_the_ray_of_minus_the_target_the_slope_turns_at_rho(depth: int) -> None:
    """f(-t z*) is a parabola in t, with its vertex at <G(-z*), G(z*)> / ||G(-z*)||^2."""
    gaps = []
    for width in (100, 1600):
        turns = []
        for seed in range(8):
            net = ExpansiveReLU([3, *[width] * depth], seed=seed)
            target = draw(1, 3, seed=50 + seed)
            with torch.no_grad():
                here, there = net(target)[0], net(-target)[0]
            turns.append(float(here @ there / there.square().sum()))
        gaps.append(sum((turn - rho(depth)) ** 2 for turn in turns) ** 0.5)
    assert gaps[1] < gaps[0] / 4 * 2  # root mean square of 8: safe to a factor of 2
    assert gaps[1] / 8**0.5 < 0.1


def test_the_measured_gradient_is_small_near_the_two_points_alone() -> None:
    """On a grid, where h says so: 2^d ||grad f - h|| stays below the least ||2^d h|| elsewhere."""
    net = ExpansiveReLU([K, 600, 1200], seed=1)
    target = torch.tensor([1.0, 0.0], dtype=torch.float64)
    mark = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    z = torch.cartesian_prod(mark, mark)
    leaf = z.clone().requires_grad_()
    y = net(target[None]).detach()
    (slope,) = torch.autograd.grad((net(leaf) - y).square().sum() / 2, leaf)
    size = 4 * slope.norm(dim=1)
    shadow = -rho(2) * target
    at_target, at_shadow = (z - target).norm(dim=1), (z - shadow).norm(dim=1)
    elsewhere = (at_target > 0.3) & (at_shadow > 0.3) & (z.norm(dim=1) > 0.3)
    assert float(size[elsewhere].min()) > 0.05
    behind = z[:, 0] < -0.15
    assert float(at_shadow[behind][size[behind].argmin()]) < 0.15
    assert float(size[at_shadow < 0.1].min()) < 0.05


def test_zero_is_a_local_maximum() -> None:
    net = ExpansiveReLU([K, 40, 80], seed=0)
    ways = draw(200, K, seed=1)
    ways = ways / ways.norm(dim=1, keepdim=True)
    with torch.no_grad():
        y = net(draw(1, K, seed=2))
        here = y.square().sum() / 2
        around = (net(1e-4 * ways) - y).square().sum(1) / 2
    assert bool((around < here).all())


def radius(width: int, *, bias: bool) -> float:
    """The mean over networks of the largest ||z|| where descent ends, ||y|| = 1, y without G."""
    largest = []
    for seed in SEEDS:
        net = ExpansiveReLU([3, width, width], bias=bias, readout=width, seed=seed)
        y = draw(width, seed=50 + seed)
        starts = 2 * draw(3, 3, seed=90 + seed)
        found = critical_points(net, y / y.norm(), starts, max_steps=250, tolerance=1e-4)
        assert bool(found.still.all())
        largest.append(float(found.z.norm(dim=1).max()))
    return sum(largest) / len(largest)


@pytest.mark.parametrize("bias", [False, True], ids=["without biases", "with biases"])
def test_for_y_without_the_network_the_ball_of_critical_points_shrinks(bias: bool) -> None:
    """eps falls like one over the root of the width: nine times the width, a third of the ball."""
    narrow, wide = radius(25, bias=bias), radius(225, bias=bias)
    assert wide < narrow / 3 * 1.6
    assert wide < 0.5  # against starts at 2 sqrt(3) and minimisers at 1 for y = G(z*), |z*| = 1


def test_a_minimum_that_is_smooth_is_found_to_the_tolerance() -> None:
    curvature = torch.tensor([1.0, 30.0]).double()

    def bowl(z: Tensor) -> Tensor:
        return z * curvature

    found = critical_points(bowl, torch.zeros(2).double(), draw(5, 2, seed=0), tolerance=1e-6)
    assert bool(found.still.all())
    assert float(found.z.norm(dim=1).max()) < 1e-4


@pytest.mark.parametrize(("starts", "tolerance"), [(torch.zeros(2), 0.1), (torch.zeros(1, 2), 0)])
def test_bad_input_is_refused(starts: Tensor, tolerance: float) -> None:
    with pytest.raises(InputError, match="starts, tolerance"):
        critical_points(ExpansiveReLU([2, 4]), torch.zeros(4), starts, tolerance=tolerance)

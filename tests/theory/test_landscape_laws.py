"""The landscape of random expansive networks: each formula against networks that are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import surfing
from surfing.errors import InputError
from surfing.theory import (
    ExpansiveReLU,
    angle_map,
    expected_gradient,
    expected_risk,
    layer_angles,
    rho,
    weight_distribution,
)

K = 3


def draw(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def measured(net: torch.nn.Module, z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """f and its gradient at every z, for y = G(target)."""
    leaf = z.clone().requires_grad_()
    y = net(target[None]).detach()
    value = (net(leaf) - y).square().sum(1) / 2
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def test_rho_has_the_values_of_the_table() -> None:
    table = [0, 0.3183, 0.4937, 0.6048, 0.6810, 0.7359, 0.7772, 0.8091]
    assert [round(surfing.theory.rho(d), 4) for d in range(1, 9)] == table


def test_rho_of_two_layers_in_closed_form() -> None:
    # th_0 = pi, th_1 = g(pi) = pi/2: the one term left is sin(pi/2)/pi.
    assert rho(2) == pytest.approx(1 / math.pi, abs=1e-15)


@pytest.mark.parametrize("depth", [0, -1, 2.0, True])
def test_depth_must_be_a_positive_integer(depth: object) -> None:
    with pytest.raises(InputError, match="depth"):
        rho(depth)  # type: ignore[arg-type]


def test_the_angle_map_is_the_angle_after_one_wide_layer() -> None:
    # cos g is the mean of n products of unit variance over norms that are as exact: 5 sigma of
    # 3 / sqrt(n) bounds the error of the cosine.
    n = 200_000
    net = ExpansiveReLU([2, n], seed=0)
    for angle in (0.3, 1.0, 2.0, 3.0):
        pair = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]]).double()
        u, v = net(pair).detach()
        cosine = float(u @ v / (u.norm() * v.norm()))
        wanted = float(torch.cos(angle_map(torch.tensor(angle))))
        assert abs(cosine - wanted) < 5 * 3 / math.sqrt(n)


@given(st.floats(0, math.pi))
def test_a_layer_brings_latents_closer(angle: float) -> None:
    mapped = float(angle_map(torch.tensor(angle, dtype=torch.float64)))
    assert 0 <= mapped <= min(angle, math.pi / 2) + 1e-7


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_field_vanishes_at_the_target_and_at_its_negative_shadow(depth: int) -> None:
    target = draw(K, seed=1)
    shadow = -rho(depth) * target
    points = torch.stack([target, shadow]) if depth > 1 else target[None]
    field = expected_gradient(points, target, depth)
    assert float(field.abs().max()) < 1e-14 * float(target.norm())


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_field_vanishes_nowhere_else(depth: int) -> None:
    """On a fine grid of the half plane of z and z*, which is all that h depends on."""
    target = torch.tensor([1.0, 0.0], dtype=torch.float64)
    angle = torch.linspace(0, math.pi, 241, dtype=torch.float64)
    radius = torch.linspace(0.02, 3, 150, dtype=torch.float64)
    unit = torch.stack([angle.cos(), angle.sin()], 1)
    z = (radius[:, None, None] * unit).flatten(0, 1)
    size = 2**depth * expected_gradient(z, target, depth).norm(dim=1)
    away = torch.minimum((z - target).norm(dim=1), (z + rho(depth) * target).norm(dim=1))
    # The zero at -rho z* is degenerate: across it h grows with the square of the distance.
    assert bool((size[away > 0.1] > 1e-3).all())


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(0, 10_000))
def test_the_field_is_the_gradient_of_the_expected_risk(depth: int, seed: int) -> None:
    z, target = draw(4, K, seed=seed), draw(K, seed=seed + 1)
    leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(expected_risk(leaf, target, depth).sum(), leaf)
    assert torch.allclose(slope, expected_gradient(z, target, depth), rtol=1e-9, atol=1e-11)


def test_one_layer_has_its_expectations_exactly() -> None:
    """For d = 1 both formulas are means at any width: 4000 narrow networks, 4.5 standard errors."""
    nets = 4000
    z, target = draw(2, K, seed=3), draw(K, seed=4)
    found = [measured(ExpansiveReLU([K, 8], seed=seed), z, target) for seed in range(nets)]
    for samples, wanted in (
        (torch.stack([value for value, _ in found]), expected_risk(z, target, 1)),
        (torch.stack([slope for _, slope in found]), expected_gradient(z, target, 1)),
    ):
        error = (samples.mean(0) - wanted).abs()
        assert bool((error < 4.5 * samples.std(0) / math.sqrt(nets)).all())


def test_one_layer_keeps_within_its_weight_distribution_constant() -> None:
    """grad f - h = (S_zz - Q_zz) z - (S_zz* - Q_zz*) z*, so the constants bound it, exactly."""
    net = ExpansiveReLU([K, 60], seed=2)
    z, target = draw(50, K, seed=5), draw(K, seed=6)
    _, gradient = measured(net, z, target)
    error = (gradient - expected_gradient(z, target, 1)).norm(dim=1)
    weight = net.weights[0].detach()
    own = weight_distribution(weight, z, z)
    mixed = weight_distribution(weight, z, target.expand_as(z))
    bound = own * z.norm(dim=1) + mixed * target.norm()
    assert bool((error <= bound * (1 + 1e-12)).all())
    assert bool((error > bound / 50).any())  # and the bound says something


@pytest.mark.parametrize(("depth", "width"), [(1, 100), (2, 60), (3, 30)])
def test_gradient_and_risk_approach_their_limits_like_one_over_the_root_of_the_width(
    depth: int, width: int
) -> None:
    """Sixteen times the width: a quarter of the error. Over 8 networks the ratio is safe to 1.6."""
    errors = [relative_errors(depth, scale * width) for scale in (1, 16)]
    for narrow, wide in zip(*errors):
        assert 4 / 1.6 < narrow / wide < 4 * 1.6


def relative_errors(depth: int, width: int) -> tuple[float, float]:
    z, target = draw(30, K, seed=7), draw(K, seed=8)
    field, risk = expected_gradient(z, target, depth), expected_risk(z, target, depth)
    slopes, values = [], []
    for seed in range(8):
        net = ExpansiveReLU([K, *(width * (i + 1) for i in range(depth))], seed=seed)
        value, slope = measured(net, z, target)
        slopes.append(((slope - field).norm(dim=1) / field.norm(dim=1)).mean())
        values.append(((value - risk).abs() / risk).mean())
    return float(torch.stack(slopes).mean()), float(torch.stack(values).mean())


def test_angles_keep_their_digits_at_both_ends() -> None:
    target = torch.tensor([3.0, 4.0], dtype=torch.float64)
    tiny = torch.tensor([[4.0, -3.0]]).double() * 1e-9
    angles = layer_angles(torch.cat([target + tiny, -target + tiny]), target, 1)[0]
    assert float(angles[0]) == pytest.approx(1e-9, rel=1e-6)
    assert float(math.pi - angles[1]) == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize("target", [torch.zeros(K), torch.ones(K + 1), torch.ones(1, K)])
def test_latents_that_have_no_angle_are_refused(target: Tensor) -> None:
    with pytest.raises(InputError, match="target"):
        expected_risk(torch.ones(2, K), target, 2)


def test_networks_are_drawn_as_the_theorems_say() -> None:
    net = ExpansiveReLU([4, 300, 500], bias=True, readout=700, seed=0)
    linears = [layer for layer in net.layers if isinstance(layer, torch.nn.Linear)]
    assert [tuple(w.shape) for w in net.weights] == [(300, 4), (500, 300), (700, 500)]
    assert [layer.bias is not None for layer in linears] == [True, True, False]
    for weight in net.weights:  # standard deviation of a sample variance: sqrt(2 / entries)
        scaled = weight.detach().square().mean() * weight.shape[0]
        assert abs(float(scaled) - 1) < 5 * math.sqrt(2 / weight.numel())
    z = draw(1, 4, seed=1)
    assert torch.equal(ExpansiveReLU([4, 30], seed=3)(z), ExpansiveReLU([4, 30], seed=3)(z))


@pytest.mark.parametrize("widths", [[3], [3, 0], [3, 2.0], [True, 3], []])
def test_widths_are_checked(widths: list[int]) -> None:
    with pytest.raises(InputError, match="widths"):
        ExpansiveReLU(widths)

"""Weight distribution and range-restricted isometry, measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.theory import (
    ExpansiveReLU,
    expected_overlap,
    gaussian_operator,
    range_isometry,
    weight_distribution,
)

K = 4


def draw(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def test_the_overlap_is_the_mean_over_weights() -> None:
    # An entry is a mean of n products w_i w_j of variance at most 3.
    n = 200_000
    weight = draw(n, K, seed=0) / math.sqrt(n)
    for seed in range(4):
        u, v = draw(2, K, seed=10 + seed)
        both = weight[(weight @ u > 0) & (weight @ v > 0)]
        error = (both.T @ both - expected_overlap(u, v)).abs().max()
        assert float(error) < 5 * math.sqrt(3 / n)


def test_the_overlap_swaps_what_it_should() -> None:
    u, v = draw(2, K, seed=1)
    u, v = u / u.norm(), v / v.norm()
    th = torch.acos(u @ v)
    swap = 2 * torch.pi / torch.sin(th) * expected_overlap(u, v)
    swap = swap - (torch.pi - th) / torch.sin(th) * torch.eye(K, dtype=u.dtype)
    across = torch.linalg.svd(torch.stack([u, v]))[2][2:].T
    assert torch.allclose(swap @ u, v, atol=1e-12)
    assert torch.allclose(swap @ v, u, atol=1e-12)
    assert torch.allclose(swap @ across, torch.zeros_like(across), atol=1e-12)


def test_parallel_vectors_keep_half_and_opposite_ones_nothing() -> None:
    u = draw(K, seed=2)
    assert torch.allclose(expected_overlap(u, 3 * u), torch.eye(K).double() / 2, atol=1e-14)
    assert torch.allclose(expected_overlap(u, -u), torch.zeros(K, K).double(), atol=1e-14)


def test_the_weight_distribution_constant_falls_like_one_over_the_root_of_the_width() -> None:
    """Sixteen times the width: a quarter of the constant, within a factor of 1.6."""
    u, v = draw(2, 100, K, seed=3)
    constant = [
        sum(float(weight_distribution(layer(n, seed), u, v).max()) for seed in range(6))
        for n in (100, 1600)
    ]
    assert 4 / 1.6 < constant[0] / constant[1] < 4 * 1.6


def layer(n: int, seed: int) -> Tensor:
    return ExpansiveReLU([K, n], seed=seed).weights[0].detach()


def test_a_gaussian_operator_keeps_inner_products_on_the_range_though_not_elsewhere() -> None:
    """On unit vectors drawn without A the error has deviation at most sqrt(2/m)."""
    m, n = 100, 600
    net = ExpansiveReLU([K, 150, n], seed=0)
    operator = gaussian_operator(m, n, seed=1)
    with torch.no_grad():
        gaps = range_isometry(operator, net, draw(4, 300, K, seed=2))
    assert float(gaps.max()) < 5 * math.sqrt(2 / m)
    everywhere = torch.linalg.matrix_norm(operator.T @ operator - torch.eye(n), ord=2)
    assert float(everywhere) > 1  # the null space alone sees to that


def test_the_isometry_constant_falls_like_one_over_the_root_of_the_measurements() -> None:
    net = ExpansiveReLU([K, 150, 600], seed=0)
    points = draw(4, 300, K, seed=2)
    with torch.no_grad():
        worst = [
            sum(
                float(range_isometry(gaussian_operator(m, 600, seed=s), net, points).max())
                for s in range(6)
            )
            for m in (50, 800)
        ]
    assert 4 / 1.6 < worst[0] / worst[1] < 4 * 1.6


def test_the_identity_is_an_isometry() -> None:
    net = ExpansiveReLU([K, 20], seed=0)
    gaps = range_isometry(torch.eye(20).double(), net, draw(4, 10, K, seed=1))
    assert float(gaps.detach().max()) < 1e-14


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="non-zero"):
        expected_overlap(torch.zeros(3), torch.ones(3))
    with pytest.raises(InputError, match="measurements"):
        gaussian_operator(0, 3)
    with pytest.raises(InputError, match="points"):
        range_isometry(torch.eye(20), ExpansiveReLU([K, 20]), torch.zeros(3, 10, K))

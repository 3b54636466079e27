"""Linear regions: the affine piece is the network, and the enumeration misses none."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from surfing.descent.regions.pieces import Search, enumerate_pieces, piece_at
from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.descent.regions.polytope import Polytope, ProgramCount
from surfing.descent.regions.region_descent import project
from surfing.errors import GeneratorError, InputError
from surfing.theory import small_generator


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 8),
        nn.BatchNorm1d(8),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, (2, 2, 2)),
        nn.ConvTranspose2d(2, 3, 4, 2, 1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 1, 3, padding=1),
        nn.Flatten(),
    )


def leaky() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(3, 9), nn.LeakyReLU(0.1), nn.Linear(9, 7), nn.LeakyReLU(0.3), nn.Linear(7, 5))
    )


NETWORKS = {
    "relu": lambda: small_generator([3, 9, 7, 5]),
    "leaky": leaky,
    "convolutional": convolutional,
}


def network_of(name: str) -> tuple[nn.Module, PiecewiseAffine]:
    torch.manual_seed(0)
    net = NETWORKS[name]().double()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return net.eval(), PiecewiseAffine(net)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_piece_equals_the_network_inside_its_region(name: str) -> None:
    net, network = network_of(name)
    for centre in torch.randn(10, 3).double():
        piece = piece_at(network, centre)
        near = centre + 0.05 * torch.randn(50, 3).double()
        inside = torch.from_numpy(piece.polytope.contains(near.numpy(), tolerance=0.0))
        same = (network.pattern(near) == network.pattern(centre[None])).all(1)
        assert torch.equal(inside, same)
        points = torch.cat([centre[None], near[inside]])
        with torch.no_grad():
            assert torch.allclose(piece(points), net(points), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tau", [0.05, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_enumeration_equals_sampling(name: str, tau: float) -> None:
    """Every pattern that a sample of S(z, theta, tau) has is found, and none that is not in it."""
    net, network = network_of(name)
    centre, reach = torch.full((3,), 0.2).double(), 0.5
    found = {
        piece.key(): piece for piece in enumerate_pieces(network, centre, tau=tau, reach=reach)
    }
    heights = torch.cat(network.preactivations(centre[None]), 1)
    fixed = (heights.abs() > tau)[0]
    points = centre + reach * (2 * torch.rand(20_000, 3, dtype=torch.float64) - 1)
    patterns = network.pattern(points)
    kept = (patterns[:, fixed] == (heights > 0)[:, fixed]).all(1)
    sampled = {row.numpy().tobytes() for row in patterns[kept].unique(dim=0)}
    assert sampled <= set(found)
    for key, piece in found.items():
        inside = torch.from_numpy(piece.inside)[None]
        assert network.pattern(inside).numpy().tobytes() == key
        assert torch.equal(network.pattern(inside)[0, fixed], (heights > 0)[0, fixed])
        with torch.no_grad():
            assert torch.allclose(piece(inside), net(inside), rtol=0, atol=1e-12)
    # What sampling misses is small: a piece with a ball of radius .05 holds ten samples.
    roomy = {key for key, p in found.items() if p.polytope.centre(ProgramCount())[1] > 0.05}
    assert len(roomy & sampled) == len(roomy) > (tau > 0.1)


def test_one_layer_has_as_many_regions_as_its_hyperplanes_in_general_position() -> None:
    torch.manual_seed(0)
    network = PiecewiseAffine(small_generator([2, 9, 4]))
    search = Search()
    pieces = list(
        enumerate_pieces(network, torch.zeros(2), tau=float("inf"), reach=1e4, search=search)
    )
    assert len(pieces) == sum(comb(9, i) for i in range(3))
    assert search.programs.linear <= len(pieces)


def test_the_enumeration_equals_brute_force_over_all_patterns() -> None:
    torch.manual_seed(1)
    network, reach = PiecewiseAffine(small_generator([2, 4, 4, 3])), 50.0
    found = {
        piece.key()
        for piece in enumerate_pieces(network, torch.zeros(2), tau=float("inf"), reach=reach)
    }
    assert found == brute_force(network, reach)


def brute_force(network: PiecewiseAffine, reach: float) -> set[bytes]:
    """Every one of the 2^8 patterns is put to a linear program of its own."""
    keys = set()
    for sides in itertools.product([False, True], repeat=8):
        pattern = torch.tensor(sides)
        images = network.start(torch.tensor([[0.0, 0], [1, 0], [0, 1]]))
        rows, bounds = [], []
        for active in (pattern[:4], pattern[4:]):
            values = images.kink.numpy()
            sign = np.where(active.numpy(), -1.0, 1.0)
            rows.append(sign[:, None] * (values[1:] - values[0]).T)
            bounds.append(-sign * values[0])
            images = network.cross(images, active)
        normals, offsets = np.concatenate(rows), np.concatenate(bounds)
        length = np.linalg.norm(normals, axis=1)
        if np.any(offsets[length < 1e-12] < 0):
            continue
        answer = linprog(
            [0, 0, -1],
            np.c_[normals, length],
            offsets,
            bounds=[(-reach, reach)] * 2 + [(None, 1)],
        )
        if answer.status == 0 and answer.x[2] > 1e-7:
            keys.add(pattern.numpy().tobytes())
    return keys


def test_programs_stay_near_the_pieces_in_ten_dimensions_and_hundreds_of_neurons() -> None:
    torch.manual_seed(0)
    network, search = PiecewiseAffine(small_generator([10, 150, 150, 20])), Search()
    z = torch.randn(10).double()
    found = list(enumerate_pieces(network, z, tau=0.01, max_pieces=300, search=search))
    assert len({piece.key() for piece in found}) == len(found) > 1
    assert search.programs.linear <= 3 * len(found) + 300  # one a piece, one a facet met


def test_the_limit_on_pieces_is_told() -> None:
    network, search = PiecewiseAffine(small_generator([2, 9, 4])), Search()
    found = list(
        enumerate_pieces(network, torch.zeros(2), tau=float("inf"), max_pieces=5, search=search)
    )
    assert len(found) == 5
    assert not search.complete


def test_a_projection_is_the_nearest_point_by_another_solver() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    for _ in range(10):
        rows = rng.normal(size=(12, 4))
        polytope = Polytope.from_rows(rows, np.ones(12))
        z = 5 * rng.normal(size=4)
        slack = {"type": "ineq", "fun": polytope.slack, "jac": lambda _, p=polytope: -p.normals}
        other = minimize(
            lambda p, z=z: ((p - z) ** 2).sum() / 2,
            np.zeros(4),
            jac=lambda p, z=z: p - z,
            constraints=slack,
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 300},
        ).x
        assert np.allclose(project(polytope, z), other, atol=1e-6)


def test_what_is_not_piecewise_affine_is_refused_and_a_monotone_output_set_aside() -> None:
    with pytest.raises(GeneratorError, match="Tanh"):
        PiecewiseAffine(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)))
    assert PiecewiseAffine(nn.Sequential(nn.Linear(2, 3), nn.Sigmoid())).output is not None
    with pytest.raises(InputError, match="tau"):
        list(enumerate_pieces(PiecewiseAffine(nn.Linear(2, 2)), torch.zeros(2), tau=-1))

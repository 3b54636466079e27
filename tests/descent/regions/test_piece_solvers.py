"""The best point of a piece: a quadratic program, and the paper's projected gradient loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import surfing
from surfing.descent.regions.pieces import enumerate_pieces
from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.descent.regions.polytope import Polytope, ProgramCount
from surfing.descent.regions.region_descent import (
    ExactProgram,
    PieceRisk,
    ProjectedGradient,
    project,
)
from surfing.theory import small_generator

SOLVERS = {"exact": ExactProgram(), "gradient": ProjectedGradient(max_steps=20_000)}


def draw(seed: int, k: int, *, rank: int | None = None) -> tuple[PieceRisk, Polytope]:
    """A convex quadratic and a bounded polytope about 0, with random facets."""
    rng = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(k, 2 * k, generator=rng, dtype=torch.float64)
    if rank is not None:
        jacobian[rank:] = 0.0
    offset, y = torch.randn(2, 2 * k, generator=rng, dtype=torch.float64)
    images = torch.cat([offset[None], offset + jacobian])
    rows = torch.randn(3 * k, k, generator=rng, dtype=torch.float64).numpy()
    facets, box = Polytope.from_rows(rows, np.ones(3 * k)), Polytope.box(np.zeros(k), 2.0)
    polytope = Polytope(
        np.concatenate([box.normals, facets.normals]), np.concatenate([box.offsets, facets.offsets])
    )
    return PieceRisk.of(images, 4 * y), polytope


@pytest.mark.parametrize("name", SOLVERS)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_the_point_lies_in_the_piece_and_no_direction_leads_down(
    name: str, seed: int, k: int
) -> None:
    """z minimises f over P if and only if z = Proj_P(z - grad f(z))."""
    risk, polytope = draw(seed, k)
    z = SOLVERS[name](risk, polytope, np.zeros(k), ProgramCount())
    assert bool(polytope.contains(z, tolerance=1e-7))
    slope = risk.hessian @ z + risk.gradient
    length = max(1.0, float(np.linalg.norm(slope)))
    assert np.linalg.norm(project(polytope, z - slope / length) - z) < 1e-5


@given(seed=st.integers(0, 10_000), k=st.integers(1, 5), flat=st.booleans())
@settings(max_examples=25, deadline=None)
def test_both_find_the_same_risk(seed: int, k: int, flat: bool) -> None:
    """Where the quadratic is flat along a direction the points may differ, the risks may not."""
    risk, polytope = draw(seed, k, rank=max(1, k - 1) if flat else None)
    lowest = [
        risk(solve(risk, polytope, np.zeros(k), ProgramCount())) for solve in SOLVERS.values()
    ]
    assert lowest[0] == pytest.approx(lowest[1], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("seed", range(6))
def test_no_point_of_a_fine_grid_is_lower(name: str, seed: int) -> None:
    risk, polytope = draw(seed, 2)
    z = SOLVERS[name](risk, polytope, np.zeros(2), ProgramCount())
    mark = np.linspace(-2, 2, 401)
    grid = np.stack(np.meshgrid(mark, mark), -1).reshape(-1, 2)
    grid = grid[polytope.contains(grid, tolerance=0.0)]
    heights = np.einsum("ni,ij,nj->n", grid, risk.hessian / 2, grid) + grid @ risk.gradient
    lowest = heights.min() + risk.constant
    assert risk(z) <= lowest + 1e-6
    # The nearest grid point inside is a few steps off: f can't be lower than slope times that.
    steepest = np.abs(grid @ risk.hessian + risk.gradient).sum(1).max()
    assert risk(z) >= lowest - 0.05 * steepest


def test_no_program_is_solved_where_the_free_minimiser_is_inside() -> None:
    risk, _ = draw(0, 3)
    count, wide = ProgramCount(), Polytope.box(np.zeros(3), 100.0)
    z = ExactProgram()(risk, wide, np.zeros(3), count)
    assert np.allclose(z, risk.unconstrained())
    assert (count.linear, count.quadratic) == (0, 0)
    ExactProgram()(risk, Polytope.box(np.zeros(3), 1e-3), np.zeros(3), count)
    assert count.quadratic == 1


def test_the_loop_never_rises_and_never_leaves_the_piece() -> None:
    for seed in range(5):
        risk, polytope = draw(seed, 3)
        start = project(polytope, np.full(3, 5.0))
        way = [
            ProjectedGradient(max_steps=steps)(risk, polytope, start, ProgramCount())
            for steps in range(12)
        ]
        assert all(bool(polytope.contains(z, tolerance=1e-7)) for z in way)
        heights = [risk(z) for z in way]
        assert all(b <= a + 1e-9 * abs(a) for a, b in itertools.pairwise(heights))


def short(name: str) -> ExactProgram | ProjectedGradient:
    """The loop, ended sooner."""
    return ProjectedGradient(300) if name == "gradient" else ExactProgram()


def region_problem() -> tuple[nn.Module, torch.Tensor, surfing.Trajectory]:
    torch.manual_seed(5)
    net = small_generator([2, 4, 3, 6])
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(2)
    )
    with torch.no_grad():
        near = net(torch.tensor([[0.5, -0.4], [-0.3, 0.7]]).double())
    return net, near + 0.1 * torch.randn(2, 6).double(), trajectory


@pytest.mark.parametrize("name", SOLVERS)
def test_a_step_with_all_pieces_is_the_lowest_of_a_grid_polished(name: str) -> None:
    net, y, trajectory = region_problem()
    descent = surfing.RegionDescent(float("inf"), recentre=False, solver=short(name), reach=4.0)
    z0 = torch.zeros(2, 1, 2).double()
    found = surfing.direct(trajectory, y, generator=net, descent=descent, z0=z0, max_steps=1)
    mark = torch.linspace(-4, 4, 161).double()
    grid = torch.cartesian_prod(mark, mark)
    with torch.no_grad():
        heights = (net(grid)[:, None] - y).square().sum(2) / 2
    starts = grid[heights.topk(20, dim=0, largest=False).indices.T]
    polished = surfing.direct(trajectory, y, generator=net, z0=starts, starts=20, max_steps=200)
    for target in range(2):
        risk, z = float(found.risk[target]), found.z[target]
        assert float(z.abs().max()) <= 4 + 1e-6
        assert risk <= float(heights[:, target].min()) + 1e-9
        inside = polished.candidates_z[target].abs().amax(1) <= 4
        # Descent is stopped by kinks; where it is not, it ends at the same minimum.
        assert risk <= float(polished.candidates_risk[target][inside].min()) + 1e-7


@pytest.mark.parametrize("name", SOLVERS)
def test_the_limit_on_pieces_is_a_status_and_the_risk_does_not_rise(name: str) -> None:
    net, y, trajectory = region_problem()
    descent = surfing.RegionDescent(10.0, max_pieces=2, solver=short(name))
    z0 = torch.ones(2, 1, 2).double()
    solution = surfing.direct(trajectory, y, generator=net, descent=descent, z0=z0)
    assert {surfing.Status(int(s)) for s in solution.status} == {surfing.Status.PIECE_LIMIT}
    with torch.no_grad():
        before = (net(z0[:, 0]) - y).square().sum(1) / 2
    assert bool((solution.risk <= before + 1e-12).all())


def test_the_loops_point_is_kept_by_the_exact_program() -> None:
    """The minimiser of a piece is a fixed point of both, from wherever it is started."""
    net, y, _ = region_problem()
    pieces = enumerate_pieces(PiecewiseAffine(net), torch.zeros(2), tau=0.5, reach=4.0)
    for piece in itertools.islice(pieces, 5):
        risk = PieceRisk.of(piece.images, y[0])
        z = ProjectedGradient(20_000)(risk, piece.polytope, piece.inside, ProgramCount())
        again = ExactProgram()(risk, piece.polytope, z, ProgramCount())
        assert risk(again) == pytest.approx(risk(z), abs=1e-6)

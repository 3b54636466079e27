"""The picture of linear regions shows the network's own, and those that were searched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from surfing.descent.regions.pieces import enumerate_pieces
from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.errors import InputError
from surfing.report import linear_regions
from surfing.theory import small_generator

PATH = torch.tensor([[0.3, -0.2], [0.5, 0.4], [-0.6, 0.1]], dtype=torch.float64)


def network(k: int = 2) -> PiecewiseAffine:
    torch.manual_seed(3)
    return PiecewiseAffine(small_generator([k, 5, 4, 3]))


def tints(ax) -> np.ndarray:
    (image,) = ax.images
    return np.asarray(image.get_array())


def test_neighbours_differ_and_all_of_a_region_is_alike() -> None:
    net = network()
    ax = linear_regions(net, PATH, size=61)
    shades = tints(ax)
    x0, x1, y0, y1 = ax.images[0].get_extent()
    # For k = 2 the plane is the latent space itself, turned about the path's end.
    flat = ax.lines[0].get_xydata()
    away = (PATH - PATH[-1]).numpy()
    turn = np.linalg.lstsq(flat, away, rcond=None)[0]
    assert np.allclose(flat @ turn, away, atol=1e-12)
    across, up = np.meshgrid(np.linspace(x0, x1, 61), np.linspace(y0, y1, 61))
    z = PATH[-1] + torch.from_numpy(np.stack([across, up], -1).reshape(-1, 2) @ turn)
    sides = net.pattern(z).numpy().reshape(61, 61, -1)
    for a, b, one, other in (
        (sides[1:], sides[:-1], shades[1:], shades[:-1]),
        (sides[:, 1:], sides[:, :-1], shades[:, 1:], shades[:, :-1]),
    ):
        assert np.array_equal((a != b).any(-1), (one != other).any(-1))


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.4, float("inf")])
def test_what_is_coloured_is_what_the_search_finds(tau: float) -> None:
    net = network()
    ax = linear_regions(net, PATH, tau=tau, size=81, margin=1.5)
    x0, x1, y0, y1 = ax.images[0].get_extent()
    flat = ax.lines[0].get_xydata()
    turn = np.linalg.lstsq(flat, (PATH - PATH[-1]).numpy(), rcond=None)[0]
    across, up = np.meshgrid(np.linspace(x0, x1, 81), np.linspace(y0, y1, 81))
    z = PATH[-1].numpy() + np.stack([across, up], -1).reshape(-1, 2) @ turn
    found = [piece.polytope for piece in enumerate_pieces(net, PATH[-2], tau=tau, reach=50.0)]
    inside = np.any([polytope.contains(z, tolerance=0.0) for polytope in found], 0)
    assert inside.any()
    grey = (tints(ax).reshape(-1, 3) == to_rgb("#f1f1ef")).all(1)
    assert np.array_equal(grey, ~inside)


def test_an_axes_is_taken_and_given_back_and_written(tmp_path: Path) -> None:
    figure = Figure()
    ax = figure.subplots()
    assert linear_regions(network(3), torch.randn(4, 3).double(), size=41, ax=ax) is ax
    figure.savefig(tmp_path / "regions.svg")
    assert (tmp_path / "regions.svg").read_text().startswith("<?xml")


def test_the_path_is_drawn_up_to_the_stage() -> None:
    for stage in range(3):
        ax = linear_regions(network(), PATH, stage=stage, size=21)
        assert len(ax.lines[0].get_xdata()) == stage + 1


def test_a_stage_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="one of the path's 3, got 3"):
        linear_regions(network(), PATH, stage=3)
    with pytest.raises(InputError, match="path: expected finite latents"):
        linear_regions(network(), torch.full((2, 2), torch.nan).double())

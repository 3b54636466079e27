"""Published problems: the operator is theirs, the searches search, the commands run."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.published import page, relu
from benchmarks.published.laloy import FiniteDifferences, StochasticAdam
from benchmarks.published.rays import CELL, Rays, Survey, cell_lengths
from benchmarks.published.spatial_gan import SpatialCritic, SpatialGenerator
from benchmarks.published.train_channels import main as train_channels

# The first published truth, packed, and every 23rd of its travel times (MIT licence, Laloy 2018).
TRUTH = (
    "eNrlks0NwjAMhV+UA8eMkFFgs3QDVqrEIh0hN3JAffgPaCXEEQnhyyc7tZ28PgCJZAfQhIJCTrCqQqpDUbkqDuQs"
    "yNYxKrUqDfYtfY6m2sLnOGuJJcUP4YeawlKb/v2YHCX2v25F5GFPkGsX5+LgmZ/iuh7pTy8bQWiiXUyCJCr62tqd"
    "LW7T8V9R3Bob2W/YWYWL21Npss5ixLcx1JM72WvI3mJcpA+3J8Y/z6ffEOsOdgfgeQ=="
)
TIMES = [
    83.916667,
    174.721698,
    163.851317,
    151.638553,
    139.021404,
    128.757799,
    120.349379,
    112.071487,
    104.154321,
    93.470251,
    82.531287,
    82.630144,
    77.511194,
    84.134224,
    85.588483,
    88.333604,
    93.319897,
    101.127529,
    109.739152,
    119.660121,
    129.466253,
    141.114585,
    151.548812,
    163.961971,
    174.812012,
    79.75,
]
DATA = Path(__file__).parents[3] / "shared" / "data" / "channels"


def published_truth() -> torch.Tensor:
    packed = np.frombuffer(zlib.decompress(base64.b64decode(TRUTH)), np.uint8)
    bits = np.unpackbits(packed)[: 125 * 60]
    return torch.from_numpy(bits.reshape(1, 1, 125, 60).astype(np.float64))


def test_published_travel_times_are_reproduced() -> None:
    times = Rays(as_published=True)(published_truth())[0, ::23]
    assert times.tolist() == pytest.approx(TIMES, abs=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["", "_cont"])
def test_all_published_travel_times_are_reproduced(number: int, kind: str) -> None:
    file = DATA / f"gpr-truth-{number}.npz"
    if not file.is_file():
        pytest.skip("the published truths are not here")
    with np.load(file) as truth:
        x = torch.from_numpy(truth[f"m_true{kind}"]).double()[None, None]
        assert np.abs(Rays(as_published=True)(x)[0].numpy() - truth[f"d_true{kind}"]).max() < 1e-9


def test_published_order_is_not_that_of_the_section() -> None:
    # What the companion code does, said aloud: the times are those of a reordered field.
    difference = Rays()(published_truth()) - Rays(as_published=True)(published_truth())
    assert difference.abs().max() > 10


def test_lengths_add_up_to_the_rays() -> None:
    rays = Survey().rays()
    whole = np.hypot(rays[:, 2] - rays[:, 0], rays[:, 3] - rays[:, 1])
    assert cell_lengths(rays, 125, 60).sum(1).numpy() == pytest.approx(whole)


def test_diagonal_of_square_cells() -> None:
    lengths = cell_lengths(np.array([[0, 0, 3 * CELL, 3 * CELL]]), 3, 3).reshape(3, 3)
    assert lengths.numpy() == pytest.approx(np.eye(3) * CELL * 2**0.5, abs=1e-6)


def test_even_fields_take_length_by_velocity() -> None:
    rays = Rays()
    lengths = rays.lengths.sum(0)
    assert torch.allclose(rays(torch.zeros(1, 1, 125, 60).double())[0], lengths / 0.08)
    assert torch.allclose(rays(torch.ones(1, 1, 125, 60).double())[0], lengths / 0.06)


def test_steep_sigmoids_come_near_the_cut() -> None:
    x = torch.rand(2, 1, 125, 60, generator=torch.Generator().manual_seed(0)).double()
    cut = Rays().of_binary(x)
    errors = [float((Rays(steepness=s)(x) - cut).abs().max()) for s in (8.0, 32.0, 1000.0)]
    assert errors[0] > errors[1] > errors[2]


def test_spatial_generator_makes_sections_row_by_row() -> None:
    net = SpatialGenerator(2).eval()
    z = torch.rand(3, 15, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        x = net(z)
        assert x.shape == (3, 1, 125, 60)
        assert net.field(z.reshape(-1, 1, 5, 3)).shape == (3, 1, 129, 65)
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
        assert torch.allclose(net(z[1:2]), x[1:2], atol=1e-5)
        assert SpatialCritic(2)(torch.zeros(1, 1, 129, 65)).shape == (1, 1, 5, 3)


def quadratic(z: torch.Tensor) -> torch.Tensor:
    return z @ torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]])


@pytest.mark.parametrize(
    "search", [StochasticAdam(iterations=2000), FiniteDifferences(iterations=20, weight=1e-9)],
    ids=["adam", "gauss-newton"],
)  # fmt: skip
def test_published_searches_solve_what_is_easy(search: object) -> None:
    truth = torch.tensor([[0.3, -0.6], [-0.2, 0.5]])
    found = search(quadratic, quadratic(truth), torch.zeros(2, 2), 1e-6)
    assert torch.allclose(found.z, truth, atol=5e-3)
    assert (found.cost > 0).all()


def test_stochastic_clipping_stays_inside() -> None:
    goal = quadratic(torch.tensor([[3.0, -0.6]]))
    for clip in ("redraw", "project"):
        found = StochasticAdam(iterations=300, clip=clip)(quadratic, goal, torch.zeros(1, 2), 0.0)
        assert found.z.abs().max() <= 1


def test_training_records_and_packs(tmp_path: Path) -> None:
    from PIL import Image

    image = tmp_path / "ti.png"
    Image.fromarray((np.indices((200, 200)).sum(0) // 20 % 2 * 255).astype(np.uint8)).save(image)
    train_channels([str(image), "--out", str(tmp_path / "out"), "--width", "2", "--batch", "2",
                    "--steps", "3", "--looks", "3", "--pack"])  # fmt: skip
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["kept"] == [0, 1, 3]
    assert (tmp_path / "out" / "part-1.zip").is_file()
    assert (tmp_path / "out" / "samples.png").is_file()


def test_relu_command_without_data(tmp_path: Path) -> None:
    out = tmp_path / "relu.json"
    relu.main(["--targets", "5", "--methods", "lm", "layerwise", "--out", str(out)])
    lines = json.loads(out.read_text())["lines"]
    assert {line["method"] for line in lines} == {"lm", "layerwise"}
    assert all(0 <= line["recovered"] <= line["targets"] == 5 for line in lines)


def test_page_is_what_the_records_say() -> None:
    kept = Path(__file__).parents[2] / "docs" / "published.md"
    assert kept.read_text(encoding="utf-8") == page.text()

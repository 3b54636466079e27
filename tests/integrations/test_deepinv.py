"""deepinv itself: its pipeline around our reconstructor, and its physics as operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import surfing

deepinv = pytest.importorskip("deepinv")

from surfing.errors import InputError  # noqa: E402
from surfing.integrations.deepinv import SurfingReconstructor  # noqa: E402

PILOT = surfing.Pilot(targets=4, goes=1)


@pytest.fixture(scope="module")
def sensing() -> deepinv.physics.Physics:
    """12 measurements of 25 pixels, of 3 latents."""
    rng = torch.Generator().manual_seed(0)
    return deepinv.physics.CompressedSensing(m=12, img_size=(1, 5, 5), rng=rng)


def test_the_reconstructor_in_deepinvs_own_pipeline(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, sensing: deepinv.physics.Physics
) -> None:
    """deepinv.test measures, recovers and scores: in-range pictures come back to 3 digits."""
    model = SurfingReconstructor(path, net, mix=PILOT)
    data = [{"x": x, "y": measured} for x, measured in zip(y, sensing.A(y), strict=True)]
    before = {name: t.clone() for name, t in net.state_dict().items()}
    net.train()
    result = deepinv.test(
        model,
        DataLoader(data, batch_size=6),
        sensing,
        metrics=[deepinv.metric.PSNR(max_pixel=float(y.max() - y.min()))],
        device="cpu",
        non_blocking_transfers=False,
        verbose=False,
        show_progress_bar=False,
    )
    assert result["PSNR"] > 70  # deepinv ends its scale at 80
    assert net.training
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert not list(model.parameters())


def test_it_is_recover_and_the_pilot_is_made_once_for_a_physics(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, sensing: deepinv.physics.Physics
) -> None:
    pilots: list[float] = []

    class Counted(surfing.Pilot):
        def choose(self, bench):
            pilots.append(bench.budget)
            return super().choose(bench)

    pilot = Counted(targets=4, goes=1)
    model = SurfingReconstructor(path, net, budget=300, mix=pilot, seed=3)
    measured = sensing.A(y)
    x = model(measured, sensing)
    expected = surfing.recover(
        path, measured, generator=net, operator=sensing, budget=300, mix=pilot, seed=3
    )
    first = model.solution
    assert first is not None
    assert torch.equal(x, expected.x)
    assert first.info == expected.info
    assert torch.equal(model(measured, sensing), x)
    assert len(pilots) == 2  # the model's first call's, and recover's
    other = deepinv.physics.Denoising()
    model(y, other)
    assert len(pilots) == 3
    model(measured, sensing)
    assert len(pilots) == 3


def test_the_noise_of_the_physics_is_where_descent_stops(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    noisy = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.05))
    torch.manual_seed(0)
    model = SurfingReconstructor(path, net, mix=PILOT)
    measured = noisy(y)
    model(measured, noisy)
    assert model.solution is not None
    assert model.solution.covariance is not None
    # The residual of 25 measurements with 3 latents: sigma^2 chi^2(22) / 2, below its 1 - 1e-6
    # quantile for each of the targets.
    assert bool((model.solution.risk < 0.5 * 0.05**2 * 72).all())
    noisy.noise_model.sigma = torch.tensor([0.05, 0.1])
    with pytest.raises(InputError, match="one sigma"):
        model(measured, noisy)

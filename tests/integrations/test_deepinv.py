"""deepinv itself: its pipeline around our reconstructor, and its physics as operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import surfing

deepinv = pytest.importorskip("deepinv")

from tests.problems import built  # noqa: E402

from surfing.errors import InputError  # noqa: E402
from surfing.integrations.deepinv import SurfingReconstructor, SurfingSampler  # noqa: E402


@pytest.fixture(scope="module")
def sensing() -> deepinv.physics.Physics:
    """12 measurements of 25 pixels, of 3 latents."""
    rng = torch.Generator().manual_seed(0)
    return deepinv.physics.CompressedSensing(m=12, img_size=(1, 5, 5), rng=rng)


def test_the_reconstructor_in_deepinvs_own_pipeline(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, sensing: deepinv.physics.Physics
) -> None:
    """deepinv.test measures, recovers and scores: in-range pictures come back to 3 digits."""
    model = SurfingReconstructor(path, net)
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


def test_it_is_recover(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, sensing: deepinv.physics.Physics
) -> None:
    model = SurfingReconstructor(path, net, budget=300, seed=3)
    measured = sensing.A(y)
    x = model(measured, sensing)
    expected = surfing.recover(path, measured, generator=net, operator=sensing, budget=300, seed=3)
    first = model.solution
    assert first is not None
    assert torch.equal(x, expected.x)
    assert first.info == expected.info
    assert torch.equal(model(measured, sensing), x)


def test_the_noise_of_the_physics_is_where_descent_stops(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    noisy = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.05))
    torch.manual_seed(0)
    model = SurfingReconstructor(path, net)
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


@dataclass(frozen=True)
class Measured:
    """A physics of the library, and what it needs of a signal."""

    build: Callable[[], deepinv.physics.Physics]
    channels: int = 1
    forward_mode: bool = True


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def fourier() -> deepinv.physics.Physics:
    """Complex measurements."""
    return deepinv.physics.LinearPhysics(A=torch.fft.rfft2, A_adjoint=torch.fft.irfft2)


def blur() -> deepinv.physics.Physics:
    kernel = deepinv.physics.functional.blur.gaussian_blur(sigma=(0.6, 0.6))
    return deepinv.physics.Blur(filter=kernel, padding="circular")


IMAGE = (1, 8, 8)
physics = deepinv.physics
PHYSICS = {
    "sensing": Measured(lambda: physics.CompressedSensing(m=20, img_size=IMAGE, rng=rng())),
    "structured": Measured(
        lambda: physics.StructuredRandom(img_size=IMAGE, output_size=IMAGE, rng=rng())
    ),
    "inpainting": Measured(lambda: physics.Inpainting(img_size=IMAGE, mask=0.5, rng=rng())),
    "blur": Measured(blur),
    "downsampling": Measured(
        lambda: physics.Downsampling(img_size=IMAGE, filter="bilinear", factor=2)
    ),
    "mri": Measured(
        lambda: physics.MRI(mask=torch.eye(8).roll(2, 1) + torch.eye(8), img_size=(2, 8, 8)),
        channels=2,
    ),
    "tomography": Measured(
        lambda: physics.Tomography(angles=6, img_width=8, normalize=True), forward_mode=False
    ),
    "phase retrieval": Measured(
        lambda: physics.RandomPhaseRetrieval(m=100, img_size=IMAGE, rng=rng())
    ),
    "complex": Measured(fourier),
}


class Sine(nn.Module):
    """A layer that the structured Jacobian engine has no rule for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) + torch.cumsum(x, -1) / 100


def generator_of(channels: int, bend: nn.Module) -> nn.Sequential:
    torch.manual_seed(channels)
    last = nn.Linear(24, channels * 64)
    return nn.Sequential(nn.Linear(3, 24), bend, last, nn.Unflatten(1, (channels, 8, 8)))


def path_to(net: nn.Module) -> surfing.Trajectory:
    """From other weights to those of the module, on a straight line."""
    end = net.state_dict()
    start = {name: t + 0.1 * torch.randn(t.shape, generator=rng()) for name, t in end.items()}
    states = [(i, {n: start[n].lerp(end[n], i / 3) for n in end}) for i in range(4)]
    return surfing.Trajectory.from_state_dicts(states, latent=surfing.Normal(3))


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature:UserWarning")
@pytest.mark.parametrize("bend", [nn.ReLU(), Sine()], ids=["structured", "plain"])
@pytest.mark.parametrize("name", PHYSICS)
def test_a_physics_is_an_operator(name: str, bend: nn.Module) -> None:
    """Its Jacobian is autograd's, and measurements of the generator's own pictures are met.

    Of a generator with structure, tangents go straight through a linear physics; of any other,
    the physics must have a forward mode, or reverse mode is used and a note says so.
    """
    measured, net = PHYSICS[name].build(), generator_of(PHYSICS[name].channels, bend)
    reversed_ = isinstance(bend, Sine) and not PHYSICS[name].forward_mode
    path, z = path_to(net), surfing.Normal(3).sample(range(3), 1, seed=2)[:, 0]

    def measure(z: Tensor) -> Tensor:
        x = net(z.reshape(-1, 3))
        return measured.A(x.cfloat() if name == "phase retrieval" else x)

    def flat(z: Tensor) -> Tensor:
        y = measure(z)
        return (torch.view_as_real(y) if y.is_complex() else y).flatten()

    with torch.no_grad():
        y = measure(z)
    problem = built(net, path[-1].state, y, latent=path.latent, operator=measured)
    value, jacobian = problem.architecture.at(path[-1].state).linearise(z[:2])
    # Single precision, sums of some hundred terms.
    for row in range(2):
        expected = torch.autograd.functional.jacobian(flat, z[row])
        torch.testing.assert_close(value[row], flat(z[row]), rtol=1e-4, atol=1e-5)
        scale = float(expected.abs().max())
        torch.testing.assert_close(jacobian[row], expected, rtol=1e-4, atol=1e-5 * scale)
    assert problem.architecture.reverse_only == reversed_

    solution = surfing.recover(path, y, generator=net, operator=measured)
    assert bool(solution.success.all()), solution.summary()
    with torch.no_grad():
        residual = (measure(solution.z) - y).abs().flatten(1).norm(dim=1)
        assert bool((residual < 1e-3 * y.abs().flatten(1).norm(dim=1)).all())
    assert any("reverse mode" in note for note in solution.notes) == reversed_


def test_the_sampler_gives_mean_and_variance_as_deepinvs_do(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    noisy = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.1))
    torch.manual_seed(0)
    measured = noisy(y)
    sampler = SurfingSampler(path, net, draws=20)
    mean, variance = sampler.sample(measured, noisy)
    draws = surfing.sample(path, measured, generator=net, operator=noisy, noise=0.1, draws=20)
    picture = draws.signals()
    assert torch.allclose(mean, picture.mean, atol=1e-5)
    assert torch.allclose(variance.sqrt(), picture.std, atol=1e-4)
    assert torch.equal(sampler(measured, noisy), mean)
    assert float((mean - y).square().mean()) < 0.1**2
    assert not list(sampler.parameters())


def test_the_sampler_takes_the_law_of_counts(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    counts = deepinv.physics.Denoising(deepinv.physics.PoissonNoise(gain=0.05))
    positive = y.clamp(min=0)[:3]
    sampler = SurfingSampler(path, net, draws=10)
    sampler(counts(positive), counts)
    assert sampler.draws is not None
    assert torch.isfinite(sampler.draws.z).all()
    with pytest.raises(InputError, match="GaussianNoise or PoissonNoise"):
        SurfingSampler(path, net)(y, deepinv.physics.Denoising(deepinv.physics.ZeroNoise()))

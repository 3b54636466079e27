"""Draws of the posterior: closed forms, two modes, calibration, identity, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing.posterior.moments import covariance_of, quantiles_of

K, M = 3, 7


class Linear(nn.Module):
    """G(z) = B z."""

    def __init__(self) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(0)
        self.basis = nn.Parameter(torch.randn(M, K, generator=stream))

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.basis.T


class Folded(nn.Module):
    """G(z) = (|z_1|, z_2, ...): z and its mirror image are told apart by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * torch.cat([z[:, :1].abs(), z[:, 1:]], 1)


class Bent(nn.Module):
    """A smooth network of two layers."""

    def __init__(self) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(16, K, generator=stream) / 2)
        self.second = nn.Parameter(torch.randn(M, 16, generator=stream) / 3)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.first.T) @ self.second.T


class Kinked(nn.Module):
    """A ReLU network, whose posterior has many shallow modes where noise is large."""

    def __init__(self) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(2)
        self.first = nn.Parameter(torch.randn(24, K, generator=stream))
        self.second = nn.Parameter(torch.randn(M, 24, generator=stream) / 3)

    def forward(self, z: Tensor) -> Tensor:
        return torch.relu(z @ self.first.T) @ self.second.T


def model_of(net: nn.Module, latent: Any = None, **options: Any) -> surfing.ForwardModel:
    states = [(0, net.state_dict())]
    trajectory = surfing.Trajectory.from_state_dicts(states, latent=latent or surfing.Normal(K))
    return surfing.ForwardModel(trajectory, generator=net, **options)


def measured(
    model: surfing.ForwardModel, targets: int, noise: float, seed: int = 5
) -> tuple[Tensor, Tensor]:
    truth = model.latent.sample(range(10_000, 10_000 + targets), 1, seed=seed)[:, 0]
    y = model.measure(model.signals(truth))
    stream = torch.Generator().manual_seed(seed)
    return truth, y + noise * torch.randn(y.shape, generator=stream)


@pytest.mark.parametrize("spread", [0.3, "by entry"])
def test_of_a_linear_generator_mean_and_covariance_are_the_closed_form(spread: Any) -> None:
    net = Linear()
    model = model_of(net)
    _, y = measured(model, 4, 0.3)
    noise = torch.linspace(0.2, 1.0, M).expand(4, -1) if spread == "by entry" else spread
    precision = torch.as_tensor(noise).double().expand(4, M).square().reciprocal()
    basis = net.basis.detach().double()
    hessian = torch.einsum("mk,tm,ml->tkl", basis, precision, basis) + torch.eye(K)
    covariance = torch.linalg.inv(hessian)
    mean = (covariance @ (basis.T @ (precision * y.double()).T).T.unsqueeze(-1)).squeeze(-1)
    count = 2000
    draws = surfing.sample(model, y, noise=noise, draws=count)
    # All draws are exact, and weigh the same.
    assert draws.ess.min() > 0.999 * count
    std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((draws.mean - mean).abs() < 5 * std / count**0.5).all()
    error = std.unsqueeze(-1) * std.unsqueeze(-2) * (2 / count) ** 0.5
    assert ((draws.covariance - covariance).abs() < 5 * error).all()
    assert draws.modes.count.tolist() == [1] * 4


def test_of_a_linear_generator_a_weight_of_the_prior_counts_as_a_narrower_law() -> None:
    net = Linear()
    _, y = measured(model_of(net), 2, 0.3)
    noise, weight = 0.3, 0.9
    draws = surfing.sample(model_of(net), y, noise=noise, prior=weight, draws=2000)
    basis = net.basis.detach().double()
    covariance = torch.linalg.inv(basis.T @ basis / noise**2 + weight / noise**2 * torch.eye(K))
    assert torch.allclose(draws.covariance, covariance.expand(2, -1, -1), atol=0.15 * 0.05)


def test_both_modes_are_found_with_their_masses() -> None:
    model = model_of(Folded())
    truth, y = measured(model, 20, 0.05)
    draws = surfing.sample(model, y, noise=0.05, draws=100)
    clear = truth[:, 0].abs() > 0.5
    assert clear.sum() >= 8
    assert (draws.modes.count[clear] == 2).all()
    heavy = draws.modes.mass[clear, 0]
    assert (heavy - 0.5).abs().max() < 0.1
    assert torch.allclose(draws.modes.z[clear, 0, 0], -draws.modes.z[clear, 1, 0], atol=1e-3)
    side = draws.z[clear][:, :, 0].sign()
    centre = draws.modes.z[clear][:, :, 0].sign().gather(1, draws.mode[clear])
    assert torch.equal(side, centre)


def test_ranks_of_the_truth_are_uniform() -> None:
    """Simulation-based calibration: chi-squared over ten bins, each coordinate."""
    model = model_of(Bent())
    targets, noise = 400, 0.2
    truth, y = measured(model, targets, noise)
    draws = surfing.sample(model, y, noise=noise, draws=50, starts=4)
    below = (draws.weights.unsqueeze(-1) * (draws.z < truth.unsqueeze(1))).sum(1)
    stream = torch.Generator().manual_seed(0)
    size = draws.ess.unsqueeze(-1)
    rank = (below * size + torch.rand(below.shape, generator=stream)) / (size + 1)
    for column in rank.T:
        counts = torch.histc(column.float(), bins=10, min=0, max=1)
        chi2 = float(((counts - targets / 10) ** 2 / (targets / 10)).sum())
        assert chi2 < 27.9  # the .999 quantile with 9 degrees of freedom


def test_intervals_hold_as_often_as_they_say() -> None:
    model = model_of(Bent(), surfing.Uniform(K, -1, 1))
    truth, y = measured(model, 300, 0.1)
    draws = surfing.sample(model, y, noise=0.1, draws=100, starts=4)
    assert (draws.z.abs() <= 1).all()
    for level, slack in ((0.5, 0.06), (0.95, 0.03)):
        low, high = draws.interval(level)
        held = ((truth >= low) & (truth <= high)).double().mean()
        assert abs(float(held) - level) < slack


def test_a_target_has_its_draws_whatever_is_beside_it() -> None:
    model = model_of(Bent())
    _, y = measured(model, 6, 0.2)
    known = surfing.learn(model, 500)
    options: dict[str, Any] = {"noise": 0.2, "draws": 30, "learned": known}
    together = surfing.sample(model, y, **options)
    alone = surfing.sample(model, y[4:5], ids=[4], **options)
    assert torch.allclose(alone.z[0], together.z[4], atol=1e-2)
    assert torch.allclose(alone.weights[0], together.weights[4], atol=1e-2)
    again = surfing.sample(model, y, executor="local", **options)
    assert torch.equal(again.z, together.z)
    other = surfing.sample(model, y, seed=1, **options)
    assert not torch.allclose(other.z, together.z, atol=1e-2)


def test_draws_are_kept_and_read(tmp_path: Path) -> None:
    model = model_of(Bent())
    _, y = measured(model, 3, 0.2)
    draws = surfing.sample(model, y, noise=0.2, draws=10)
    path = draws.save(tmp_path / "draws.safetensors")
    with pytest.raises(surfing.OutputExistsError):
        draws.save(path)
    read = surfing.Draws.open(path, model)
    for name in ("z", "weights", "mode", "ess", "status", "misfit", "noise", "cost"):
        assert torch.equal(getattr(read, name), getattr(draws, name))
    assert torch.equal(read.modes.mass, draws.modes.mass)
    assert (read.summary(), read.info) == (draws.summary(), draws.info)
    assert torch.equal(read.signals().mean, draws.signals().mean)
    with pytest.raises(surfing.InputError, match=r"signals\(model=...\)"):
        surfing.Draws.open(path).signals()
    path.write_bytes(b"\x00" * 64)
    with pytest.raises(surfing.InputError, match="damaged"):
        surfing.Draws.open(path)


def test_statistics_of_signals_are_those_of_all_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(Bent())
    _, y = measured(model, 3, 0.2)
    draws = surfing.sample(model, y, noise=0.2, draws=40)
    whole = draws.signals(levels=(0.25,))
    x = model.signals(draws.z.flatten(0, 1)).reshape(3, 40, M)
    assert torch.allclose(whole.mean.double(), (draws.weights.unsqueeze(-1) * x).sum(1), atol=1e-5)
    variance = covariance_of(x, draws.weights).diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(whole.std.double(), variance.sqrt(), atol=1e-5)
    quantile = quantiles_of(x, draws.weights, [0.25], size=draws.ess)
    assert torch.allclose(whole.quantiles, quantile.float(), atol=1e-5)
    monkeypatch.setattr("surfing.posterior.signals._BYTES", 1000)
    slabs = draws.signals(levels=(0.25,))
    assert torch.allclose(slabs.std, whole.std, atol=1e-5)
    assert torch.allclose(slabs.quantiles, whole.quantiles, atol=1e-5)


def test_quantiles_of_equal_weights_stand_at_i_over_n_plus_one() -> None:
    values = torch.arange(1.0, 20.0)[None, :, None].double()
    even = torch.full((1, 19), 1 / 19, dtype=torch.float64)
    found = quantiles_of(values, even, [0.05, 0.5, 0.925])
    assert found.flatten().tolist() == pytest.approx([1.0, 10.0, 18.5])


def test_resampling_takes_each_draw_as_often_as_it_weighs() -> None:
    model = model_of(Bent())
    _, y = measured(model, 2, 0.5)
    draws = surfing.sample(model, y, noise=0.5, draws=20)
    taken = draws.resampled(4000)
    assert torch.allclose(taken.double().mean(1), draws.mean, atol=0.01)


def test_counts_have_the_poisson_law() -> None:
    """With one latent the posterior is summed up on a grid."""

    class Rates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.linspace(-0.5, 0.8, 5)[:, None])

        def forward(self, z: Tensor) -> Tensor:
            return torch.exp(0.5 + z @ self.slope.T)

    model = model_of(Rates(), surfing.Normal(1))
    truth = torch.tensor([[0.7], [-1.2]])
    with torch.no_grad():
        y = torch.poisson(model.signals(truth), generator=torch.Generator().manual_seed(3))
    draws = surfing.sample(model, y, noise=surfing.Poisson(), draws=3000)
    grid = torch.linspace(-6, 6, 4001)[:, None]
    rate = model.signals(grid).double()
    for target in range(2):
        log = (y[target] * rate.log() - rate).sum(1) - grid[:, 0].double() ** 2 / 2
        mass = torch.softmax(log, 0)
        mean = (mass * grid[:, 0]).sum()
        std = (mass * (grid[:, 0] - mean) ** 2).sum().sqrt()
        assert abs(float(draws.mean[target, 0] - mean)) < 5 * float(std) / 2000**0.5
        assert float(draws.std[target, 0] / std) == pytest.approx(1, abs=0.08)


def test_an_unknown_level_is_estimated_and_told() -> None:
    wide = nn.Linear(K, 80)
    model = model_of(wide)
    _, y = measured(model, 5, 0.3)
    draws = surfing.sample(model, y, noise="estimate", draws=20)
    assert torch.allclose(draws.noise, torch.full((5,), 0.3, dtype=torch.float64), rtol=0.3)
    assert "estimated from the residuals" in draws.summary()
    with pytest.raises(surfing.InputError, match="can't be estimated from 7 measurements"):
        surfing.sample(model_of(Bent()), measured(model_of(Bent()), 1, 0.1)[1], noise="estimate")


def test_a_target_out_of_range_is_called_a_misfit() -> None:
    model = model_of(Bent())
    draws = surfing.sample(model, torch.full((1, M), 9.0), noise=0.01, draws=10, budget=300)
    assert surfing.DrawsStatus(int(draws.status[0])) is surfing.DrawsStatus.MISFIT
    assert "noise is larger than said" in draws.messages()[0]


def test_beyond_a_dense_jacobian_draws_are_not_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Linear()
    model = model_of(net)
    _, y = measured(model, 2, 0.3)
    monkeypatch.setattr(
        surfing.posterior.block.BlockSampler, "weighted", property(lambda self: False)
    )
    draws = surfing.sample(model, y, noise=0.3, draws=1500)
    assert set(draws.status.tolist()) == {int(surfing.DrawsStatus.UNWEIGHTED)}
    basis = net.basis.detach().double()
    covariance = torch.linalg.inv(basis.T @ basis / 0.09 + torch.eye(K))
    assert torch.allclose(draws.covariance, covariance.expand(2, -1, -1), atol=0.1 * 0.06)


def test_with_many_latents_no_matrix_of_their_size_is_formed() -> None:
    k, m, noise = 160, 40, 0.5
    torch.manual_seed(0)
    net = nn.Linear(k, m, bias=False)
    model = model_of(net, surfing.Normal(k))
    _, y = measured(model, 1, noise)
    draws = surfing.sample(model, y, noise=noise, draws=400, starts=2)
    assert draws.status.tolist() == [int(surfing.DrawsStatus.UNWEIGHTED)]
    slope = net.weight.detach().double()
    covariance = torch.linalg.inv(slope.T @ slope / noise**2 + torch.eye(k))
    std = covariance.diagonal().sqrt()
    mean = covariance @ (slope.T @ y[0].double()) / noise**2
    assert (draws.mean[0] - mean).abs().max() < 5 * float(std.max()) / 400**0.5
    assert float((draws.std[0] / std).mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"noise": None}, "noise: expected standard deviations > 0"),
        ({"noise": "guess"}, "noise: expected standard deviations > 0"),
        ({"noise": 0.0}, "noise"),
        ({"noise": -1.0}, "noise"),
        ({"draws": 1}, "draws: expected an integer of at least 2"),
        ({"prior": None}, "prior: expected 'law'"),
        ({"prior": 0.0}, "prior"),
        ({"starts": 0}, "starts"),
        ({"noise": surfing.Poisson(), "prior": 0.1}, "prior: expected 'law'"),
        ({"noise": surfing.Poisson()}, "expected counts >= 0"),
        ({"learned": 3}, "learned"),
    ],
)
def test_what_can_not_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    model = model_of(Bent())
    y = torch.linspace(-1, 1, M)[None]
    with pytest.raises(surfing.InputError, match=said):
        surfing.sample(model, y, **({"noise": 0.1} | wrong))


def test_the_form_with_a_trajectory_and_inputs_by_target() -> None:
    net = Bent()
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(K)
    )

    def masked(x: Tensor, mask: Tensor) -> Tensor:
        return x * mask

    mask = (torch.rand(3, M, generator=torch.Generator().manual_seed(0)) < 0.8).float()
    truth = surfing.Normal(K).sample(range(3), 1, seed=1)[:, 0]
    with torch.no_grad():
        y = masked(net(truth), mask)
    draws = surfing.sample(
        trajectory,
        y.numpy(),
        generator=net,
        operator=masked,
        given={"mask": mask},
        noise=0.1,
        draws=20,
        budget=300,
    )
    assert draws.z.shape == (3, 20, K)
    assert draws.signals().mean.shape == (3, M)


def test_no_targets_have_no_draws() -> None:
    model = model_of(Bent())
    draws = surfing.sample(model, torch.zeros(0, M), noise=0.1, draws=5)
    assert draws.z.shape == (0, 5, K)
    assert "0 targets" in draws.summary()


def test_blocks_are_joined_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(Bent())
    _, y = measured(model, 5, 0.2)
    known = surfing.learn(model, 500)
    whole = surfing.sample(model, y, noise=0.2, draws=10, learned=known)
    monkeypatch.setattr("surfing.posterior.block._BYTES", 1)
    monkeypatch.setattr("surfing.posterior.randomise._BYTES", 8000)
    parts = surfing.sample(model, y, noise=0.2, draws=10, learned=known)
    assert torch.allclose(parts.z, whole.z, atol=1e-2)
    assert dataclasses.replace(parts, seconds=0).notes == whole.notes


def test_moves_leave_the_posterior_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws of a linear generator stay exact when all are made to move."""
    monkeypatch.setattr("surfing.posterior.around._MOVE_BELOW", 2.0)
    net = Linear()
    model = model_of(net)
    _, y = measured(model, 2, 0.3)
    count = 2000
    still = surfing.sample(model, y, noise=0.3, draws=20)
    draws = surfing.sample(model, y, noise=0.3, draws=count)
    basis = net.basis.detach().double()
    covariance = torch.linalg.inv(basis.T @ basis / 0.09 + torch.eye(K))
    mean = (covariance @ (basis.T @ y.double().T / 0.09)).T
    std = covariance.diagonal().sqrt()
    assert ((draws.mean - mean).abs() < 5 * std / count**0.5).all()
    error = 5 * (2 / count) ** 0.5 * std[:, None] * std
    assert ((draws.covariance - covariance).abs() < error).all()
    assert draws.cost.min() > still.cost.max()


def test_where_few_draws_carry_the_weight_they_move_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(Kinked())
    truth, y = measured(model, 120, 1.0)
    options: dict[str, Any] = {"noise": 1.0, "draws": 60, "starts": 4}
    moved = surfing.sample(model, y, **options)
    monkeypatch.setattr("surfing.posterior.around._MOVE_BELOW", 0.0)
    weighed = surfing.sample(model, y, **options)
    few = weighed.ess < 30
    assert few.sum() > 20
    assert (moved.ess[few] > weighed.ess[few]).all()
    assert torch.equal(moved.z[~few], weighed.z[~few])
    low, high = moved.interval(0.9)
    held = ((truth >= low) & (truth <= high))[few].double().mean()
    assert 0.82 < float(held) < 0.97


def test_what_is_done_with_a_block_can_be_sent_to_workers() -> None:
    import pickle

    from surfing.posterior.sample import sampler_of

    model = surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:12")
    job, level = sampler_of(model, noise=surfing.Poisson(0.1), draws=5, starts=2)
    assert level is None
    sent = pickle.loads(pickle.dumps(job))
    assert (sent.noise, sent.draws, sent.starts) == (job.noise, 5, 2)
    y = model.measure(model.signals(model.latent.sample([0], 1, seed=0)[0])).abs()
    assert torch.allclose(sent(y, ids=[0]).z, job(y, ids=[0]).z, atol=1e-4)

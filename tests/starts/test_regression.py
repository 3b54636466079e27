"""One regression over a whole bank: exact on linear data, careful with noise."""

import pytest
import torch

import surfing
from surfing.starts.regression import LinearInverse

N, K, D = 400, 3, 12


def _linear(noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(N, K, generator=rng)
    matrix = torch.randn(K, D, generator=rng)
    return z, z @ matrix + 2 + noise * torch.randn(N, D, generator=rng), matrix


def test_a_linear_map_is_inverted() -> None:
    z, y, _ = _linear()
    inverse = LinearInverse.fit(z, y)
    torch.testing.assert_close(inverse(y[:20]), z[:20], rtol=0, atol=1e-3)


def test_noise_that_is_known_shrinks_towards_the_mean() -> None:
    z, y, _ = _linear()
    inverse = LinearInverse.fit(z, y)
    loose = inverse(y, torch.tensor([[1e4]]))
    assert (loose - z.mean(0)).norm(dim=1).median() < 0.1
    own = inverse(y[:2], torch.tensor([[0.0], [1e4]], dtype=torch.float64))
    torch.testing.assert_close(own[0], inverse(y[:1])[0])
    torch.testing.assert_close(own[1], loose[1])


def test_the_ridge_is_larger_where_samples_are_noisy_and_the_answer_beats_least_squares() -> None:
    z, y, _ = _linear(noise=3.0)
    few = LinearInverse.fit(z[:40], y[:40])
    assert few.ridge > LinearInverse.fit(*_linear()[:2]).ridge
    bare = torch.linalg.lstsq(y[:40] - y[:40].mean(0), z[:40] - z[:40].mean(0)).solution
    plain = (y[40:] - y[:40].mean(0)) @ bare + z[:40].mean(0)
    assert (few(y[40:]) - z[40:]).square().mean() < (plain - z[40:]).square().mean()


def test_with_fewer_samples_than_features_the_leading_ones_are_used() -> None:
    z, y, _ = _linear()
    inverse = LinearInverse.fit(z[:10], y[:10])
    assert len(inverse.mean) == 5
    assert torch.isfinite(inverse(y)).all()


@pytest.mark.parametrize(("k", "leading"), [(99, 0), (100, 1)])
def test_with_many_latents_it_comes_first(k: int, leading: int) -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(k, 2 * k)
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(k))
    model = surfing.ForwardModel(path, generator=net)
    learned = surfing.learn(model, 1500)
    assert learned.leading == leading
    z = torch.randn(4, k)
    first = learned.starts(model, net(z).detach(), 1)[:, 0]
    if leading:
        torch.testing.assert_close(first, z, rtol=0, atol=0.05)


@pytest.mark.parametrize("count", [4, 6, 12])
def test_no_candidate_of_many_latents_comes_twice(count: int) -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(100, 150)
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(100))
    model = surfing.ForwardModel(path, generator=net)
    learned = surfing.learn(model, 1500)
    problem = model.problem(net(torch.randn(3, 100)).detach())
    for candidates in learned.candidates(problem.data, count, local=False):
        assert len(candidates.unique(dim=0)) == count

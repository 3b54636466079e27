"""Which descent is taken where none is named."""

from collections.abc import Callable

import pytest
import torch

import surfing
from surfing.descent.broyden import Broyden
from surfing.descent.default import default_descent, default_for
from surfing.descent.lbfgs import LBFGS
from surfing.portfolio.solver import solver_of


@pytest.mark.parametrize(
    ("k", "passes", "kind"),
    [
        (40, None, surfing.LevenbergMarquardt),
        (40, 257, LBFGS),  # of a Jacobian in reverse
        (99, None, surfing.LevenbergMarquardt),
        (100, None, LBFGS),
        (512, None, LBFGS),
    ],
)
def test_jacobians_are_taken_where_they_are_few(k: int, passes: int | None, kind: type) -> None:
    assert isinstance(default_descent(k, passes), kind)


def dense(k: int, m: int) -> torch.nn.Module:
    return torch.nn.Linear(k, m)


def convolutional(k: int, m: int) -> torch.nn.Module:
    """Each weight of 9 is used 256 times."""
    head = torch.nn.Linear(k, 4)
    tail = torch.nn.Conv2d(4, m // 256, 3, padding=1)
    return torch.nn.Sequential(
        head, torch.nn.Unflatten(1, (4, 1, 1)), torch.nn.Upsample(scale_factor=16), tail
    )


def model_of(net: torch.nn.Module, k: int) -> surfing.ForwardModel:
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(k))
    return surfing.ForwardModel(path, generator=net)


@pytest.mark.parametrize(
    ("net", "k", "m", "kind"),
    [
        (dense, 40, 50, Broyden),
        (dense, 100, 50, Broyden),
        (dense, 100, 2000, Broyden),
        (convolutional, 100, 256, Broyden),
        (convolutional, 100, 2048, LBFGS),
        (dense, 300, 50, LBFGS),
    ],
)
def test_recover_updates_jacobians_where_they_are_small_or_shared(
    net: Callable[[int, int], torch.nn.Module], k: int, m: int, kind: type
) -> None:
    assert isinstance(solver_of(model_of(net(k, m), k)).descent, kind)


@pytest.mark.parametrize(
    ("net", "k", "kind"),
    [
        (dense, 99, surfing.LevenbergMarquardt),
        (dense, 256, surfing.LevenbergMarquardt),
        (dense, 257, LBFGS),
        (convolutional, 99, surfing.LevenbergMarquardt),
        (convolutional, 100, LBFGS),
    ],
)
def test_the_default_follows_from_the_architecture(
    net: Callable[[int, int], torch.nn.Module], k: int, kind: type
) -> None:
    assert isinstance(default_for(model_of(net(k, 512), k)), kind)

"""Which descent is taken where none is named."""

import pytest
import torch

import surfing
from surfing.descent.broyden import Broyden
from surfing.descent.default import default_descent
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


@pytest.mark.parametrize(("k", "m", "kind"), [(40, 50, Broyden), (100, 50, Broyden),
                                              (100, 2000, LBFGS), (300, 50, LBFGS)])  # fmt: skip
def test_recover_updates_small_jacobians(k: int, m: int, kind: type) -> None:
    net = torch.nn.Linear(k, m)
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(k))
    model = surfing.ForwardModel(path, generator=net)
    assert isinstance(solver_of(model).descent, kind)

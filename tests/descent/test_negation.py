"""The negation check, where plain descent ends near -rho z*."""

from __future__ import annotations

import pytest
import torch

from surfing import (
    GradientDescent,
    InputError,
    NegationCheck,
    Normal,
    TorchOptim,
    Trajectory,
    direct,
)
from surfing.theory import ExpansiveReLU, rho


def test_the_check_finds_the_target_where_plain_descent_ends_at_its_shadow() -> None:
    net = ExpansiveReLU([2, 100, 200], seed=1)
    trajectory = Trajectory.from_state_dicts([(0, net.state_dict())], latent=Normal(2))
    rng = torch.Generator().manual_seed(51)
    target = torch.randn(2, generator=rng, dtype=torch.float64)
    target = target / target.norm()
    starts = torch.randn(40, 1, 2, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        y = net(target[None]).expand(40, -1).contiguous()

    def ends(descent: GradientDescent | NegationCheck) -> torch.Tensor:
        kwargs = {"generator": net, "z0": starts, "max_steps": 300}
        return direct(trajectory, y, descent=descent, **kwargs).z

    plain = ends(GradientDescent(2.0))
    checked = ends(NegationCheck(GradientDescent(2.0)))
    lost = (plain - target).norm(dim=1) > 0.01
    shadow = (plain[lost] + rho(2) * target).norm(dim=1)
    assert int((shadow < 0.3).sum()) >= 5
    assert float((checked - target).norm(dim=1).max()) < 0.01


def test_a_descent_whose_state_is_more_than_tensors_is_refused() -> None:
    net = ExpansiveReLU([2, 10], seed=0)
    trajectory = Trajectory.from_state_dicts([(0, net.state_dict())], latent=Normal(2))
    descent = NegationCheck(TorchOptim(torch.optim.Adam))
    with pytest.raises(InputError, match="NegationCheck"):
        direct(trajectory, torch.ones(1, 10).double(), generator=net, descent=descent)

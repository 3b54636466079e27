"""The negation check, where plain descent ends near -rho z*."""

from __future__ import annotations

import pytest
import torch
from tests.problems import bind

from surfing import (
    Armijo,
    GradientDescent,
    InputError,
    NegationCheck,
    Normal,
    Status,
    TorchOptim,
    Trajectory,
    direct,
)
from surfing.descent.base import State
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


def test_the_check_hands_on_what_its_descent_says_and_costs_no_more_than_it_says() -> None:
    class Ending(GradientDescent):
        def ended(self, state: State) -> torch.Tensor:
            return torch.full_like(state.rows, int(Status.PIECE_LIMIT))

    net = ExpansiveReLU([2, 10], seed=0)
    trajectory = Trajectory.from_state_dicts([(0, net.state_dict())], latent=Normal(2))
    model = {"generator": net, "z0": torch.ones(3, 1, 2).double(), "max_steps": 5}
    y = net(-torch.ones(1, 2).double()).detach().expand(3, -1)  # so that every row flips at once
    ended = direct(trajectory, y, descent=NegationCheck(Ending(0.1)), **model)
    assert ended.status.tolist() == [Status.PIECE_LIMIT] * 3

    problem = bind(trajectory, y, generator=net, operator=None, latent=None, operator_seed=0)
    for descent in (GradientDescent(0.1), GradientDescent(0.1, search=Armijo(trials=3))):
        check = NegationCheck(descent)
        risk = problem.risk(trajectory[-1].state, torch.arange(3))
        state = check.init(risk, torch.ones(3, 2).double(), torch.arange(3))
        spent = risk.meter.spent.clone()
        check.step(risk, state)
        assert bool((risk.meter.spent - spent <= check.max_step_cost(risk)).all())

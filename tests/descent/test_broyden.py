"""Levenberg-Marquardt with Broyden's updates: what is particular to it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.cases import PROBLEMS, make_problem
from tests.problems import with_y
from torch import nn

import surfing
from surfing.descent.broyden import Broyden
from surfing.descent.minimise import minimise
from surfing.descent.stopping import Stopping
from surfing.problem.risk import CostMeter
from surfing.solution import Status


def risk_of(problem, net, *, reg=None, meter=None):
    owner = torch.arange(len(problem))
    return problem.risk(dict(net.state_dict()), owner, reg=reg, meter=meter)


def nearby(problem, truth, far):
    return truth + far * problem.latent.sample(range(len(problem)), 1, seed=4)[:, 0].to(truth)


@pytest.mark.parametrize("case", PROBLEMS, ids=lambda case: case.name)
def test_the_jacobian_maps_the_last_step_to_what_was_seen(case):
    """The secant equation; and J'J and J'r are those of the Jacobian that is kept."""
    problem, truth, net = make_problem(case)
    net, truth = net.double(), truth.double()
    problem = with_y(problem, net_measure(problem, net, truth))
    descent, rows = Broyden(pace=0.999), torch.arange(len(problem))
    risk = risk_of(problem, net)
    before = descent.init(risk, nearby(problem, truth, 0.05), rows)
    for _ in range(4):
        after = descent.step(risk, before)
        moved = (after.z != before.z).any(1) & ~after.due & ~before.due
        d = after.z - before.z
        seen = after.residual - before.residual
        mapped = (after.jacobian @ d.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(mapped[moved], seen[moved], rtol=1e-6, atol=1e-9)
        square = after.jacobian.mT @ after.jacobian
        torch.testing.assert_close(after.hessian, square.double(), rtol=1e-8, atol=1e-8)
        before = after


def net_measure(problem, net, z):
    return problem.architecture.at(dict(net.state_dict()))(z).detach()


def test_a_linear_problem_takes_one_jacobian():
    k, m = 6, 30
    net = nn.Linear(k, m).double()
    latent = surfing.Normal(k)
    problem = surfing_problem(net, latent, targets=4)
    meter = CostMeter(4)
    risk = risk_of(problem, net, meter=meter)
    z = latent.sample(range(4), 1, seed=9)[:, 0].double()
    end = minimise(risk, z, Broyden(damping=1e-12), max_steps=50, stopping=Stopping(rtol=1e-9))
    assert end.status.tolist() == [Status.SOLVED] * 4
    # A forward and k tangents at the start, a forward for each step.
    torch.testing.assert_close(meter.spent, 1.0 + k + end.steps.double())


def surfing_problem(net, latent, targets):
    from tests.problems import built

    y = net(latent.sample(range(targets), 1, seed=3)[:, 0].double()).detach()
    return built(net, net.state_dict(), y, latent=latent)


def test_it_costs_less_than_taking_every_jacobian():
    model = surfing.ForwardModel(surfing.zoo.packaged())
    z = model.latent.sample(range(20), 1, seed=5)[:, 0]
    y = model.measure(model.signals(z))
    start = z + 0.3 * model.latent.sample(range(20), 1, seed=6)[:, 0]
    ours = surfing.direct(model, y, z0=start, starts=1, descent=Broyden())
    full = surfing.direct(model, y, z0=start, starts=1, descent=surfing.LevenbergMarquardt())
    assert bool(ours.success.all())
    assert bool(full.success.all())
    assert float(ours.cost.sum()) < 0.7 * float(full.cost.sum())


def test_a_minimum_that_does_not_meet_the_measurements_is_that_of_levenberg_marquardt():
    """An updated Jacobian alone would stop elsewhere: the gradient would be wrong."""
    problem, truth, net = make_problem(PROBLEMS[0])
    net, truth = net.double(), truth.double()
    y = net_measure(problem, net, truth)
    y = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).double()
    problem, z = with_y(problem, y), nearby(problem, truth, 0.05)
    ends = [
        minimise(risk_of(problem, net), z, descent, max_steps=400, stopping=Stopping(ftol=1e-12))
        for descent in (Broyden(), surfing.LevenbergMarquardt())
    ]
    assert (ends[0].status == ends[1].status).all()
    torch.testing.assert_close(ends[0].z, ends[1].z, rtol=0, atol=1e-4)


def test_a_penalty_is_minimised_too():
    problem, truth, net = make_problem(PROBLEMS[0])
    net, truth = net.double(), truth.double()
    problem = with_y(problem, net_measure(problem, net, truth))
    reg = torch.full((len(problem),), 0.1, dtype=torch.float64)
    z = nearby(problem, truth, 0.1)
    ends = [
        minimise(
            risk_of(problem, net, reg=reg), z, descent, max_steps=400, stopping=Stopping(ftol=1e-12)
        )
        for descent in (Broyden(), surfing.LevenbergMarquardt())
    ]
    torch.testing.assert_close(ends[0].z, ends[1].z, rtol=0, atol=1e-4)


def test_a_robust_loss_is_refused_before_work():
    model = surfing.ForwardModel(surfing.zoo.packaged())
    y = model.measure(model.signals(model.latent.sample([0], 1, seed=0)[:, 0]))
    for call in (surfing.direct, surfing.recover):
        with pytest.raises(surfing.InputError, match="sum of squares"):
            call(model, y, descent=Broyden(), loss=surfing.Huber())


@pytest.mark.parametrize("wrong", [{"pace": 0.0}, {"pace": 1.5}, {"damping": -1.0}, {"shrink": 0}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(surfing.InputError):
        dataclasses.replace(Broyden(), **wrong)


def two_networks(k=6, m=30):
    """A linear network, and one near it."""
    torch.manual_seed(2)
    nets = nn.Linear(k, m).double(), nn.Linear(k, m).double()
    with torch.no_grad():
        for there, here in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
            there.copy_(here + 0.01 * there)
    return nets


def test_a_jacobian_is_carried_to_the_next_network_for_one_forward():
    near, there = two_networks()
    problem = surfing_problem(there, surfing.Normal(6), targets=4)
    meter, rows = CostMeter(4), torch.arange(4)
    descent, z = Broyden(carry=3), torch.zeros(4, 6, dtype=torch.float64)
    state = descent.init(risk_of(problem, near, meter=meter), z, rows)
    taken, costs = state.jacobian, []
    for _ in range(3):
        before = meter.spent.clone()
        state = descent.resume(risk_of(problem, there, meter=meter), z, state)
        costs.append(float((meter.spent - before).max()))
    assert costs[:2] == [1.0, 1.0]  # the third is taken anew
    assert costs[2] > 6
    torch.testing.assert_close(state.jacobian[0], there.weight)
    assert not torch.equal(state.jacobian, taken)


def test_a_row_that_ended_keeps_its_jacobian_for_the_next_network():
    near, _ = two_networks()
    problem = surfing_problem(near, surfing.Normal(6), targets=4)
    z = surfing.Normal(6).sample(range(4), 1, seed=3)[:, 0].double()  # the truth
    z[1] += 1.0  # the others are met at once
    risk = risk_of(problem, near)
    found = minimise(risk, z, Broyden(), max_steps=3, keep=True)
    assert torch.equal(found.state.rows, torch.arange(4))
    assert torch.equal(found.state.z, found.z)
    assert minimise(risk, z, Broyden(), max_steps=3).state is None


def test_a_ride_that_carries_finds_the_same_for_less():
    model = surfing.ForwardModel(surfing.zoo.packaged())
    z, x = model.draw(8)
    rides = {
        carry: surfing.surf(model, model.measure(x), descent=Broyden(carry=carry),
                            schedule=surfing.EveryCheckpoint(), stage_steps=1)
        for carry in (1, 5)
    }  # fmt: skip
    assert rides[5].cost.mean() < 0.6 * rides[1].cost.mean()
    found = [int(((ride.z - z).norm(dim=1) < 0.01).sum()) for ride in rides.values()]
    assert min(found) >= 6

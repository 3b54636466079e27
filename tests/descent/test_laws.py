"""Laws that every descent keeps, on every problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from tests.cases import DESCENTS, MONOTONE, PROBLEMS, make_problem
from tests.problems import with_y

import surfing
from surfing.descent import Stopping
from surfing.descent.minimise import minimise
from surfing.problem.risk import CostMeter
from surfing.solution import Status

ENDLESS = Stopping(rtol=0, xtol=0, ftol=0, divergence=1e30)


@pytest.fixture(params=PROBLEMS, ids=lambda case: case.name)
def case(request):
    return request.param


def starts(problem, seed=0):
    return problem.latent.sample(range(len(problem)), 1, seed=seed)[:, 0].to(problem.y)


def risk_of(problem, net, owner=None, *, reg=None):
    owner = torch.arange(len(problem)) if owner is None else owner
    meter = CostMeter(len(owner))
    return problem.risk(dict(net.state_dict()), owner, reg=reg, meter=meter)


@pytest.mark.parametrize("name", DESCENTS)
def test_the_value_is_that_of_the_latents_and_no_worse_than_the_start(case, name):
    problem, _, net = make_problem(case)
    z = starts(problem)
    rows = torch.arange(len(z))
    risk = risk_of(problem, net)
    first = risk.value(z, rows)
    end = minimise(risk, z, DESCENTS[name], max_steps=8)
    # Single-precision residuals: the batch of a step and of this check differ in rounding.
    assert torch.allclose(
        end.value, risk.value(end.z, rows), rtol=1e-3, atol=1e-6 * float(first.max())
    )
    assert bool((end.value <= first * (1 + 1e-5)).all())
    assert end.value.dtype == torch.float64


@pytest.mark.parametrize("name", MONOTONE)
def test_the_risk_never_rises(case, name):
    problem, _, net = make_problem(case)
    risk, descent = risk_of(problem, net), DESCENTS[name]
    state = descent.init(risk, starts(problem), torch.arange(len(problem)))
    for _ in range(10):
        before = state.value
        state = descent.step(risk, state)
        assert bool((state.value <= before).all())


@pytest.mark.parametrize("name", DESCENTS)
def test_rows_are_independent(case, name):
    """Batched equals one at a time, and a row that is not finite harms no other."""
    problem, _, net = make_problem(case)
    z = starts(problem)
    spoilt = z.clone()
    spoilt[2] = torch.nan
    whole = minimise(risk_of(problem, net), z, DESCENTS[name], max_steps=5)
    beside = minimise(risk_of(problem, net), spoilt, DESCENTS[name], max_steps=5)
    assert int(beside.status[2]) == Status.NONFINITE
    for i in range(len(z)):
        owner = torch.tensor([i])
        alone = minimise(risk_of(problem, net, owner), z[i : i + 1], DESCENTS[name], max_steps=5)
        # Products of another size round differently; five steps magnify that a little.
        assert torch.allclose(alone.z[0], whole.z[i], atol=2e-3), i
        if i != 2:
            assert torch.allclose(beside.z[i], whole.z[i], atol=2e-3), i
            assert int(beside.status[i]) == int(whole.status[i])


def test_the_damping_kept_is_that_of_the_rows_own_last_step(case):
    """Rows end at different steps; each keeps what stepping it by hand gives."""
    problem, truth, net = make_problem(case)
    net, truth = net.double(), truth.double()
    problem = with_y(problem, problem.y.double())
    z = truth + torch.tensor([0.0, 0.01, 0.1, 0.5, 2.0])[:, None] * starts(problem)
    descent = surfing.LevenbergMarquardt()
    end = minimise(risk_of(problem, net), z, descent, max_steps=6)
    assert len(set(end.steps.tolist())) > 1
    for i, steps in enumerate(end.steps.tolist()):
        risk = risk_of(problem, net, torch.tensor([i]))
        state = descent.init(risk, z[i : i + 1], torch.arange(1))
        for _ in range(steps):
            state = descent.step(risk, state)
        assert float(end.damping[i]) == pytest.approx(float(state.damping), rel=1e-3), i
    assert minimise(risk_of(problem, net), z, surfing.LBFGS(), max_steps=2).damping is None


@pytest.mark.parametrize("name", ["armijo", "lbfgs", "lm", "broyden", "matrix-free lm"])
def test_the_truth_is_found_from_nearby(case, name):
    problem, truth, net = make_problem(case)
    z = truth + 0.02 * starts(problem)
    steps = 2000 if name == "armijo" else 100
    end = minimise(risk_of(problem, net), z, DESCENTS[name], max_steps=steps)
    tolerance = 0.05 if name == "armijo" else 1e-3
    assert float((end.z - truth).norm(dim=1).max()) < tolerance


@pytest.mark.parametrize("name", ["lbfgs", "lm", "broyden", "matrix-free lm"])
def test_agreement_with_scipy(name):
    """From the same start both end at the same minimum, to 1e-5."""
    problem, truth, net = make_problem(PROBLEMS[0])
    module = net.double()
    problem = with_y(problem, module(truth.double()).detach())
    z = (truth + 0.1 * starts(problem)).double()
    end = minimise(
        risk_of(problem, module), z, DESCENTS[name], max_steps=200, stopping=Stopping(rtol=1e-12)
    )
    for i in range(len(z)):

        def residual(v, i=i):
            with torch.no_grad():
                return (module(torch.from_numpy(v)[None])[0] - problem.y[i]).numpy()

        theirs = least_squares(residual, z[i].numpy(), method="lm", xtol=1e-12, ftol=1e-12)
        assert np.abs(theirs.x - end.z[i].numpy()).max() < 1e-5


def test_the_meter_equals_a_count_by_hand(case):
    """Forwards through G, counted by a hook, row by row; reverse passes by what they return."""
    problem, _, net = make_problem(case)
    z, k = starts(problem), case.k
    targets = len(problem)
    spent = {}
    for name, steps in (("fixed", 3), ("adam", 3), ("sgd", 2)):
        risk = risk_of(problem, net)
        minimise(risk, z, DESCENTS[name], max_steps=steps, stopping=ENDLESS)
        spent[name] = risk.meter.spent
        assert torch.equal(risk.meter.spent, torch.full((targets,), 3.0 * (steps + 1)).double())
        assert risk.meter.depth == steps + 1
    risk, calls = risk_of(problem, net), {"jacobians": 0, "values": 0}
    quadratic, value = risk.quadratic, risk.value

    def counted_quadratic(z, rows):
        calls["jacobians"] += len(z)
        return quadratic(z, rows)

    def counted_value(z, rows):
        calls["values"] += len(z)
        return value(z, rows)

    risk.quadratic, risk.value = counted_quadratic, counted_value
    minimise(risk, z, DESCENTS["lm"], max_steps=6, stopping=ENDLESS)
    assert float(risk.meter.spent.sum()) == calls["jacobians"] * (1 + k) + calls["values"]
    assert calls["values"] == 6 * targets


@pytest.mark.parametrize("name", ["armijo", "lbfgs"])
def test_line_search_trials_are_paid_for(case, name):
    problem, _, net = make_problem(case)
    risk, calls = risk_of(problem, net), {"gradients": 0, "values": 0}
    gradient, value = risk.gradient, risk.value

    def counted_gradient(z, rows):
        calls["gradients"] += len(z)
        return gradient(z, rows)

    def counted_value(z, rows):
        calls["values"] += len(z)
        return value(z, rows)

    risk.gradient, risk.value = counted_gradient, counted_value
    minimise(risk, starts(problem), DESCENTS[name], max_steps=5)
    assert float(risk.meter.spent.sum()) == 3 * calls["gradients"] + calls["values"]
    assert calls["gradients"] + calls["values"] > 2 * len(problem)


def test_rows_that_ended_leave_the_batch(case):
    problem, truth, net = make_problem(case)
    z = starts(problem)
    z[0] = truth[0]
    risk = risk_of(problem, net)
    end = minimise(risk, z, DESCENTS["lm"], max_steps=10)
    assert int(end.status[0]) == Status.SOLVED
    assert int(end.steps[0]) == 0
    assert float(risk.meter.spent[0]) == 1 + case.k
    assert bool((risk.meter.spent[1:] > 1 + case.k).all())


@pytest.mark.parametrize("name", ["fixed", "armijo", "adam", "lbfgs", "lm", "matrix-free lm"])
@pytest.mark.parametrize("allowance", [25.0, 80.0])
def test_an_allowance_is_kept(case, name, allowance):
    problem, _, net = make_problem(case)
    risk = risk_of(problem, net)
    start = 3.0 if name != "lm" else 1.0 + case.k
    end = minimise(
        risk,
        starts(problem),
        DESCENTS[name],
        max_steps=10_000,
        stopping=ENDLESS,
        allowance=torch.full((len(problem),), allowance, dtype=torch.float64),
    )
    assert float(risk.meter.spent.max()) <= max(allowance, start)
    ended = set(end.status.tolist())
    assert ended <= {int(Status.BUDGET_SPENT), int(Status.STALLED), int(Status.SOLVED)}


def test_a_penalty_pulls_towards_the_mean(case):
    problem, _, net = make_problem(case)
    z = starts(problem)
    strong = torch.full((len(z),), 1e6, dtype=torch.float64)
    end = minimise(risk_of(problem, net, reg=strong), z, DESCENTS["lm"], max_steps=60)
    assert float(end.z.norm(dim=1).max()) < 1e-2 * float(z.norm(dim=1).min())


class TestStatus:
    """Every end has its name."""

    def run(self, name="lm", *, z=None, y=None, noise=None, steps=50):
        problem, truth, net = make_problem(PROBLEMS[0])
        problem = with_y(problem, problem.y if y is None else y, noise=noise)
        z = truth + 0.1 if z is None else z
        end = minimise(risk_of(problem, net), z, DESCENTS[name], max_steps=steps)
        return {Status(s) for s in end.status.tolist()}

    def test_solved(self):
        assert self.run() == {Status.SOLVED}

    def test_noise_level(self):
        assert self.run(noise=0.1) == {Status.NOISE_LEVEL}

    def test_converged_outside_the_range(self):
        problem, _, _ = make_problem(PROBLEMS[0])
        ended = self.run(y=problem.y + 5, steps=500)
        assert ended <= {Status.CONVERGED, Status.STALLED}

    def test_max_steps(self):
        assert self.run("fixed", steps=1) == {Status.MAX_STEPS}

    def test_diverged(self):
        descent = surfing.TorchOptim(lambda p: torch.optim.SGD(p, lr=1e3))
        net = torch.nn.Sequential(torch.nn.Linear(4, 16, bias=False))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            torch.nn.init.normal_(net[0].weight)
        end = minimise(_linear_risk(net), torch.ones(2, 4), descent, max_steps=50)
        assert {Status(s) for s in end.status.tolist()} == {Status.DIVERGED}

    def test_nonfinite(self):
        assert self.run(z=torch.full((5, 3), torch.nan)) == {Status.NONFINITE}

    def test_every_status_has_a_sentence_with_a_remedy(self):
        for status in Status:
            assert status.message.endswith(".")
        assert all(s.success for s in (Status.SOLVED, Status.NOISE_LEVEL, Status.UNIDENTIFIED))


def _linear_risk(net):
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(4)
    )
    from tests.problems import bind

    problem = bind(
        trajectory, torch.zeros(2, 16), generator=net, operator=None, latent=None, operator_seed=0
    )
    return risk_of(problem, net)


def test_an_optimiser_that_mixes_rows_is_refused():
    with pytest.raises(surfing.InputError, match="LBFGS"):
        surfing.TorchOptim(lambda p: torch.optim.LBFGS(p))


@pytest.mark.parametrize(
    "build",
    [
        lambda: surfing.GradientDescent(0.0),
        lambda: surfing.GradientDescent(float("nan")),
        lambda: surfing.LevenbergMarquardt(damping=0.0),
        lambda: surfing.LevenbergMarquardt(shrink=1.5),
        lambda: surfing.LBFGS(history=0),
        lambda: surfing.Stopping(rtol=-1.0),
        lambda: surfing.Stopping(divergence=0.5),
        lambda: surfing.Tangent(damping=0.0),
    ],
)
def test_bad_configuration(build):
    with pytest.raises(surfing.InputError):
        build()

"""Polish: double precision's minimum, for every target on its own, at no target's expense."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from tests.cases import PROBLEMS, make_problem
from tests.reverse_only import twice
from torch.func import jacfwd

import surfing
from surfing.continuation.polish import polished
from surfing.descent import Stopping
from surfing.generator import Generator, cast
from surfing.portfolio import ATTEMPTS
from surfing.problem.operators import OPERATORS, as_operator
from surfing.solution import Status

TARGETS = 6


@pytest.fixture(params=PROBLEMS, ids=lambda case: case.name)
def case(request):
    return request.param


def ride(net, seed=0):
    """Three checkpoints that end at the network."""
    last = net.state_dict()
    rng = torch.Generator().manual_seed(seed)
    states = []
    for step in (0, 1, 2):
        states.append(
            {
                n: t + (2 - step) * 0.05 * torch.randn(t.shape, generator=rng)
                if t.is_floating_point() and "running" not in n
                else t
                for n, t in last.items()
            }
        )
    k = next(t for t in last.values() if t.ndim == 2).shape[1]
    return surfing.Trajectory.from_state_dicts(enumerate(states), latent=surfing.Normal(k))


def setting(case, *, off=0.0):
    """A trajectory and measurements; `off` takes them out of the generator's range."""
    problem, truth, net = make_problem(case, TARGETS)
    rng = torch.Generator().manual_seed(1)
    y = problem.y + off * problem.y.std() * torch.randn(problem.y.shape, generator=rng)
    operator = problem.architecture.operator
    arguments = {"generator": net, "operator": None if operator.name == "identity" else operator}
    return ride(net), y.reshape(TARGETS, *problem.measurement_shape), truth, arguments


def residual_of(trajectory, arguments, y):
    state = cast(trajectory[-1].state, torch.float64)
    bound = Generator(arguments["generator"])
    operator = arguments["operator"] or (lambda x: x)

    def residual(z):
        x = bound.at(state)(z[None])
        return (operator(x) - y[None].double()).flatten()

    return residual


@pytest.mark.parametrize("off", [0.0, 0.3], ids=["in range", "out of range"])
def test_it_ends_where_scipy_ends(case, off):
    trajectory, y, truth, arguments = setting(case, off=off)
    z0 = truth + 0.05
    ours = surfing.surf(
        trajectory,
        y,
        z0=z0,
        schedule=surfing.EveryCheckpoint(),
        stopping=surfing.Stopping(polish=True),
        **arguments,
    )
    assert ours.z.dtype == ours.x.dtype == ours.risk.dtype == torch.float64
    compared = 0
    for i in range(TARGETS):
        residual = residual_of(trajectory, arguments, y[i])
        theirs = least_squares(
            lambda z, r=residual: r(torch.from_numpy(z)).numpy(),
            ours.z[i].numpy() + 1e-3,
            jac=lambda z, r=residual: jacfwd(r)(torch.from_numpy(z)).numpy(),
            method="trf",
            **{"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 500},
        )
        gap = np.linalg.norm(theirs.x - ours.z[i].numpy())
        if abs(theirs.cost - float(ours.risk[i])) <= 1e-9 * theirs.cost + 1e-18:
            compared += 1
            # At a residual that stays, f tells z to the root of its rounding only.
            assert gap < (1e-9 if off == 0 else 1e-6), i
    assert compared >= TARGETS // 2  # at a kink of ReLU neither need converge


@pytest.mark.parametrize("run", ["surf", "direct", "recover"])
def test_no_risk_rises_and_what_it_takes_is_charged(case, run):
    trajectory, y, _, arguments = setting(case)
    options = {
        "surf": {"schedule": surfing.EveryCheckpoint(), "max_steps": 3},
        "direct": {"descent": surfing.TorchOptim(partial(torch.optim.Adam, lr=0.05)),
                   "max_steps": 20},
        "recover": {"budget": 200, "portfolio": [ATTEMPTS["screen32"]]},
    }[run]  # fmt: skip
    method = getattr(surfing, run)
    plain = method(trajectory, y, **options, **arguments)
    fine = method(trajectory, y, stopping=surfing.Stopping(polish=True), **options, **arguments)
    for i in range(TARGETS):
        residual = residual_of(trajectory, arguments, y[i])
        before, after = (residual(z[i].double()).square().sum() / 2 for z in (plain.z, fine.z))
        assert after <= before * (1 + 1e-12)
        assert float(fine.risk[i]) == pytest.approx(float(after), rel=1e-6, abs=1e-25)
    assert bool((fine.cost > plain.cost).all())
    assert bool((fine.success >= plain.success).all())
    assert torch.equal(fine.path, plain.path)
    assert fine.depth > plain.depth
    assert fine.singular_values is not None


def test_batched_equals_single(case):
    trajectory, y, truth, arguments = setting(case)
    options = {"max_steps": 3, "stopping": Stopping(polish=True)} | arguments
    z0 = truth + 0.1
    whole = surfing.direct(trajectory, y, z0=z0, **options)
    for i in range(TARGETS):
        alone = surfing.direct(trajectory, y[i : i + 1], z0=z0[i : i + 1], **options)
        torch.testing.assert_close(alone.z[0], whole.z[i], rtol=0, atol=1e-9)


def test_blocks_change_nothing(case):
    problem, truth, net = make_problem(case, TARGETS)
    trajectory = ride(net)
    plain = surfing.direct(
        trajectory,
        problem.y.reshape(TARGETS, *problem.measurement_shape),
        generator=net,
        operator=problem.architecture.operator,
        z0=truth + 0.1,
    )
    state, stopping = trajectory[-1].state, Stopping()
    whole = polished(plain.z, plain.status, problem, state, stopping=stopping)
    parts = polished(plain.z, plain.status, problem, state, stopping=stopping, block=4)
    torch.testing.assert_close(whole.z, parts.z, rtol=0, atol=1e-9)
    assert torch.equal(whole.status, parts.status)


def test_a_row_that_is_not_finite_keeps_its_status_and_harms_no_other():
    trajectory, y, truth, arguments = setting(PROBLEMS[0])
    plain = surfing.direct(trajectory, y, z0=truth + 0.1, **arguments)
    problem, _, _ = make_problem(PROBLEMS[0], TARGETS)
    z, status = plain.z.clone(), plain.status.clone()
    z[2], status[2] = torch.nan, int(Status.NONFINITE)
    fine = polished(z, status, problem, trajectory[-1].state, stopping=Stopping())
    assert int(fine.status[2]) == Status.NONFINITE
    whole = surfing.direct(
        trajectory, y, z0=truth + 0.1, stopping=surfing.Stopping(polish=True), **arguments
    )
    keep = [0, 1, 3, 4, 5]
    torch.testing.assert_close(fine.z[keep], whole.z[keep], rtol=0, atol=1e-9)


def test_at_the_noise_level_nothing_moves():
    trajectory, y, truth, arguments = setting(PROBLEMS[0], off=0.1)
    noise = float(0.2 * y.std())
    stopping = Stopping(noise=noise)
    plain = surfing.direct(trajectory, y, z0=truth, stopping=stopping, **arguments)
    fine = surfing.direct(
        trajectory, y, z0=truth, stopping=replace(stopping, polish=True), **arguments
    )
    reached = plain.status == int(Status.NOISE_LEVEL)
    assert bool(reached.any())
    assert torch.equal(fine.z[reached], plain.z[reached].double())


def test_the_covariance_is_that_of_the_polished_latents(case):
    """noise^2 (J'J)^+ in float64 at the new z, be it a long step away, a short one or none."""
    trajectory, y, truth, arguments = setting(case)
    noise = 1e-3 * float(y.std())
    far = torch.tensor([0.0, 0.0, 1e-3, 1e-3, 0.2, 0.2])
    z0 = truth + far[:, None]
    fine = surfing.direct(
        trajectory,
        y,
        z0=z0,
        max_steps=0,
        noise=noise,
        stopping=surfing.Stopping(polish=True),
        **arguments,
    )
    moved = (fine.z - z0.double()).norm(dim=1)
    assert float(moved.min()) == 0.0
    assert float(moved.max()) > 0.1
    for target in range(TARGETS):
        jacobian = jacfwd(residual_of(trajectory, arguments, y[target]))(fine.z[target])
        expected = noise**2 * torch.linalg.inv(jacobian.T @ jacobian)
        torch.testing.assert_close(fine.covariance[target], expected, rtol=1e-6, atol=0.0)
        values = torch.linalg.svdvals(jacobian)
        torch.testing.assert_close(fine.singular_values[target], values, rtol=1e-6, atol=0.0)


def test_recover_keeps_the_covariance_of_its_end(case):
    trajectory, y, _, arguments = setting(case)
    options = {"budget": 200, "portfolio": [ATTEMPTS["screen32"]], "noise": 1e-3} | arguments
    plain, fine = (
        surfing.recover(trajectory, y, stopping=Stopping(polish=p), **options)
        for p in (False, True)
    )
    assert fine.covariance is not None
    assert fine.covariance.dtype == torch.float64
    assert fine.covariance.shape == plain.covariance.shape


def test_who_does_the_work_makes_no_difference():
    trajectory, y, _, arguments = setting(PROBLEMS[0])
    options = {
        "stopping": Stopping(polish=True),
        "budget": 200,
        "portfolio": [ATTEMPTS["screen32"]],
    } | arguments
    here = surfing.recover(trajectory, y, **options)
    there = surfing.recover(trajectory, y, executor="local", **options)
    assert torch.equal(here.z, there.z)
    assert torch.equal(here.cost, there.cost)


def test_where_a_jacobian_is_dear_none_is_made():
    """A Jacobian in reverse mode takes two passes a measurement: four steps would take 1600."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 20), torch.nn.Tanh(), torch.nn.Linear(20, 200))
    truth = surfing.Normal(3).sample(range(TARGETS), 1, seed=1)[:, 0]
    with torch.no_grad():
        y = 2 * net(truth)
    options = {"generator": net, "operator": twice, "z0": truth + 0.05}
    options |= {"descent": surfing.LBFGS(), "max_steps": 5}
    plain = surfing.direct(ride(net), y, **options)
    fine = surfing.direct(ride(net), y, stopping=surfing.Stopping(polish=True), **options)
    assert float((fine.z - truth).norm(dim=1).max()) < 1e-6
    assert float((plain.z - truth).norm(dim=1).max()) > 1e-6
    assert float((fine.cost - plain.cost).max()) < 1000


def test_no_targets():
    trajectory, y, _, arguments = setting(PROBLEMS[0])
    fine = surfing.recover(trajectory, y[:0], stopping=surfing.Stopping(polish=True), **arguments)
    assert fine.z.shape == (0, 3)


@pytest.mark.parametrize(
    "operator",
    [
        lambda x: x.flatten(1) @ torch.ones(16, 2),
        lambda x: x.float().flatten(1),
    ],
    ids=["fails in float64", "returns float32"],
)
@pytest.mark.parametrize("run", ["direct", "recover"])
def test_an_operator_of_single_precision_is_refused(operator, run):
    trajectory, y, _, arguments = setting(PROBLEMS[0])
    y = operator(y)
    with pytest.raises(surfing.InputError, match=r"polish: .* leave polish out"):
        getattr(surfing, run)(
            trajectory,
            y,
            stopping=surfing.Stopping(polish=True),
            **arguments | {"operator": operator},
        )


@pytest.mark.parametrize("name", OPERATORS)
def test_named_operators_have_a_double(name):
    shape = (1, 28, 28)
    operator = as_operator(f"{name}:{OPERATORS[name].default}", shape, seed=1)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    single, wide = operator(x), operator.double()(x.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), single, rtol=1e-5, atol=1e-5)
    assert operator(x).dtype == torch.float32  # the first is as it was

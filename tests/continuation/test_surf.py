"""Laws of the ride: direct descent is its one-stage case, and nobody's module is touched."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import DESCENTS, SCHEDULES

import surfing
from surfing.continuation.predictor import History
from surfing.continuation.schedule import arc_length
from surfing.descent.minimise import minimise
from surfing.generator import Generator
from surfing.problem.risk import CostMeter
from surfing.solution import Status

QUICK = {"stage_steps": 2, "max_steps": 5}


@pytest.mark.parametrize("name", DESCENTS)
def test_one_stage_is_direct_descent_and_that_is_minimise(path, net, y, name):
    options = {"descent": DESCENTS[name], "max_steps": 6, "seed": 2, "starts": 2}
    one = surfing.surf(path, y, generator=net, schedule=surfing.Final(), **options)
    direct = surfing.direct(path, y, generator=net, **options)
    assert torch.equal(one.z, direct.z)
    assert torch.equal(one.cost, direct.cost)
    assert torch.equal(one.status, direct.status)
    from tests.problems import bind

    from surfing.starts.rows import draw_starts

    problem = bind(path, y, generator=net, operator=None, latent=None, operator_seed=0)
    rows = draw_starts(problem, 2, z0=None, seed=2, ids=None)
    risk = problem.risk(path.state(-1), rows.owner, meter=CostMeter(len(rows.z)))
    end = minimise(risk, rows.z, DESCENTS[name], max_steps=6)
    assert torch.equal(direct.candidates_z.flatten(0, 1), end.z)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("predictor", [surfing.Constant(), surfing.Secant(), surfing.Tangent()])
def test_a_ride_visits_its_schedule(path, net, y, schedule, predictor):
    solution = surfing.surf(
        path, y, generator=net, schedule=SCHEDULES[schedule], predictor=predictor, **QUICK
    )
    stages = [record.stage for record in solution.stages]
    assert stages == sorted(set(stages))
    assert stages[-1] == len(path) - 1
    assert solution.path.shape == (len(y), len(stages), 3)
    assert torch.equal(solution.path[:, -1], solution.z)
    spent = sum(record.cost for record in solution.stages)
    assert torch.allclose(spent, solution.cost)
    with torch.no_grad():
        x = Generator(net).at(path[-1].state)(solution.z)
    assert torch.allclose(solution.x, x, atol=1e-5)
    risk = (x - y).flatten(1).double().square().sum(1) / 2
    assert torch.allclose(solution.risk, risk, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "descent",
    [surfing.LevenbergMarquardt(), surfing.NegationCheck(surfing.LevenbergMarquardt())],
    ids=["plain", "checked"],
)
def test_each_stage_keeps_the_damping_of_the_start_that_was_chosen(path, net, y, descent):
    options = {"generator": net, "descent": descent, **QUICK}
    z0 = surfing.Normal(3).sample(range(len(y)), 3, seed=4)
    solution = surfing.surf(path, y, z0=z0, starts=3, **options)
    best = solution.candidates_risk.argmin(1)
    assert len(set(best.tolist())) > 1
    alone = surfing.surf(path, y, z0=z0[torch.arange(len(y)), best][:, None], **options)
    for record, again in zip(solution.stages, alone.stages, strict=True):
        assert torch.allclose(record.damping, again.damping, rtol=0.05)


def test_a_descent_without_damping_records_none(path, net, y):
    solution = surfing.surf(path, y, generator=net, descent=surfing.GradientDescent(), **QUICK)
    assert all(record.damping is None for record in solution.stages)


def test_the_best_start_is_chosen_by_the_measurements_alone(path, net, y):
    solution = surfing.direct(path, y, generator=net, starts=4, max_steps=2)
    assert torch.equal(solution.risk, solution.candidates_risk.min(1).values)
    best = solution.candidates_risk.argmin(1)
    picked = solution.candidates_z[torch.arange(len(y)), best]
    assert torch.equal(picked, solution.z)


def test_targets_fare_alike_in_any_order_and_company(path, net, y):
    whole = surfing.surf(path, y, generator=net, starts=2, **QUICK)
    ids = list(reversed(range(len(y))))
    turned = surfing.surf(path, y[ids], generator=net, starts=2, ids=ids, **QUICK)
    assert torch.allclose(turned.z[ids], whole.z, atol=1e-4)
    alone = surfing.surf(path, y[3:4], generator=net, starts=2, ids=[3], **QUICK)
    assert torch.allclose(alone.z[0], whole.z[3], atol=1e-4)


class Stubborn(torch.nn.Module):
    """Batch norm and dropout, in training mode, and a failure on demand."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5),
            torch.nn.Linear(8, 6),
        )  # fmt: skip

    def forward(self, z):
        return self.net(z)


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_untouched(fails):
    torch.manual_seed(0)
    net = Stubborn().train()
    net.net[0].weight.requires_grad_(False)
    path = surfing.Trajectory.from_state_dicts(
        [(0, copy.deepcopy(net.state_dict()))], latent=surfing.Normal(3)
    )
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(1)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    flags = [(m.training, id(m)) for m in net.modules()]
    grads = [(p.requires_grad, p.grad) for p in net.parameters()]
    random = torch.get_rng_state()
    calls = itertools.count()

    spent = [10**9]  # calls that the operator allows

    def operator(x):
        if next(calls) > spent[0]:
            raise ZeroDivisionError("the operator's own")
        return x

    y = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    model = surfing.ForwardModel(path, generator=net, operator=operator)
    if fails:
        spent[0] = next(calls) + 2  # the checks went well; it fails in the descent
        with pytest.raises(ZeroDivisionError):
            surfing.direct(model, y)
    else:
        surfing.direct(model, y)
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert flags == [(m.training, id(m)) for m in net.modules()]
    assert grads == [(p.requires_grad, p.grad) for p in net.parameters()]
    assert torch.equal(random, torch.get_rng_state())


def test_the_callers_tensors_are_untouched(path, net, y):
    z0 = surfing.Normal(3).sample(range(len(y)), 1, seed=0)[:, 0]
    kept = y.clone(), z0.clone()
    surfing.surf(path, y, generator=net, z0=z0, **QUICK)
    assert torch.equal(y, kept[0])
    assert torch.equal(z0, kept[1])


def test_numpy_measurements_are_welcome(path, net, y):
    by_torch = surfing.direct(path, y, generator=net, max_steps=3)
    by_numpy = surfing.direct(path, y.numpy()[::1], generator=net, max_steps=3)
    assert torch.equal(by_torch.z, by_numpy.z)


def test_surfing_finds_the_truth(path, net, y, truth):
    solution = surfing.surf(path, y, generator=net, starts=8, schedule=surfing.EqualDrift(5))
    found = (solution.z - truth).norm(dim=1) < 0.01
    assert bool(found.all())
    assert bool(solution.success.all())


def test_throw_raises_where_a_target_fails(path, net, y):
    outside = y + 10
    with pytest.raises(surfing.RecoveryError, match="target 0"):
        surfing.direct(path, outside, generator=net).raise_failures()


def test_annealing_leaves_no_penalty_at_the_end(path, net, y):
    solution = surfing.surf(path, y, generator=net, anneal=1.0, starts=4)
    with torch.no_grad():
        x = Generator(net).at(path[-1].state)(solution.z)
    risk = (x - y).flatten(1).double().square().sum(1) / 2
    assert torch.allclose(solution.risk, risk, rtol=1e-3, atol=1e-7)


def test_fewer_stages_cost_less(path, net, y):
    cost = [
        float(surfing.surf(path, y, generator=net, schedule=surfing.EqualDrift(n)).cost.mean())
        for n in (2, 4, 8)
    ]
    assert cost == sorted(cost)


@pytest.mark.parametrize(
    ("changed", "error", "named"),
    [
        ({"y": torch.zeros(2, 4)}, surfing.MeasurementError, "expected .targets, 1, 5, 5."),
        ({"y": torch.full((2, 1, 5, 5), torch.nan)}, surfing.MeasurementError, "NaN or infinity"),
        ({"y": torch.zeros(2, 1, 5, 5).long()}, surfing.MeasurementError, "floating point"),
        ({"y": torch.zeros(2, 1, 5, 5, dtype=torch.cfloat)}, surfing.MeasurementError, "y"),
        ({"y": [1.0]}, surfing.MeasurementError, "list"),
        ({"y": np.array([None])}, surfing.MeasurementError, "numbers"),
        ({"y": torch.tensor(1.0)}, surfing.MeasurementError, "single number"),
        ({"operator": "nonsense:3"}, surfing.UnknownNameError, "gaussian"),
        ({"operator": 3}, surfing.InputError, "operator"),
        ({"operator": lambda x: x[:1]}, surfing.InputError, "operator"),
        ({"generator": torch.nn.Linear(3, 25)}, surfing.GeneratorError, "lacks|has"),
        ({"generator": lambda z: z}, surfing.GeneratorError, "Module"),
        ({"starts": 0}, surfing.InputError, "starts"),
        ({"starts": True}, surfing.InputError, "starts"),
        ({"max_steps": -1}, surfing.InputError, "max_steps"),
        ({"stage_steps": 1.5}, surfing.InputError, "stage_steps"),
        ({"anneal": -1.0}, surfing.InputError, "anneal"),
        ({"ids": [0]}, surfing.InputError, "ids"),
        ({"z0": torch.zeros(2, 4)}, surfing.InputError, "z0"),
        ({"z0": torch.full((2, 3), torch.inf)}, surfing.InputError, "finite"),
        ({"z0": torch.zeros(2, 3).int()}, surfing.InputError, "floating"),
        ({"latent": surfing.Normal(7)}, surfing.GeneratorError, "latent"),
        ({"schedule": surfing.Stages((3.0, 1.0))}, surfing.InputError, "increasing"),
        ({"schedule": surfing.Stages((3.0, 99.0))}, surfing.InputError, "stages"),
    ],
)
def test_bad_input_before_any_work(path, changed, error, named):
    arguments = {"y": torch.zeros(2, 1, 5, 5)} | changed
    with pytest.raises(error, match=named):
        surfing.surf(path, arguments.pop("y"), **arguments)


def test_a_trajectory_without_a_law_or_an_architecture_asks_for_them(path, net):
    bare = surfing.Trajectory.from_state_dicts([(0, path.state(0))])
    y = torch.zeros(2, 1, 5, 5)
    with pytest.raises(surfing.InputError, match="latent=surfing"):
        surfing.surf(bare, y, generator=net)
    with pytest.raises(surfing.InputError, match="generator="):
        surfing.surf(bare, y, latent=surfing.Normal(3))


class TestSchedules:
    @given(
        count=st.integers(1, 30),
        start=st.floats(0, 0.99),
        stride=st.integers(1, 20),
    )
    @settings(max_examples=30, deadline=None)
    def test_stages_increase_and_end_at_the_last(self, path, net, count, start, stride):
        def measure(state):
            with torch.no_grad():
                return Generator(net).at(state)(torch.ones(1, 3)).flatten(1)

        for schedule in (
            surfing.EqualDrift(count, start=start),
            surfing.EveryNth(stride, start=start),
            surfing.EveryCheckpoint(start),
        ):
            stages = schedule.positions(path, measure)
            assert stages[-1] == len(path) - 1
            assert all(0 <= a < b for a, b in itertools.pairwise([*stages, len(path)]))
            if isinstance(schedule, surfing.EqualDrift):
                assert len(stages) <= count

    def test_equal_drift_divides_the_arc(self, path, net):
        z = surfing.Normal(3).sample(range(16), 1, seed=0)[:, 0]

        def measure(state):
            with torch.no_grad():
                return Generator(net).at(state)(z).flatten(1)

        arc = arc_length(path, measure)
        stages = surfing.EqualDrift(5).positions(path, measure)
        at = np.interp(stages, np.arange(len(path)), arc.numpy())
        assert np.allclose(np.diff(at), arc[-1].item() / 4, rtol=1e-6)


class TestPredictors:
    def wake(self, z, curvature=None):
        one = torch.ones(len(z), dtype=torch.float64)
        return History(one, z, curvature, previous_stage=one / 2, previous_z=z - 0.25)

    def test_a_guess_is_taken_only_where_it_lowers_the_risk(self, path, net, y, truth):
        from tests.problems import bind

        problem = bind(path, y, generator=net, operator=None, latent=None, operator_seed=0)
        rows = torch.arange(len(y))
        for predictor in (surfing.Secant(), surfing.Tangent()):
            risk = problem.risk(path.state(-1), rows)
            curvature = risk.quadratic(truth + 0.5, rows).hessian
            wake = self.wake(truth + 0.5, curvature)
            entered = predictor.predict(wake, 2.0, risk, rows)
            before, after = risk.value(wake.z, rows), risk.value(entered, rows)
            assert bool((after <= before).all())
            moved = (entered != wake.z).any(1)
            assert torch.equal(moved, (after < before) & moved)

    def test_the_secant_is_exact_on_a_line(self, path, net, y, truth):
        one = torch.ones(len(truth), dtype=torch.float64)
        wake = History(2 * one, truth, None, previous_stage=one, previous_z=truth - 1.0)
        guess = surfing.Secant().guess(wake, 2.5, None, None)
        assert torch.allclose(guess, truth + 0.5)


def test_statuses_tell_a_lost_ride_from_a_found_one(path, net, y):
    mixed = y.clone()
    mixed[0] += 20
    solution = surfing.surf(path, mixed, generator=net, starts=6)
    assert int(solution.status[0]) in (Status.CONVERGED, Status.MAX_STEPS, Status.STALLED)
    assert bool(solution.success[1:].all())
    assert "local minimum" in solution.messages()[0] or "steps" in solution.messages()[0]


@pytest.mark.parametrize("method", [surfing.surf, surfing.direct, surfing.recover])
def test_an_operator_may_compute_in_double_precision(path, net, y, truth, method):
    matrix = torch.randn(20, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solution = method(
        path,
        y.flatten(1).double() @ matrix.T,
        generator=net,
        operator=lambda x: x.flatten(1).double() @ matrix.T,
        **({} if method is surfing.recover else {"starts": 6}),
    )
    assert solution.z.dtype == torch.float32
    assert bool(((solution.z - truth).norm(dim=1) < 0.01).all())


@pytest.mark.parametrize("method", [surfing.surf, surfing.direct, surfing.recover])
@pytest.mark.parametrize(
    "operator",
    [
        lambda x: x.detach(),
        lambda x: (9 * x).long(),
        lambda x: torch.from_numpy(x.numpy()),
    ],
    ids=["detached", "rounded", "numpy"],
)
def test_an_operator_without_a_gradient_is_refused(path, net, y, method, operator):
    with pytest.raises(surfing.MeasurementError, match="operator"):
        method(path, y, generator=net, operator=operator)


@pytest.mark.parametrize(
    "changed",
    [
        {"descent": surfing.LevenbergMarquardt},
        {"descent": "lm"},
        {"schedule": surfing.EqualDrift},
        {"predictor": "tangent"},
        {"stopping": 3},
        {"latent": surfing.Normal},
        {"latent": 3},
        {"anneal": "much"},
    ],
)
def test_parts_of_another_kind_are_named(path, net, y, changed):
    with pytest.raises(surfing.InputError, match=next(iter(changed))):
        surfing.surf(path, y, generator=net, **changed)


def test_a_trajectory_by_name_says_how_to_open_it(y):
    for method in (surfing.surf, surfing.recover):
        with pytest.raises(surfing.InputError, match="packaged"):
            method("packaged", y)


def test_an_unknown_executor_is_refused_before_the_pilot(path, net, y):
    with pytest.raises(surfing.InputError, match="executor"):
        surfing.recover(path, y, generator=net, executor="slurm")


def test_tied_weights_need_not_be_one_tensor_in_a_checkpoint():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 3)
            self.second = self.first

        def forward(self, z):
            return self.second(torch.tanh(self.first(z)))

    net = Tied()
    states = [(0, {name: t.clone() for name, t in net.state_dict().items()})]
    path = surfing.Trajectory.from_state_dicts(states, latent=surfing.Normal(3))
    z = surfing.Normal(3).sample(range(4), 1, seed=0)[:, 0]
    y = net(z).detach()
    solution = surfing.direct(path, y, generator=net, z0=z + 0.01)
    assert bool(solution.success.all())

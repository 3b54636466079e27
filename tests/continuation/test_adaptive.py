"""Laws of step control: rows of their own, costs that add up, and the fixed ride as its limit."""

from __future__ import annotations

import pytest
import torch

import surfing
from surfing.continuation.population import Population, other_side
from surfing.errors import InputError

PLAIN = surfing.StepControl(halvings=0, doublings=0, jump=float("inf"), far=float("inf"))
QUICK = {"stage_steps": 2, "max_steps": 5, "seed": 2}
NODES = surfing.EqualDrift(5)


def ride(path, y, net, **options):
    return surfing.surf(path, y, generator=net, schedule=NODES, **{**QUICK, **options})


def still(path, count):
    """The last checkpoint, again and again: nothing moves."""
    return surfing.Trajectory.from_state_dicts(
        ((step, path.state(-1)) for step in range(count)), latent=path.latent
    )


def test_control_that_refuses_and_lengthens_nothing_rides_the_schedule(path, net, y):
    fixed, free = ride(path, y, net), ride(path, y, net, control=PLAIN)
    assert [r.stage for r in free.stages] == [r.stage for r in fixed.stages]
    assert torch.equal(free.path[:, :-1], fixed.path[:, :-1])
    for ours, theirs in zip(free.stages[:-1], fixed.stages[:-1], strict=True):
        assert torch.equal(ours.cost, theirs.cost)
        assert torch.equal(ours.steps, theirs.steps)
        assert torch.equal(ours.risk, theirs.risk)


@pytest.mark.parametrize("anneal", [0.0, 2.0])
@pytest.mark.parametrize("predictor", [surfing.Constant(), surfing.Secant(), surfing.Tangent()])
def test_stages_increase_and_costs_add_up(path, net, y, anneal, predictor):
    control = surfing.StepControl(jump=1.2, far=1.5)
    solution = ride(path, y, net, control=control, anneal=anneal, predictor=predictor)
    stages = [record.stage for record in solution.stages]
    assert stages == sorted(set(stages))
    assert stages[-1] == len(path) - 1
    spent = sum(record.cost for record in solution.stages)
    scale = 1.0 if anneal else 0.0  # one forward at the start, for the penalty's unit
    assert torch.allclose(spent + scale, solution.cost)
    assert torch.equal(solution.path[:, -1], solution.z)


@pytest.mark.parametrize("population", [None, Population(merge=0.3)], ids=["alone", "merged"])
def test_rows_do_not_know_who_rides_beside_them(path, net, y, population):
    control = surfing.StepControl(jump=1.2, far=1.5, population=population)
    options = {"control": control, "starts": 3 if population else 1}
    together = ride(path, y, net, **options)
    for target in (0, 5):
        alone = ride(path, y[target : target + 1], net, ids=[target], **options)
        assert torch.allclose(alone.risk, together.risk[target], rtol=1e-3, atol=1e-8)
        if population is None:  # which of two rows at one point goes on, rounding decides
            assert torch.equal(alone.cost[0], together.cost[target])


def test_a_network_that_stands_still_is_crossed_in_long_steps(path, net, y, truth):
    stages = surfing.Stages(tuple(float(s) for s in range(13)))
    control = surfing.StepControl(halvings=0, doublings=2)
    solution = surfing.surf(
        still(path, 13), y, generator=net, z0=truth, schedule=stages, control=control, **QUICK
    )
    visited = sum((record.steps > 0) | (record.cost > 0) for record in solution.stages)
    # 0, 1, 2, 4, 8 and 12: each step is doubled as soon as its node allows it.
    assert int(visited.max()) == 6


def test_a_jump_of_the_network_is_bisected(path, net, y):
    order = [0, 1, 2, 7, 7]
    jumpy = surfing.Trajectory.from_state_dicts(
        ((step, path.state(i)) for step, i in enumerate(order)), latent=path.latent
    )
    control = surfing.StepControl(halvings=3, doublings=0, jump=1.1)
    solution = surfing.surf(
        jumpy, y, generator=net, schedule=surfing.EveryCheckpoint(), control=control, **QUICK
    )
    between = [record for record in solution.stages if record.stage % 1]
    assert between
    # Only rows that were refused go there; what they paid for the refused try is told too.
    assert any(0 < int((record.cost > 0).sum()) < len(y) for record in between)


def test_rows_at_the_same_point_become_one_and_cost_as_one(path, net, y):
    z0 = surfing.Normal(3).sample(range(len(y)), 1, seed=9)
    control = surfing.StepControl(population=Population(branch=False))
    one = ride(path, y, net, control=control, z0=z0)
    four = ride(path, y, net, control=control, z0=z0.expand(-1, 4, -1).clone(), starts=4)
    assert torch.allclose(four.risk, one.risk, rtol=1e-3, atol=1e-8)
    first = one.stages[0].cost
    assert torch.allclose(four.cost - one.cost, 3 * first)
    assert torch.isinf(four.candidates_risk).sum(1).tolist() == [3] * len(y)


def test_a_resting_row_is_sent_to_the_far_side_of_a_fold(path, net, y):
    z0 = surfing.Normal(3).sample(range(len(y)), 1, seed=9).expand(-1, 4, -1).clone()
    # Every step that lowers the risk by less than the drift raises it counts as a fold here.
    folding = surfing.StepControl(halvings=0, jump=1.0, population=Population())
    solution = ride(path, y, net, control=folding, z0=z0, starts=4)
    resting = torch.isinf(solution.candidates_risk).sum(1)
    assert int(resting.min()) < 3
    assert bool((solution.risk <= solution.candidates_risk.min(1).values).all())


def test_the_far_side_lies_across_the_softest_direction():
    before = torch.zeros(1, 3)
    carried = torch.tensor([[0.3, 0.4, 0.0]])
    soft = torch.tensor([0.0, 1.0, 0.0])
    curvature = torch.diag(torch.tensor([5.0, 0.1, 2.0])).double()[None]
    away = other_side(before, carried, curvature)
    assert torch.allclose(away, -0.5 * soft, atol=1e-6)
    assert torch.allclose(other_side(before, carried, None), -carried)


def test_mirrored_starts_come_in_pairs():
    law = surfing.Uniform(2, 0.0, 1.0)
    z = law.sample(range(3), 5, seed=0).flatten(0, 1)
    paired = Population(mirror=True).begin(z, starts=5, law=law).reshape(3, 5, 2)
    assert torch.allclose(paired[:, 1:4:2], 1 - paired[:, 0:4:2])
    assert torch.equal(paired[:, 4], z.reshape(3, 5, 2)[:, 4])


def test_of_equal_rows_the_first_goes_on():
    z = torch.zeros(4, 2)
    misfit = torch.tensor([1.0, 0.5, 0.5, 2.0])
    present = torch.tensor([True, True, True, False])
    gone = Population().duplicates(z, misfit, present, starts=4, law=surfing.Normal(2))
    assert gone.tolist() == [True, False, True, False]


def test_duplicates_are_the_same_whatever_is_compared_at_once(monkeypatch):
    law = surfing.Normal(2)
    z = law.sample(range(5), 6, seed=0).flatten(0, 1)
    misfit, present = z.square().sum(-1), torch.arange(30) % 7 > 0
    gone = Population(merge=1.0).duplicates(z, misfit, present, starts=6, law=law)
    assert 0 < int(gone.sum()) < 30
    monkeypatch.setattr("surfing.continuation.population._BLOCK_BYTES", 1)
    again = Population(merge=1.0).duplicates(z, misfit, present, starts=6, law=law)
    assert torch.equal(gone, again)


@pytest.mark.parametrize(
    "options", [{"halvings": -1}, {"doublings": 1.5}, {"jump": 0.5}, {"far": float("nan")}]
)
def test_settings_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        surfing.StepControl(**options)


def test_a_network_that_ends_as_nan_is_told_whoever_rests(path, net, y):
    broken = {name: value * float("nan") for name, value in path.state(-1).items()}
    states = [*(path.state(i) for i in range(7)), broken]
    ends_badly = surfing.Trajectory.from_state_dicts(enumerate(states), latent=path.latent)
    control = surfing.StepControl(population=Population(merge=5.0, branch=False))
    every = surfing.EveryCheckpoint()
    solution = surfing.surf(
        ends_badly, y, generator=net, schedule=every, control=control, starts=4, **QUICK
    )
    assert {surfing.Status(int(s)) for s in solution.status} == {surfing.Status.NONFINITE}


def test_progress_comes_to_its_end_though_rows_rest(path, net, y):
    calls: list[tuple[int, int]] = []
    z0 = surfing.Normal(3).sample(range(len(y)), 1, seed=9).expand(-1, 4, -1).clone()
    control = surfing.StepControl(population=Population(branch=False))
    told = {"progress": lambda done, total: calls.append((done, total))}
    ride(path, y, net, control=control, z0=z0, starts=4, **told)
    done = [a for a, _ in calls]
    assert done == sorted(done)
    assert calls[-1][0] == calls[-1][1]
    assert len(set(done)) > 2


def test_a_population_is_an_object():
    with pytest.raises(InputError, match=r"population: .*Population\(\)"):
        surfing.StepControl(population=Population)


def test_what_is_known_at_the_end_is_that_of_the_last_stage(path, net, y):
    fixed, free = ride(path, y, net), ride(path, y, net, control=PLAIN)
    together = fixed.success & free.success
    assert bool(together.any())
    close = {"rtol": 1e-2, "atol": 1e-3}
    same = (fixed.z - free.z).norm(dim=1) < 1e-3
    both = together & same
    assert torch.allclose(fixed.singular_values[both], free.singular_values[both], **close)


def test_control_is_an_object(path, net, y):
    with pytest.raises(InputError, match=r"control: .*StepControl\(\)"):
        ride(path, y, net, control=surfing.StepControl)

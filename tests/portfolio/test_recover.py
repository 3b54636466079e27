"""The default strategy: within its limits, deterministic, and better than what it is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import surfing
from surfing.errors import InputError
from surfing.execution.targets import Targets
from surfing.portfolio.attempt import ATTEMPTS, Attempt, Rung
from surfing.portfolio.bank import bank_size
from surfing.portfolio.solver import solver_of
from surfing.starts.scouting import Scouting, derived_seed

MENU = tuple(ATTEMPTS.values())
RESTART = (ATTEMPTS["restart"],)


def context_for(path, y, net, *, budget=1e9, seed=0):
    model = surfing.ForwardModel(path, generator=net)
    solver = solver_of(model, budget=budget, seed=seed, portfolio=MENU)
    return solver.context(Targets(y), range(len(y)))


def test_it_finds_the_latents(path, y, truth):
    solution = surfing.recover(path, y, budget=4000)
    assert (solution.z - truth).norm(dim=1).max() < 0.01
    assert bool(solution.success.all())
    assert sum(solution.info["solved_by"].values()) == len(y)
    assert json.loads(json.dumps(solution.info)) == solution.info


@pytest.mark.parametrize("budget", [1, 30, 120, 500, 3000])
def test_no_target_spends_more_than_the_budget(path, y, budget):
    hard = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    solution = surfing.recover(path, hard, budget=budget)
    assert float(solution.cost.max()) <= budget
    assert not bool(solution.success.any())


def test_more_budget_is_never_worse(path, y):
    hard = y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    risks = [surfing.recover(path, hard, budget=b).risk for b in (300, 1500, 6000)]
    # Up to the last polish of what was left of a budget: a millionth.
    assert bool((risks[1] <= risks[0] * (1 + 1e-2)).all())
    assert bool((risks[2] <= risks[1] * (1 + 1e-2)).all())


def test_seconds_bound_the_whole_call_and_every_target_is_tried(path, y):
    options = {"stopping": surfing.Stopping(accept=0.0, rtol=0.0), "budget": 2000}
    one, all_ = (surfing.recover(path, y, seconds=s, **options) for s in (1e-9, 1e9))
    assert bool((one.cost > 0).all())
    assert bool(torch.isfinite(one.risk).all())
    assert bool((one.cost <= all_.cost).all())
    assert float(one.cost.sum()) < float(all_.cost.sum())
    assert one.info["seconds"]["asked"] == 1e-9 < one.info["seconds"]["spent"]
    assert "seconds" not in surfing.recover(path, y, budget=60).info


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.float16, float, int])
def test_limits_are_any_real_numbers(path, y, kind):
    options = {"portfolio": RESTART}
    solution = surfing.recover(path, y, seconds=kind(1000), budget=kind(60), **options)
    assert solution.info["seconds"]["asked"] == 1000.0
    assert solution.info["budget"] == 60.0
    assert json.loads(json.dumps(solution.info)) == solution.info


@pytest.mark.parametrize("limit", ["seconds", "budget"])
@pytest.mark.parametrize(
    "value", [0, -1.0, True, np.True_, np.nan, np.float32("nan"), "3", 1j], ids=repr
)
def test_limits_are_positive(path, y, limit, value):
    with pytest.raises(surfing.InputError, match=f"^{limit}: expected a positive number"):
        surfing.recover(path, y, **{limit: value})


def flat(x):
    """An operator whose name is not the identity's: no start is layerwise."""
    return x.flatten(1)


def test_the_seed_decides(path, y):
    first = surfing.recover(path, y.flatten(1), operator=flat, budget=800, seed=3)
    again = surfing.recover(path, y.flatten(1), operator=flat, budget=800, seed=3)
    other = surfing.recover(path, y.flatten(1), operator=flat, budget=800, seed=4)
    assert torch.equal(first.z, again.z)
    assert first.info == again.info
    assert not torch.equal(first.z, other.z)


def test_a_target_fares_alike_in_any_company(path, y):
    whole = surfing.recover(path, y, budget=800)
    for ids in ([4], [7, 2, 4]):
        part = surfing.recover(path, y[ids], budget=800, ids=ids)
        # The same random numbers; what differs is the rounding of smaller matrix products.
        assert torch.allclose(part.z, whole.z[ids], atol=1e-3)


def test_what_is_learned_is_told_and_bounded(path, y):
    told = surfing.recover(path, y.flatten(1), operator=flat, budget=800)
    size = told.info["learned"]["samples"]
    assert size == bank_size(len(y), 800, 3, y[0].numel())
    assert size <= told.cost_once
    assert size <= 0.5 * len(y) * 800
    assert "spent once" in told.summary()


@pytest.mark.parametrize("targets", [1, 7, 100, 10_000])
@pytest.mark.parametrize("budget", [50, 400, 2000, 1e6])
def test_a_bank_takes_at_most_half_of_what_all_targets_may_spend(targets, budget):
    size = bank_size(targets, budget, 10, 20)
    assert size <= 0.5 * targets * budget
    assert size == 0 or size >= 220


def test_learned_starts_serve_another_run(path, y):
    model = surfing.ForwardModel(path)
    known = surfing.learn(model, 800, seed=1)
    first = surfing.recover(model, y, learned=known)
    assert first.cost_once == 0  # it was paid for before
    assert torch.equal(first.z, surfing.recover(model, y, learned=known).z)
    assert first.info["learned"] == {"samples": 800}


def test_the_callers_latents_are_tried_first(path, y, truth):
    near = truth + 0.05
    warm = surfing.recover(path, y, z0=near)
    alone = surfing.direct(path, y, z0=near, descent=surfing.Broyden())
    assert set(warm.info["solved_by"]) == {"z0"}
    assert torch.equal(warm.cost, alone.cost)
    assert torch.equal(warm.z, alone.z)
    lost = surfing.recover(path, y, z0=20 + truth)
    assert bool((lost.z - truth).norm(dim=1).max() < 0.01)


def test_a_target_out_of_range_ends_before_its_budget(path, y):
    odd = 3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    solution = surfing.recover(path, odd, budget=1e6)
    assert float(solution.cost.max()) < 2e4
    assert not bool(solution.success.any())


def test_noise_ends_a_target_at_its_level(path, y, truth):
    noise = 0.05
    noisy = y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    solution = surfing.recover(path, noisy, budget=3000, noise=noise)
    named = {surfing.Status(int(s)) for s in solution.status}
    assert named == {surfing.Status.NOISE_LEVEL}
    m = y[0].numel()
    assert float(2 * solution.risk.max()) <= (m + 3 * (2 * m) ** 0.5) * noise**2
    assert solution.covariance is not None
    assert solution.covariance.shape == (len(y), 3, 3)
    deviation = solution.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    # Laplace intervals: five deviations hold all 36 numbers unless they are wrong.
    assert bool(((solution.z - truth).abs() < 5 * deviation + 0.02).all())


def test_too_few_measurements_are_called_unidentified(path, y):
    solution = surfing.recover(
        path, y.flatten(1)[:, :2], operator=lambda x: x.flatten(1)[:, :2], budget=3000
    )
    assert {surfing.Status(int(s)) for s in solution.status} == {surfing.Status.UNIDENTIFIED}
    assert int(solution.undetermined.min()) == 1


def test_no_target_at_all(path, y):
    solution = surfing.recover(path, y[:0], budget=100)
    assert len(solution) == 0
    assert solution.z.shape == (0, 3)


def test_a_nan_row_of_the_operator_harms_no_other(path, y):
    def broken(x):
        # Undefined for the dark signals only.
        return torch.where(x.mean((1, 2, 3), keepdim=True) > 0, x, torch.nan)

    level = y.mean((1, 2, 3)) > 0
    assert 0 < int(level.sum()) < len(y)
    solution = surfing.recover(path, y, operator=broken, budget=2000)
    assert bool(solution.success[level].all())
    assert not bool(solution.success[~level].any())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"budget": 0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"budget": True}, "budget"),
        ({"noise": -1.0}, "noise"),
        ({"portfolio": [3]}, "portfolio"),
        ({"portfolio": []}, "portfolio"),
        ({"learned": 3}, "learned"),
        ({"descent": 3}, "descent"),
        ({"ids": [1]}, "ids"),
    ],
)
def test_bad_input(path, y, changed, named):
    with pytest.raises(InputError, match=named):
        surfing.recover(path, y, **changed)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Scouting(draws=0),
        lambda: Scouting(spread=0.0),
        lambda: Rung(0, 1),
        lambda: Rung(1, 1, -1.0),
        lambda: Attempt("x", Scouting(), ()),
        lambda: Attempt("x", Scouting(), (Rung(1, 1, 0.5),)),
    ],
)
def test_bad_configuration(build):
    with pytest.raises(InputError):
        build()


class TestScouting:
    def test_it_costs_what_it_says(self, path, y, net):
        context = context_for(path, y, net)
        scouting = Scouting(20, 2, 10, 3)
        scouting.scout(
            context.problem,
            context.last,
            torch.tensor([3, 5]),
            rows=4,
            ids=context.ids,
            seed=0,
            meter=context.meter,
        )
        expected = torch.zeros(len(y), dtype=torch.float64)
        expected[[3, 5]] = scouting.cost
        assert torch.equal(context.meter.spent, expected)

    def test_the_best_come_first_and_children_only_help(self, path, y, net):
        context = context_for(path, y, net)
        everybody = torch.arange(len(y))

        def look(generations):
            return Scouting(40, generations, 20, 4).scout(
                context.problem,
                context.last,
                everybody,
                rows=4,
                ids=context.ids,
                seed=0,
                meter=context.meter,
            )

        plain, bred = look(0), look(3)
        assert bool((plain.risk.diff(dim=1) >= 0).all())
        assert bool((bred.risk[:, 0] <= plain.risk[:, 0]).all())
        assert float(bred.risk[:, 0].mean()) < 0.5 * float(plain.risk[:, 0].mean())
        owner = everybody.repeat_interleave(4)
        risk = context.problem.risk(context.last, owner)
        again = risk.value(plain.z.flatten(0, 1), torch.arange(len(owner)))
        assert torch.allclose(again.reshape(-1, 4), plain.risk, rtol=1e-4)

    def test_children_keep_the_law(self, path, y, net):
        """Mutation of N(0, I) is N(0, I): without selection, moments stay."""
        law = surfing.Normal(3)
        parents = law.sample([0], 40_000, seed=0)[0]
        fresh = law.sample([1], 40_000, seed=0)[0]
        s = Scouting().spread
        born = (1 - s**2) ** 0.5 * parents + s * fresh
        assert float(born.mean().abs()) < 4 / (3 * 40_000) ** 0.5
        assert float(born.std()) == pytest.approx(1, abs=0.02)


class TestAttempt:
    @pytest.mark.parametrize("attempt", MENU, ids=lambda a: a.name)
    def test_it_keeps_within_the_allowance(self, path, y, net, attempt):
        price = 2 + 3
        for spare in (0, 7, 100):
            context = context_for(path, y, net, budget=attempt.least(price) + spare)
            attempt.run(context, torch.arange(len(y)), number=0)
            assert float(context.remaining.min()) >= 0

    @pytest.mark.parametrize("attempt", MENU, ids=lambda a: a.name)
    def test_the_misfit_is_that_of_the_latents(self, path, y, net, attempt):
        context = context_for(path, y, net)
        found = attempt.run(context, torch.arange(len(y)), number=0)
        rows = torch.arange(len(y))
        again = context.problem.risk(context.last, rows).value(found.z[:, 0], rows)
        scale = y.flatten(1).square().sum(1).double()
        assert bool(((again - found.misfit[:, 0]).abs() <= 1e-6 * scale).all())

    def test_numbers_give_other_starts(self, path, y, net):
        context = context_for(path, y, net)
        attempt = Attempt("probe", Scouting(1, 0), (Rung(1, 1),))
        first = attempt.run(context, torch.arange(3), number=0)
        second = attempt.run(context, torch.arange(3), number=1)
        assert not torch.allclose(first.z, second.z)


def test_derived_seeds_are_apart():
    seeds = {derived_seed(s, w) for s in range(20) for w in ("draws", 0, 1)}
    assert len(seeds) == 60
    assert all(0 <= s < 1 << 64 for s in seeds)


@pytest.mark.parametrize("budget", [120, 300, 3000])
def test_a_single_checkpoint_is_enough(path, y, budget):
    """Neither the order nor what fits a small rest asks for an average that is not there."""
    hard = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    solution = surfing.recover(path[-1:], hard, budget=budget)
    assert 0 < float(solution.cost.min()) <= float(solution.cost.max()) <= budget
    assert not bool(solution.success.any())


@pytest.mark.parametrize("budget", [30, 120, 500])
def test_what_the_ending_takes_is_within_the_budget_too(path, y, budget):
    hard = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    solution = surfing.recover(path, hard, budget=budget, noise=0.05)
    assert float(solution.cost.max()) <= budget
    wild = surfing.recover(path, 40 * hard, budget=budget)
    assert float(wild.cost.max()) <= budget


def test_starts_learned_on_an_earlier_network_are_that_networks(path):
    model = surfing.ForwardModel(path)
    known = surfing.learn(model, 800, stage=0, seed=1)
    z = model.latent.sample(range(6), 1, seed=11)[:, 0]
    early = model.signals(z, stage=0)
    found = known.starts(model, early, 1)[:, 0]
    gap = (model.signals(found, stage=0) - early).flatten(1).norm(dim=1)
    assert bool((gap < 0.5 * (early - early.mean(0)).flatten(1).norm(dim=1)).all())
    assert known.stage == 0
    with pytest.raises(surfing.InputError, match="stage"):
        surfing.learn(model, 800, stage=len(path))


def test_a_dense_relu_network_is_undone_layer_by_layer():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 30), torch.nn.ReLU(), torch.nn.Linear(30, 60), torch.nn.ReLU()
    )
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(5))
    model = surfing.ForwardModel(path, generator=net)
    truth = model.latent.sample(range(20), 1, seed=2)[:, 0]
    y = model.measure(model.signals(truth))
    solution = surfing.recover(model, y)
    assert float((solution.z - truth).norm(dim=1).max()) < 0.01
    assert solution.info["solved_by"].get("layerwise", 0) >= 18
    assert solution.cost_once == 0
    # What was not measured says nothing, whatever stands there.
    noise, spoilt = torch.full(y.shape, 0.001), y.clone()
    noise[:, ::3], spoilt[:, ::3] = torch.inf, 7.0
    masked = surfing.recover(model, spoilt, noise=noise)
    assert masked.info["solved_by"].get("layerwise", 0) >= 18
    assert float((masked.z - truth).norm(dim=1).median()) < 0.01

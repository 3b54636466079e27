"""The default strategy: within its budget, deterministic, and better than what it is made of."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from surfing.continuation.attempt import MENU, Attempt, Bench, Heat
from surfing.continuation.pilot import DEFAULT, Mix, Pilot
from surfing.continuation.recover import networks_of
from surfing.continuation.scouting import Scouting, derived_seed
from tests.problems import bind

import surfing
from surfing.descent import Stopping
from surfing.errors import InputError
from surfing.problem.risk import CostMeter

QUICK = Pilot(targets=8, goes=2)


def bench_for(path, y, net, *, budget=1e9, seed=0, stopping=None):
    problem = bind(path, y, generator=net, operator=None, latent=None, operator_seed=0)
    return Bench(
        problem,
        networks_of(path),
        stopping or Stopping(),
        range(len(y)),
        seed,
        CostMeter(len(y)),
        budget,
    )


def test_it_finds_the_latents(path, y, truth):
    solution = surfing.recover(path, y, budget=4000, mix=QUICK)
    assert (solution.z - truth).norm(dim=1).max() < 0.01
    assert bool(solution.success.all())
    assert sum(solution.info["solved_by"].values()) == len(y)
    assert json.loads(json.dumps(solution.info)) == solution.info


@pytest.mark.parametrize("budget", [1, 30, 120, 500, 3000])
def test_no_target_spends_more_than_the_budget(path, y, budget):
    hard = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    solution = surfing.recover(path, hard, budget=budget, mix=DEFAULT)
    assert float(solution.cost.max()) <= budget
    assert not bool(solution.success.any())


def test_more_budget_is_never_worse(path, y):
    hard = y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    risks = [surfing.recover(path, hard, budget=b, mix=DEFAULT).risk for b in (300, 1500, 6000)]
    # Up to the last polish of what was left of a budget: a millionth.
    assert bool((risks[1] <= risks[0] * (1 + 1e-2)).all())
    assert bool((risks[2] <= risks[1] * (1 + 1e-2)).all())


def test_when_its_seconds_are_over_no_further_attempt_begins(path, y):
    mix = surfing.Mix(("restart",), ("restart",))
    options = {"mix": mix, "stopping": surfing.Stopping(accept=0.0, rtol=0.0), "budget": 2000}
    one, all_ = (surfing.recover(path, y, seconds=s, **options) for s in (1e-9, 1e9))
    assert bool((one.cost > 0).all())
    assert bool((one.cost <= all_.cost).all())
    assert float(one.cost.sum()) < float(all_.cost.sum())
    assert one.info["seconds"]["asked"] == 1e-9 < one.info["seconds"]["spent"]
    assert "seconds" not in surfing.recover(path, y, mix=mix, budget=60).info


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.float16, float, int])
def test_limits_are_any_real_numbers(path, y, kind):
    options = {"mix": surfing.Mix(("restart",), ("restart",))}
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
        surfing.recover(path, y, mix=DEFAULT, **{limit: value})


def test_the_seed_decides(path, y):
    first = surfing.recover(path, y, budget=800, seed=3, mix=QUICK)
    again = surfing.recover(path, y, budget=800, seed=3, mix=QUICK)
    other = surfing.recover(path, y, budget=800, seed=4, mix=QUICK)
    assert torch.equal(first.z, again.z)
    assert first.info == again.info
    assert not torch.equal(first.z, other.z)


def test_a_target_fares_alike_in_any_company(path, y):
    whole = surfing.recover(path, y, budget=800, mix=DEFAULT)
    for ids in ([4], [7, 2, 4]):
        part = surfing.recover(path, y[ids], budget=800, ids=ids, mix=DEFAULT)
        # The same random numbers; what differs is the rounding of smaller matrix products.
        assert torch.allclose(part.z, whole.z[ids], atol=1e-3)


def test_the_mix_of_one_run_serves_another(path, y):
    first = surfing.recover(path, y, budget=800, mix=QUICK)
    again = surfing.recover(path, y, budget=800, mix=json.loads(json.dumps(first.info["mix"])))
    assert torch.equal(first.z, again.z)
    assert Mix.from_dict(first.info["mix"]).to_dict() == first.info["mix"]


def test_the_pilot_does_not_look_at_the_measurements(path, y, net):
    one, other = bench_for(path, y, net), bench_for(path, 3 - y, net)
    assert QUICK.choose(one) == QUICK.choose(other)
    assert float(one.meter.spent.sum()) == 0


def test_the_pilot_keeps_to_what_the_budget_can_pay(path, y, net):
    scarce = QUICK.choose(bench_for(path, y, net, budget=130))
    ample = QUICK.choose(bench_for(path, y, net, budget=5000))
    cheap = {t.name: t.cost for t in scarce.trials}
    assert cheap[scarce.opening[0]] <= min(2 * 130, max(cheap.values()))
    assert {t.name for t in ample.trials} == {a.name for a in MENU}


def test_noise_ends_a_target_at_its_level(path, y, truth):
    noise = 0.05
    noisy = y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    solution = surfing.recover(path, noisy, budget=3000, noise=noise, mix=QUICK)
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
        path, y.flatten(1)[:, :2], operator=lambda x: x.flatten(1)[:, :2], budget=3000, mix=QUICK
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
    solution = surfing.recover(path, y, operator=broken, budget=2000, mix=DEFAULT)
    assert bool(solution.success[level].all())
    assert not bool(solution.success[~level].any())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"budget": 0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"budget": True}, "budget"),
        ({"noise": -1.0}, "noise"),
        ({"mix": 3}, "mix"),
        ({"mix": {"opening": ["nobody"], "cycle": ["pair"], "trials": [], "cost": 0}}, "mix"),
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
        lambda: Heat(0, 1),
        lambda: Heat(1, 1, -1.0),
        lambda: Attempt("x", Scouting(), ()),
        lambda: Attempt("x", Scouting(), (Heat(1, 1, 0.5),)),
        lambda: Pilot(targets=0),
        lambda: Mix((), ()),
    ],
)
def test_bad_configuration(build):
    with pytest.raises(InputError):
        build()


class TestScouting:
    def test_it_costs_what_it_says(self, path, y, net):
        bench = bench_for(path, y, net)
        scouting = Scouting(20, 2, 10, 3)
        scouting.scout(
            bench.problem,
            bench.networks[1],
            torch.tensor([3, 5]),
            rows=4,
            ids=bench.ids,
            seed=0,
            meter=bench.meter,
        )
        expected = torch.zeros(len(y), dtype=torch.float64)
        expected[[3, 5]] = scouting.cost
        assert torch.equal(bench.meter.spent, expected)

    def test_the_best_come_first_and_children_only_help(self, path, y, net):
        bench = bench_for(path, y, net)
        everybody = torch.arange(len(y))

        def look(generations):
            return Scouting(40, generations, 20, 4).scout(
                bench.problem,
                bench.networks[1],
                everybody,
                rows=4,
                ids=bench.ids,
                seed=0,
                meter=bench.meter,
            )

        plain, bred = look(0), look(3)
        assert bool((plain.risk.diff(dim=1) >= 0).all())
        assert bool((bred.risk[:, 0] <= plain.risk[:, 0]).all())
        assert float(bred.risk[:, 0].mean()) < 0.5 * float(plain.risk[:, 0].mean())
        owner = everybody.repeat_interleave(4)
        risk = bench.problem.risk(bench.networks[1], owner)
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
            bench = bench_for(path, y, net, budget=attempt.least(price) + spare)
            attempt.launch(bench, torch.arange(len(y)), number=0)
            assert float(bench.remaining.min()) >= 0

    @pytest.mark.parametrize("attempt", MENU, ids=lambda a: a.name)
    def test_the_misfit_is_that_of_the_latents(self, path, y, net, attempt):
        bench = bench_for(path, y, net)
        found = attempt.launch(bench, torch.arange(len(y)), number=0)
        rows = torch.arange(len(y))
        again = bench.problem.risk(bench.networks[1], rows).value(found.z, rows)
        scale = y.flatten(1).square().sum(1).double()
        assert bool(((again - found.misfit).abs() <= 1e-6 * scale).all())

    def test_numbers_give_other_starts(self, path, y, net):
        bench = bench_for(path, y, net)
        attempt = Attempt("probe", Scouting(1, 0), (Heat(1, 1),))
        first = attempt.launch(bench, torch.arange(3), number=0)
        second = attempt.launch(bench, torch.arange(3), number=1)
        assert not torch.allclose(first.z, second.z)


def test_derived_seeds_are_apart():
    seeds = {derived_seed(s, w) for s in range(20) for w in ("draws", 0, 1)}
    assert len(seeds) == 60
    assert all(0 <= s < 1 << 64 for s in seeds)


def test_windows_longer_than_the_path_are_left_out(path, y, net):
    short = path[-1:]
    assert set(networks_of(short)) == {1}
    bench = replace(bench_for(short, y, net), networks=networks_of(short))
    names = {trial.name for trial in QUICK.choose(bench).trials}
    assert "averaged ride" not in names
    assert "pair" in names


@pytest.mark.parametrize("budget", [120, 300, 3000])
def test_a_single_checkpoint_is_enough(path, y, budget):
    """Neither the mix nor what fits a small rest asks for an average that is not there."""
    hard = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    solution = surfing.recover(path[-1:], hard, budget=budget, mix=DEFAULT)
    assert 0 < float(solution.cost.min()) <= float(solution.cost.max()) <= budget
    assert not bool(solution.success.any())

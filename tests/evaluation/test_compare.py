"""Success against cost: the same targets for all, and curves that are what they say."""

from __future__ import annotations

import json

import pytest
import torch

import surfing
from surfing.evaluation.compare import BUDGETS, compare, paired
from surfing.evaluation.methods import FORMER, METHODS, current, method
from surfing.evaluation.samples import own_samples
from surfing.evaluation.solvers import Go, Task

FEW = (60, 400, 2500)


@pytest.fixture(scope="module")
def comparison(path, net):
    names = ("lm-restarts", "annealed-restarts", "ride-restarts", "recover")
    return compare(path, net, targets=6, budgets=FEW, methods=names, seed=1)


def test_more_budget_finds_no_less_on_the_same_goes(comparison):
    for curve in comparison.curves:
        rates = [hits for hits, _ in curve.rates()]
        assert {of for _, of in curve.rates()} <= {0, 6}
        assert all(0 <= hits <= 6 for hits in rates)
        if curve.name != "recover":  # recover is run anew at each budget
            assert rates == sorted(rates)
            assert curve.cost == sorted(curve.cost)
            # What recover learns once takes time too, which is told in forwards beside its budget.
            assert all(spent <= budget for spent, budget in zip(curve.cost, comparison.budgets))
    ours = next(c for c in comparison.curves if c.name == "recover")
    assert ours.rates()[-1] == (6, 6)


def test_it_is_json_with_intervals_and_paired_differences(comparison):
    read = json.loads(json.dumps(comparison.to_dict()))
    assert [line["name"] for line in read["methods"]] == [c.name for c in comparison.curves]
    for line in read["methods"]:
        for (hits, of), (low, high), bits in zip(
            line["found"], line["interval"], line["by_target"]
        ):
            assert bits.count("1") == hits
            assert len(bits) == of
            assert low <= hits / max(1, of) <= high
    against = read["methods"][0]["recover_against_it"]
    assert len(against) == len(FEW)


def test_the_seed_decides(path, net, comparison):
    again = compare(
        path, net, targets=6, budgets=FEW, methods=("lm",), seed=1
    )  # as it was called before
    assert again.curves[0] == comparison.curves[0]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_reports_what_its_run_found(path, net, name):
    own = own_samples(path, net, 3, seed=0)
    task = Task(surfing.ForwardModel(path, generator=net), own.x, 0)
    go = method(name).make()
    went = go(task, [0, 2], 0)
    assert isinstance(went, Go)
    assert went.z.shape == (2, 3)
    with torch.no_grad():
        x = surfing.generator.Generator(net).at(path.state(-1))(went.z.float())
    misfit = (x - own.x[[0, 2]]).flatten(1).double().square().sum(1) / 2
    assert torch.allclose(went.misfit, misfit, rtol=1e-2, atol=1e-6)
    assert bool((went.cost > 0).all())
    other = go(task, [0, 2], 1)
    assert not torch.equal(other.z, went.z) or float(went.misfit.max()) < 1e-9


def test_no_two_methods_are_told_apart_by_their_key_alone():
    labels = [each.label for each in METHODS.values()]
    assert len(set(labels)) == len(labels)
    assert all(name == each.name for name, each in METHODS.items())


def test_what_was_called_by_one_name_before_has_two_now():
    for old in ("direct LM", "annealed LM"):
        assert METHODS[current(old)].label not in {
            METHODS[current(n)].label for n in FORMER if n != old
        }
    assert set(FORMER.values()) <= set(METHODS)
    assert not set(FORMER) & set(METHODS)


def test_a_model_says_what_a_trajectory_and_its_parts_say(path, net):
    options = {"targets": 3, "budgets": (100,), "methods": ("ride-restarts",), "seed": 0}
    parts = compare(path, net, operator="gaussian:8", **options)
    model = surfing.ForwardModel(path, generator=net, operator="gaussian:8")
    assert compare(model, **options) == parts
    with pytest.raises(surfing.InputError, match="operator: the model has one already"):
        compare(model, operator="gaussian:9", **options)


def test_paired_differences():
    assert paired([True, False], [True, False]) == {"won": 0, "lost": 0, "p": 1.0}
    assert paired([True] * 5, [False] * 5)["p"] == pytest.approx(2 / 2**5)
    assert paired([True, False], [False, True])["p"] == 1.0


@pytest.mark.parametrize("budgets", [(), (0, 5), (5, 5), (7, 3)])
def test_bad_budgets(path, net, budgets):
    with pytest.raises(surfing.InputError, match="budgets"):
        compare(path, net, targets=2, budgets=budgets)


def test_an_unknown_method_lists_the_known(path, net):
    with pytest.raises(surfing.UnknownNameError, match="annealed-restarts"):
        compare(path, net, targets=2, methods=("newton",))


def test_the_published_budgets_increase():
    assert list(BUDGETS) == sorted(set(BUDGETS))

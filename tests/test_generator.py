"""Any module at one theta: functional, private, and checked."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import surfing
from surfing.generator import Generator, cast, unwrap


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))


def test_it_equals_the_module_in_eval_mode():
    module = make()
    module(torch.randn(8, 2))  # moves the running statistics
    z = torch.randn(5, 2)
    bound = Generator(module).at(module.state_dict())
    assert module.training
    assert torch.equal(bound(z), module.eval()(z))


def test_theta_decides_and_not_the_module():
    one, other = make(), make()
    with torch.no_grad():
        other[0].weight.add_(1)
    z = torch.randn(5, 2)
    bound = Generator(one).at(other.state_dict())
    assert torch.equal(bound(z), other.eval()(z))


def test_wrappers_are_taken_off():
    module = make()
    averaged = torch.optim.swa_utils.AveragedModel(module)
    assert unwrap(averaged) is averaged.module
    assert unwrap(nn.DataParallel(module)) is module
    assert unwrap(torch.compile(module)) is module


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    module = make().to(dtype)
    bound = Generator(module).at(module.state_dict())
    out = bound(torch.randn(3, 2))
    assert out.dtype == torch.float32
    assert bool(torch.isfinite(out).all())


def test_cast_keeps_ties_and_integers():
    shared = torch.ones(2)
    made = cast({"a": shared, "b": shared, "n": torch.tensor(3)}, torch.float64)
    assert made["a"] is made["b"]
    assert made["a"].dtype == torch.float64
    assert made["n"].dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("0.bias"), "lacks|which the checkpoint lacks"),
        (lambda s: s.update({"more": torch.zeros(1)}), "lacks 'more'"),
        (lambda s: s.update({"0.bias": torch.zeros(5)}), "shape"),
    ],
)
def test_a_checkpoint_that_does_not_fit(change, said):
    module = make()
    state = dict(module.state_dict())
    change(state)
    with pytest.raises(surfing.GeneratorError, match=said):
        Generator(module).at(state)


def test_what_is_no_module_is_refused():
    with pytest.raises(surfing.GeneratorError, match="Module"):
        Generator(lambda z: z)

"""Every self-check can fail, and says its own sentence where it does."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

import surfing
from surfing.problem import checks
from surfing.problem.checks import SELF_CHECKS, SelfCheck


class Function(nn.Module):
    """A generator of one line, with a parameter that a checkpoint can hold."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self.a, self.call = nn.Linear(4, 12), call

    def forward(self, z):
        return self.call(self.a(z))


def ok(x):
    return x


def generator(call):
    return {"net": Function(call)}


def operator(call):
    return {"net": Function(ok), "operator": call}


def few_rows(x):
    if len(x) < 2:
        raise ValueError("a batch of one")
    return x


SPOILT = {
    checks.FAILING_GENERATOR: generator(lambda x: x @ torch.zeros(3, 3)),
    checks.COMPLEX_GENERATOR: generator(lambda x: torch.complex(x, x)),
    checks.NO_SIGNALS: generator(lambda x: (x, x)),
    checks.RANDOM_GENERATOR: generator(lambda x: x + torch.randn_like(x)),
    checks.FEW_LATENTS: generator(few_rows),
    checks.MIXING_GENERATOR: generator(lambda x: x - x.mean(0)),
    checks.FAILING_OPERATOR: operator(lambda x: x @ torch.zeros(3, 3)),
    checks.NO_MEASUREMENTS: operator(lambda x: x.sum()),
    checks.WRITING_OPERATOR: operator(lambda x: x.mul_(2)),
    checks.NO_GRADIENT: operator(lambda x: x.detach()),
    checks.RANDOM_OPERATOR: operator(lambda x: x + torch.randn_like(x)),
    checks.MIXING_OPERATOR: operator(lambda x: x / x.max()),
    checks.NOT_FINITE: operator(lambda x: x / 0),
    checks.NO_DERIVATIVE: operator(torch.round),
    checks.UNMEASURED: operator(lambda x: x * (torch.arange(12) < 5)),
    checks.NOTHING_MEASURED: {"net": Function(ok), "noise": [[0.1] * 12, [torch.inf] * 12]},
    checks.HALF_PRECISION: {"net": Function(ok), "dtype": torch.float16},
    checks.OTHER_SCALE: {"net": Function(ok), "factor": 255.0},
}


def test_the_list_is_all_there_is():
    assert set(SPOILT) == set(SELF_CHECKS)
    held = {value for value in vars(checks).values() if isinstance(value, SelfCheck)}
    assert held == set(SELF_CHECKS)
    assert len({each.name for each in SELF_CHECKS}) == len(SELF_CHECKS)
    assert all(each.remedy for each in SELF_CHECKS if each.refused)


@pytest.mark.parametrize("entry", [surfing.direct, surfing.surf, surfing.recover])
@pytest.mark.parametrize("each", SELF_CHECKS, ids=lambda each: each.name)
def test_each_check_says_its_sentence(each, entry):
    spoilt = SPOILT[each]
    net = spoilt["net"]
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(4)
    )
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    y = (spoilt.get("factor", 1.0) * net.a(z).detach()).to(spoilt.get("dtype", torch.float32))
    made = {"generator": net, "operator": spoilt.get("operator")}
    places = re.sub(r"\\\{.*?\\\}", ".*", re.escape(each.found))
    wanted = f"{places}.*{re.escape(each.remedy)}"
    if each.refused:
        with pytest.raises(surfing.InputError) as told:
            entry(trajectory, y, **made)
        assert re.search(wanted, str(told.value), re.DOTALL)
    else:
        solution = entry(trajectory, y, noise=spoilt.get("noise"), **made)
        assert any(re.search(wanted, note, re.DOTALL) for note in solution.notes)


def test_a_sound_model_has_nothing_to_say():
    net = Function(ok)
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(4)
    )
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert surfing.recover(trajectory, net(z).detach(), generator=net).notes == ()

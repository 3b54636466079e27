"""The annealed penalty is what the documentation says: each row's own, falling, then none."""

from __future__ import annotations

import pytest
import torch

import surfing

K = 3


@pytest.mark.parametrize("anneal", [0.5, 4.0])
def test_the_penalty_is_in_units_of_each_rows_own_risk_at_its_start(path, net, y, anneal):
    seen: list[torch.Tensor | None] = []

    class Watched(surfing.LevenbergMarquardt):
        def init(self, risk, z, rows):
            seen.append(None if risk.reg is None else risk.reg[rows].clone())
            return super().init(risk, z, rows)

    z0 = surfing.Normal(K).sample(range(len(y)), 2, seed=3)
    stages = (0.0, 2.0, 4.0, 5.0, 7.0)
    surfing.surf(
        path, y, generator=net, z0=z0, anneal=anneal, descent=Watched(),
        schedule=surfing.Stages(stages),
    )  # fmt: skip
    assert len(seen) == len(stages)
    assert seen[-1] is None or not bool(seen[-1].any())
    with torch.no_grad():
        model = surfing.ForwardModel(path, generator=net)
        x = model.signals(z0.flatten(0, 1), stage=0)
    own = (x - y.repeat_interleave(2, 0)).flatten(1).double().square().sum(1) / 2
    assert float(own.max() / own.min()) > 2  # rows differ, so a common unit would show
    for number, weight in enumerate(seen[:-1]):
        assert weight is not None
        expected = anneal * own / K * 1e-3 ** (number / (len(stages) - 2))
        torch.testing.assert_close(weight.double(), expected, rtol=1e-4, atol=0.0)

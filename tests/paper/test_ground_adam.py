"""Thousands of rows side by side end where the package's own loop takes each of them."""

from functools import partial

import pytest
import torch
from paper.ground.adam import Adam, Rows, Until
from paper.ground.measurements import ALL
from paper.ground.model import Model
from paper.ground.network import Folded
from paper.ground.ways import Setting, adam_rows

from surfing.continuation import direct, surf
from surfing.continuation.schedule import EveryCheckpoint
from surfing.descent import Stopping, TorchOptim
from surfing.generator import Generator
from surfing.zoo import packaged

NEVER = Stopping(rtol=0, xtol=0, ftol=0, divergence=1e30)


@pytest.fixture(scope="module")
def model() -> Model:
    trajectory = packaged()
    return Model.of("packaged", trajectory.select([0, 10, 20, len(trajectory) - 1]))


def _settings(model: Model, counts: tuple[int, ...], targets: int) -> list[Setting]:
    operators = model.operators(counts)
    z, x = model.truths(targets, seed=0)
    return [Setting(model, z, x, operators, which, 0) for which in range(len(counts))]


def test_folding_batch_norm_changes_rounding_only(model: Model) -> None:
    z = model.starts(5, 1, seed=0)[:, 0]
    for place in range(len(model.trajectory)):
        state = model.trajectory[place].state
        whole = Generator(model.generator).at(state)(z).flatten(1)
        assert torch.allclose(Folded(model.generator, state)(z), whole, atol=1e-5)


@pytest.mark.parametrize("ride", [False, True])
def test_same_ends_as_the_package(model: Model, ride: bool) -> None:
    steps, rates = 20, (0.02, 0.1)
    settings = _settings(model, (ALL, 20), 3)
    parts = [adam_rows(s, rate, 1) for s, rate in zip(settings, rates, strict=True)]
    until = Until(tolerance=0.0, floor=0.0, cap=steps + 1, every=steps + 1, patience=10**6)
    states = [c.state for c in model.trajectory]
    adam = Adam(model.network(), settings[0].operators, until=until)
    ends = adam.run(Rows.join(parts), states if ride else states[-1:], stage_steps=5)
    for number, (setting, rate) in enumerate(zip(settings, rates, strict=True)):
        options = {
            "generator": model.generator,
            "operator": setting.operators.single(setting.which),
            "descent": TorchOptim(partial(torch.optim.Adam, lr=rate)),
            "max_steps": steps,
            "stopping": NEVER,
        }
        if ride:
            options |= {"schedule": EveryCheckpoint(), "stage_steps": 5}
        solution = (surf if ride else direct)(model.trajectory, setting.y(1), **options)
        mine = ends.take(slice(3 * number, 3 * number + 3))
        assert torch.allclose(mine.z, solution.z, atol=2e-3)
        assert torch.equal(mine.cost, solution.cost)


def test_rows_leave_and_harm_no_other(model: Model) -> None:
    (setting,) = _settings(model, (ALL,), 4)
    rows = adam_rows(setting, 0.05, 2)
    adam = Adam(model.network(), setting.operators, until=Until(cap=600))
    states = [model.trajectory[-1].state]
    together = adam.run(rows, states)
    assert len(together.steps.unique()) > 1
    for row in range(len(rows)):
        alone = adam.run(rows.take(slice(row, row + 1)), states)
        # Rounding grows along flat valleys: where they end differs more than how low they are.
        assert abs(int(alone.steps[0]) - int(together.steps[row])) <= adam.until.every
        assert torch.allclose(alone.residual[0], together.residual[row], rtol=0.1)


def test_a_row_that_is_not_finite_ends_at_once(model: Model) -> None:
    (setting,) = _settings(model, (20,), 2)
    rows = adam_rows(setting, 0.05, 1)
    rows.z[0] = torch.nan
    adam = Adam(model.network(), setting.operators, until=Until(cap=100, every=10))
    ends = adam.run(rows, [model.trajectory[-1].state])
    assert int(ends.steps[0]) == 10
    assert torch.isfinite(ends.z[1]).all()

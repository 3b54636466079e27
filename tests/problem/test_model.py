"""Targets to try a model with."""

from __future__ import annotations

import pytest
import torch

import surfing
from surfing.errors import InputError


@pytest.fixture(scope="module")
def model() -> surfing.ForwardModel:
    return surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:50")


def test_drawn_signals_are_those_of_the_drawn_latents(model: surfing.ForwardModel) -> None:
    z, x = model.draw(4, seed=3)
    assert (z.shape, x.shape) == ((4, 10), (4, 1, 28, 28))
    assert torch.equal(model.signals(z), x)
    assert torch.equal(model.draw(2, seed=3)[0], z[:2])
    assert not torch.equal(model.draw(4, seed=4)[0], z)


def test_no_start_of_a_run_is_a_drawn_latent(model: surfing.ForwardModel) -> None:
    z, x = model.draw(4)
    run = surfing.direct(model, model.measure(x), starts=3, max_steps=1)
    assert run.candidates_z is not None
    starts = model.latent.sample(range(4), 3, seed=0)
    assert float((starts - z[:, None]).norm(dim=-1).min()) > 0.1


def test_none_can_not_be_drawn(model: surfing.ForwardModel) -> None:
    with pytest.raises(InputError, match="count"):
        model.draw(0)

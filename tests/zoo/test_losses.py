from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from surfing.zoo.losses import Clipped, GradientPenalty, NonSaturating, elbo_loss


def test_the_penalty_vanishes_where_the_slope_is_one():
    """A linear critic <a, x> has slope ||a|| everywhere."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    real, fake, mix = torch.rand(6, 1, 2, 2), torch.rand(6, 1, 2, 2), torch.rand(6)
    for length in (1.0, 3.0):
        with torch.no_grad():
            critic[1].weight.copy_(torch.tensor([[length, 0, 0, 0]]))
        gap = (critic(fake) - critic(real)).mean()
        loss = GradientPenalty(weight=2.0).critic(critic, real, fake, mix=mix)
        assert float((loss - gap).detach()) == pytest.approx(2 * (length - 1) ** 2, abs=1e-6)


def test_clipping_bounds_the_weights_and_spares_batch_norm():
    critic = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    Clipped(0.01).constrain(critic)
    assert critic[0].weight.abs().max() <= 0.01
    assert torch.equal(critic[1].weight, torch.ones(4))


def test_an_undecided_discriminator_scores_two_log_two():
    class Zero(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 1)

    x = torch.rand(3, 1, 2, 2)
    loss = NonSaturating()
    assert float(loss.critic(Zero(), x, x, mix=torch.rand(3))) == pytest.approx(2 * math.log(2))
    assert float(loss.generator(torch.zeros(3, 1))) == pytest.approx(math.log(2))


def test_the_evidence_bound_has_no_divergence_at_the_prior():
    x = torch.full((2, 1, 2, 2), 0.5)
    mean, log_variance = torch.zeros(2, 3), torch.zeros(2, 3)
    loss = elbo_loss(x, x, mean=mean, log_variance=log_variance)
    assert float(loss) == pytest.approx(4 * math.log(2))
    further = elbo_loss(x, x, mean=mean + 1, log_variance=log_variance)
    assert float(further - loss) == pytest.approx(1.5)

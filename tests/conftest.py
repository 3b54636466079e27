"""A small trained network and its path: a student that learned a teacher."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing.architectures import mlp_generator
from surfing.generator import Generator

ARGUMENTS = {"latent_dim": 3, "hidden": 32, "layers": 2, "image_size": 5, "output": "linear"}


@pytest.fixture(scope="session")
def net() -> nn.Module:
    torch.manual_seed(0)
    return mlp_generator(**ARGUMENTS)


@pytest.fixture(scope="session")
def path(net: nn.Module) -> surfing.Trajectory:
    """Eight checkpoints on the way from random weights to a teacher's."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        teacher, student = mlp_generator(**ARGUMENTS), mlp_generator(**ARGUMENTS)
        with torch.no_grad():
            for weights in teacher.parameters():
                weights.mul_(2.0)
        optimiser = torch.optim.Adam(student.parameters(), lr=0.01)
        states = [(0, {n: t.clone() for n, t in student.state_dict().items()})]
        for step in range(1, 141):
            z = torch.randn(64, 3)
            loss = (student(z) - teacher(z)).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % 20 == 0:
                states.append((step, {n: t.clone() for n, t in student.state_dict().items()}))
    return surfing.Trajectory.from_state_dicts(
        states,
        latent=surfing.Normal(3),
        architecture={"name": "mlp", "arguments": ARGUMENTS},
    )


@pytest.fixture(scope="session")
def truth(path: surfing.Trajectory) -> Tensor:
    return surfing.Normal(3).sample(range(1000, 1012), 1, seed=5)[:, 0]


@pytest.fixture(scope="session")
def y(path: surfing.Trajectory, net: nn.Module, truth: Tensor) -> Tensor:
    with torch.no_grad():
        return Generator(net).at(path[-1].state)(truth)

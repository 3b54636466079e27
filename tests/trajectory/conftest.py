from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from surfing.latents import Normal
from surfing.trajectory import Trajectory


class Counting(nn.Module):
    """A generator with weights, batch norm and a buffer that counts steps."""

    def __init__(self, k: int = 3, width: int = 8, n: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(k, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, n)
        )
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layers(z)
        return out


@pytest.fixture
def generator() -> Counting:
    torch.manual_seed(0)
    return Counting()


@pytest.fixture
def train() -> Callable[..., None]:
    """A few real steps of training towards a constant, calling back after each."""

    def run(module: nn.Module, steps: int, after: Callable[[], object], lr: float = 0.01) -> None:
        optimiser = torch.optim.Adam(module.parameters(), lr)
        for _ in range(steps):
            optimiser.zero_grad()
            (module(torch.randn(16, 3)) - 1).square().mean().backward()
            optimiser.step()
            getattr(module, "module", module).count += 1
            after()

    return run


@pytest.fixture
def trajectory(tmp_path: Path, generator: Counting) -> Trajectory:
    """Five checkpoints on disk, every weight moving."""
    states = []
    for i in range(5):
        state = {name: t.clone() for name, t in generator.state_dict().items()}
        for name, t in state.items():
            state[name] = t + 3 * i if not t.is_floating_point() else t + 0.1 * i
        states.append((10 * i, state))
    Trajectory.from_state_dicts(states, latent=Normal(3)).save(tmp_path / "five")
    return Trajectory.open(tmp_path / "five")

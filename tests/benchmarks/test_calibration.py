"""The calibration's own instruments: uniform ranks pass, others don't; basins of a known grid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from benchmarks.hmc import effective_sizes, hamiltonian

import surfing
from benchmarks import calibration, two_modes


def test_uniform_ranks_pass_and_others_do_not() -> None:
    stream = torch.Generator().manual_seed(0)
    rank = torch.rand(500, 4, generator=stream, dtype=torch.float64)
    assert calibration.chi_squared(rank) > 0.01
    assert calibration.chi_squared(rank.square()) < 1e-6


def test_basins_of_two_bells_have_their_masses() -> None:
    line = torch.linspace(-4, 4, 101, dtype=torch.float64)
    x, y = torch.meshgrid(line, line, indexing="ij")
    one = -((x - 2).square() + y.square()) * 2
    two = -((x + 2).square() + y.square()) * 2
    log = torch.logsumexp(torch.stack([one + torch.tensor(3.0).log(), two]), 0)
    label, mass = two_modes.basins(log)
    assert mass[:2].tolist() == pytest.approx([0.75, 0.25], abs=0.01)
    assert label[75, 50] == 0
    assert label[25, 50] == 1


def test_a_bend_that_is_shallow_is_no_mode_of_its_own() -> None:
    line = torch.linspace(-4, 4, 101, dtype=torch.float64)
    x, y = torch.meshgrid(line, line, indexing="ij")
    log = -(x.square() + y.square()) / 2 + 0.2 * torch.cos(4 * x)
    assert len(two_modes.basins(log)[1]) == 1


def test_hmc_of_a_linear_generator_is_the_closed_form() -> None:
    net = torch.nn.Linear(2, 5)
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(2)
    )
    model = surfing.ForwardModel(trajectory, generator=net)
    y = model.measure(model.signals(torch.tensor([[0.5, -1.0]])))
    chains = hamiltonian(model, y, 0.5, warmup=150, iterations=300)
    ess, split = effective_sizes(chains.z)
    assert float(split) < 1.05
    assert float(ess) > 200
    slope = net.weight.detach().double()
    covariance = torch.linalg.inv(slope.T @ slope / 0.25 + torch.eye(2))
    found = torch.cov(chains.z[0].flatten(0, 1).T)
    assert torch.allclose(found, covariance, atol=0.25 * float(covariance.diagonal().max()))


def test_the_effective_size_of_independent_numbers_is_their_count() -> None:
    z = torch.randn(1, 4, 500, 2, generator=torch.Generator().manual_seed(0))
    ess, split = effective_sizes(z)
    assert 1200 < float(ess) < 2800
    assert float(split) < 1.02


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    calibration.main(out=out, short=True)
    two_modes.main(out=out, short=True)
    record = json.loads(out.read_text())
    assert set(record) >= {"cells", "two_modes", "rival", "versions", "machine", "seed"}

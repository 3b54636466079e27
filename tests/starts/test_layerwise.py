"""The layerwise start: exact where the layers determine their inputs, a start elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import surfing
from surfing.starts.layerwise import DenseLayer, dense_layers, layerwise


def network(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.out_features**-0.5)
    return nn.Sequential(*layers).eval().requires_grad_(False)


def expansive(output: nn.Module) -> nn.Sequential:
    return network(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 200), output)


def latents(rows: int, k: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, k, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "output", [nn.ReLU(), nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.Identity()], ids=repr
)
def test_expansive_networks_are_inverted(output):
    net, z = expansive(output), latents(20, 5)
    layers = dense_layers(net, net.state_dict())
    assert layers is not None
    found = layerwise(layers, net(z))
    assert torch.allclose(found, z, atol=1e-3)


def test_linear_operator_is_undone_with_the_last_layer():
    net, z = expansive(nn.Identity()), latents(20, 5)
    matrix = torch.randn(60, 200, generator=torch.Generator().manual_seed(2))
    layers = dense_layers(net, net.state_dict())
    found = layerwise(layers, net(z) @ matrix.T, matrix=matrix)
    assert torch.allclose(found, z, atol=1e-3)


def test_batch_norm_is_folded():
    net = network(nn.Linear(4, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 90))
    with torch.no_grad():
        for tensor in net[1].state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    z = latents(10, 4)
    assert torch.allclose(layerwise(dense_layers(net, net.state_dict()), net(z)), z, atol=1e-3)


def test_one_target_is_solved_as_among_others():
    net, z = expansive(nn.ReLU()), latents(8, 5)
    layers, y = dense_layers(net, net.state_dict()), net(z)
    together = layerwise(layers, y)
    assert torch.allclose(layerwise(layers, y[3:4]), together[3:4], atol=1e-6)


def test_relus_that_are_off_say_on_which_side():
    # z = -1: the one ReLU that is on leaves z free along (1, -1); the others were not positive.
    weight = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    z = torch.tensor([[2.0, 2.0]])
    found = layerwise([DenseLayer(weight, torch.zeros(3), "relu")], (z @ weight.T).relu())
    assert torch.allclose(found, z)


def test_too_few_relus_leave_a_finite_start():
    net = network(nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 50), nn.ReLU())
    found = layerwise(dense_layers(net, net.state_dict()), net(latents(30, 20)))
    assert torch.isfinite(found).all()


def test_dark_signals_leave_a_finite_start():
    net = expansive(nn.ReLU())
    found = layerwise(dense_layers(net, net.state_dict()), torch.zeros(2, 200))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 5)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5)),
        nn.Sequential(nn.Unflatten(1, (3, 1, 1)), nn.ConvTranspose2d(3, 2, 3), nn.ReLU()),
        nn.Sequential(nn.ReLU(), nn.Linear(3, 4)),
    ],
    ids=["sigmoid inside", "nothing to undo by signs", "convolution", "activation first"],
)
def test_other_networks_are_left_alone(module):
    assert dense_layers(module, module.state_dict()) is None


def test_reads_the_state_and_not_the_module():
    net = expansive(nn.ReLU())
    state = {name: 2 * tensor for name, tensor in net.state_dict().items()}
    layers = dense_layers(net, state)
    assert torch.equal(layers[0].weight, 2 * net[0].weight)


def test_sizes_that_do_not_fit_are_told():
    layers = dense_layers(net := expansive(nn.ReLU()), net.state_dict())
    with pytest.raises(surfing.InputError, match="y: expected"):
        layerwise(layers, torch.zeros(2, 7))
    with pytest.raises(surfing.InputError, match="matrix: expected None"):
        layerwise(layers, torch.zeros(2, 7), matrix=torch.zeros(7, 200))

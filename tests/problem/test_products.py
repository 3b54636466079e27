"""Products of a call: torch's own count, without what torch's own counter loads."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._C import _len_torch_dispatch_stack
from torch.utils.flop_counter import FlopCounterMode

from surfing.architectures import build_generator
from surfing.problem.products import products_of


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 32)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = self.first(z).view(-1, 1, 4, 8)
        return nn.functional.scaled_dot_product_attention(x, x, x)


def networks() -> dict[str, nn.Module]:
    made = {
        name: build_generator(name, latent_dim=6, width=4, image_size=32, **more)
        for name, more in {"deep": {}, "style": {}}.items()
    }
    layers = (nn.Linear(6, 16), nn.Unflatten(1, (4, 2, 2)), nn.ConvTranspose2d(4, 3, 4, 2, 1))
    return made | {"transposed": nn.Sequential(*layers), "attention": Attending()}


@pytest.mark.parametrize("name", ["deep", "style", "transposed", "attention"])
def test_it_is_half_of_what_torch_counts(name: str) -> None:
    torch.manual_seed(0)
    net, z = networks()[name].eval().requires_grad_(False), torch.zeros(2, 6)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(z)
    assert products_of(lambda: net(z)) == counter.get_total_flops() / 2 > 0


def test_inference_mode_changes_nothing() -> None:
    net = networks()["transposed"]
    with torch.inference_mode():
        z = torch.zeros(2, 6)
        assert products_of(lambda: net(z)) == products_of(lambda: net(torch.zeros(2, 6))) > 0


def test_tensors_of_their_own_layout_harm_nothing() -> None:
    layer = nn.Linear(4, 3)

    def nested() -> torch.Tensor:
        parts = torch.nested.nested_tensor_from_jagged(torch.ones(5, 4), torch.tensor([0, 2, 5]))
        return layer(parts)

    with contextlib.suppress(TypeError):  # as torch's own counter: what can't be counted is said
        products_of(nested)
    assert _len_torch_dispatch_stack() == 0
    with torch.no_grad():
        assert nested().values().shape == (5, 3)


def test_nothing_is_counted_where_nothing_is_multiplied() -> None:
    assert products_of(lambda: torch.zeros(3).sin()) == 0


def test_the_compiler_is_not_loaded() -> None:
    code = (
        "import sys, torch; from surfing.problem.products import products_of; "
        "assert products_of(lambda: torch.nn.Linear(3, 4)(torch.zeros(1, 3))) == 12; "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)

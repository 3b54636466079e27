"""The structured Jacobian engine is torch.func's forward mode, in another order of work."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from surfing.architectures import conv_generator, mlp_generator
from surfing.generator import Generator
from surfing.problem.affine import TransposedConvolution
from surfing.problem.program import Program

K, ROWS = 5, 3

# torch's own forward mode says so of torch itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")


class _TwoReaders(nn.Module):
    """Both the first layer and its activation are read twice: nothing may be overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(K, 8), nn.Linear(8, 8)
        self.act = nn.Tanh()

    def forward(self, z: Tensor) -> Tensor:
        a = self.first(z)
        b = self.second(torch.relu(a))
        return self.act(b) + torch.sigmoid(b) + a


def _conv(channels: int, stride: int, padding: int) -> nn.Sequential:
    taps = stride + 2 * padding
    return nn.Sequential(
        nn.Linear(K, 6 * 9),
        nn.Softplus(),
        nn.Unflatten(1, (6, 3, 3)),
        nn.ConvTranspose2d(6, channels, taps, stride, padding),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.1),
    )


MODULES = {
    "conv": conv_generator(latent_dim=K, width=4, hidden=16, image_size=8),
    "mlp": mlp_generator(latent_dim=K, hidden=16, image_size=4),
    "mlp, linear output": mlp_generator(latent_dim=K, hidden=16, image_size=4, output="linear"),
    "two readers": _TwoReaders(),
    "one channel": _conv(1, 2, 1),
    "three channels": _conv(3, 2, 1),
    "stride 3": _conv(2, 3, 2),
    "no padding": _conv(1, 2, 0),
    "many channels": _conv(8, 2, 1),
}


def _randomised(module: nn.Module, seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in module.double().state_dict().items():
        drawn = torch.randn(tensor.shape, generator=rng, dtype=torch.float64) / 4
        state[name] = drawn.square() + 0.5 if name.endswith("running_var") else drawn
    return {
        n: t if n in dict(module.named_parameters()) or "running" in n else t.round().long()
        for n, t in state.items()
    }


@pytest.mark.parametrize("name", MODULES)
def test_value_and_tangents_are_forward_modes(name: str) -> None:
    generator = Generator(MODULES[name])
    program = Program.trace(generator.module)
    assert program is not None
    z = torch.randn(ROWS, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for seed in (1, 2):  # two checkpoints of one program
        state = _randomised(generator.module, seed)
        bound = generator.at(state)
        value, tangents = program.bind(state).linearise(z)
        expected, columns = vmap(
            lambda e, g=bound: jvp(g, (z,), (e.expand(ROWS, K),)), out_dims=(None, 1)
        )(torch.eye(K, dtype=torch.float64))
        torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(tangents, columns, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", MODULES)
def test_reverse_mode_goes_through_the_folded_network(name: str) -> None:
    generator = Generator(MODULES[name])
    state = _randomised(generator.module, 3)
    z = torch.randn(ROWS, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    program = Program.trace(generator.module)
    assert program is not None
    slopes = []
    for function in (program.bind(state), generator.at(state)):
        leaf = z.clone().requires_grad_()
        slopes.append(torch.autograd.grad(function(leaf).square().sum(), leaf)[0])
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-11, atol=1e-12)


def test_few_channels_run_as_one_product_a_tap() -> None:
    layers = {n: MODULES[n][3] for n in ("one channel", "stride 3", "many channels")}
    folded = {
        n: TransposedConvolution.from_layer(layer, "", layer.state_dict(), None, None)
        for n, layer in layers.items()
    }
    assert folded["one channel"].planes is not None
    assert folded["stride 3"].planes is not None
    assert folded["many channels"].planes is None

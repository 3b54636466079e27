"""The structured Jacobian engine is torch.func's forward mode, in another order of work."""

import pytest
import torch
from tests.reverse_only import twice
from torch import Tensor, nn
from torch.func import jvp, vmap

import surfing
from surfing.architectures import conv_generator, mlp_generator
from surfing.continuation.binding import bind
from surfing.generator import Generator
from surfing.latents import Normal
from surfing.problem.affine import TransposedConvolution
from surfing.problem.problem import Problem
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


def _layers(*layers: nn.Module) -> nn.Sequential:
    """Six channels of 5 x 5, then the layers, a batch norm that can be folded, and a bend."""
    start = (nn.Linear(K, 6 * 25), nn.Tanh(), nn.Unflatten(1, (6, 5, 5)))
    with torch.no_grad():
        channels = nn.Sequential(*start, *layers)(torch.zeros(1, K)).shape[1]
    return nn.Sequential(*start, *layers, nn.BatchNorm2d(channels), nn.Sigmoid())


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
    "grouped conv": _layers(nn.Conv2d(6, 4, 3, groups=2, bias=False)),
    "dilated conv": _layers(nn.Conv2d(6, 3, 3, padding=2, dilation=2)),
    "grouped, dilated, strided conv": _layers(nn.Conv2d(6, 9, (3, 2), 2, 1, 2, groups=3)),
    "depthwise conv": _layers(nn.Conv2d(6, 12, 3, padding="same", groups=6)),
    "grouped transposed": _layers(nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2, bias=False)),
    "depthwise transposed": _layers(nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=6)),
    "dilated transposed": _layers(nn.ConvTranspose2d(6, 1, 2, 2, 0, dilation=2)),
    "grouped, dilated transposed": _layers(
        nn.ConvTranspose2d(6, 9, (3, 2), 3, 1, 2, groups=3, dilation=2)
    ),
    "output padding": _layers(nn.ConvTranspose2d(6, 1, 4, 2, 1, output_padding=1)),
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


class _Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class _Cubed(nn.Identity):
    """Its value is its own, so that a comparison of values tells nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x**3


class _Shifted(nn.Tanh):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 1e-5)


class _Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.detach().sum()) > 0 else 2 * x


class _Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, K))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _hooked() -> nn.Module:
    layer = nn.Linear(K, 4)
    layer.register_forward_hook(lambda module, args, output: 3 * output)
    return layer


REFUSED = {
    "a function without a rule": lambda: nn.GELU(),
    "a subclass of an affine layer": lambda: _Doubled(K, 4),
    "a subclass of a linear layer": lambda: _Cubed(),
    "a subclass of an activation": lambda: _Shifted(),
    "a layer that mixes entries": lambda: nn.LayerNorm(K),
    "softmax": lambda: nn.Softmax(dim=1),
    "control flow": lambda: _Branches(),
    "a constant of the module": lambda: _Constant(),
    "a hook": _hooked,
    "a parametrised weight": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(K, 4)),
    "another padding": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 1, K)), nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
    ),
    "batch norm without statistics of its own": lambda: nn.BatchNorm1d(
        K, track_running_stats=False
    ),
    "max pooling": lambda: nn.Sequential(nn.Unflatten(1, (1, K)), nn.MaxPool1d(2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_is_not_known_is_refused(name: str) -> None:
    module = nn.Sequential(nn.Linear(K, K), REFUSED[name]())
    assert Program.trace(module.eval()) is None


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_has_its_derivative_all_the_same(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(K, K), REFUSED[name](), nn.Flatten()).double().eval()
    z = torch.randn(ROWS, K, dtype=torch.float64)
    with torch.no_grad():
        y = net(z)
    problem = Problem.build(net, net.state_dict(), y, latent=Normal(K))
    value, jacobian = problem.architecture.at(net.state_dict()).linearise(z)
    torch.testing.assert_close(value, y)
    leaf = z.clone().requires_grad_()
    rows = [torch.autograd.grad(f, leaf, retain_graph=True)[0] for f in net(leaf).sum(0)]
    torch.testing.assert_close(jacobian, torch.stack(rows, 1))


@pytest.mark.parametrize("part", ["operator", "generator"])
def test_reverse_mode_is_noted_once_and_paid_for(part: str) -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return twice(x)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(K, 4), nn.Tanh(), *([Layer()] if part == "generator" else []))
    operator = twice if part == "operator" else None
    plain = nn.Sequential(*net[:2])
    states = [(0, net.state_dict())]
    trajectory = surfing.Trajectory.from_state_dicts(states, latent=Normal(K))
    z = Normal(K).sample(range(ROWS), 1, seed=1)[:, 0]
    with torch.no_grad():
        y = 2 * plain(z)
    solution = surfing.direct(trajectory, y, generator=net, operator=operator, z0=z, max_steps=3)
    (note,) = solution.notes
    assert "2 m passes instead of k" in note
    assert note in solution.summary()
    assert solution.cost.tolist() == [1.0 + 2 * 4] * ROWS  # solved where it starts
    risk = bind(trajectory, y, generator=net, operator=operator, latent=None, operator_seed=0).risk(
        net.state_dict(), torch.arange(ROWS)
    )
    _, jacobian = risk.linearise(z, torch.arange(ROWS))
    bend = 1 - plain(z).square()
    torch.testing.assert_close(jacobian, 2 * bend.unsqueeze(-1) * net[0].weight)


def test_few_channels_run_as_one_product_a_tap() -> None:
    layers = {n: MODULES[n][3] for n in ("one channel", "stride 3", "many channels")}
    folded = {
        n: TransposedConvolution.from_layer(layer, "", layer.state_dict(), None, None)
        for n, layer in layers.items()
    }
    assert folded["one channel"].planes is not None
    assert folded["stride 3"].planes is not None
    assert folded["many channels"].planes is None

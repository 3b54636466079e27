"""The structured Jacobian engine is torch.func's forward mode, in another order of work."""

import pytest
import torch
from tests.problems import bind, built
from tests.reverse_only import twice
from torch import Tensor, nn
from torch.func import jvp, vmap

import surfing
from surfing.architectures import build_generator, conv_generator, mlp_generator
from surfing.generator import Generator
from surfing.latents import Normal
from surfing.problem.affine import TransposedConvolution
from surfing.problem.program import Program

K, ROWS = 5, 3

# torch's own forward mode says so of torch itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")


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


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, K))
        self.register_buffer("shift", torch.linspace(-1, 1, K))

    def forward(self, x: Tensor) -> Tensor:
        return 1 - (x * (self.scale * 2) + self.shift) / 3


class _Block(nn.Module):
    """A residual block whose two branches read one upsampled image."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.skip = nn.Linear(K, 2 * 9), nn.Conv2d(2, 3, 1)
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.GroupNorm(1, 3)

    def forward(self, z: Tensor) -> Tensor:
        x = self.start(z).view(z.size(0), 2, 3, 3)
        x = nn.functional.interpolate(x, scale_factor=2)
        out = self.second(nn.functional.silu(self.norm(self.first(x))))
        out += self.skip(x)
        return out


class _Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.gate = nn.Linear(K, 4), nn.Linear(K, 6), nn.Linear(10, 10)

    def forward(self, z: Tensor) -> Tensor:
        a, b = self.one(z), torch.tanh(self.two(z))
        both = torch.cat([a, b], dim=1)
        gated = both * torch.sigmoid(self.gate(both)) - 0.5 * torch.cat([b, a], -1)
        low, high = gated.chunk(2, dim=1)
        return torch.stack([low / (1 + high.square()), high.exp(), low.clamp(min=-0.2)], 1)


class _Styled(nn.Module):
    """A mapping network, a learned constant, modulated convolutions, fixed noise."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(K, 8), nn.LeakyReLU(0.2), nn.Linear(8, 8))
        self.start = nn.Parameter(torch.ones(1, 4, 3, 3))
        self.style, self.weight = nn.Linear(8, 4), nn.Parameter(torch.ones(5, 4, 3, 3))
        self.register_buffer("noise", torch.ones(1, 1, 6, 6))
        self.strength, self.colour = nn.Parameter(torch.ones(())), nn.Conv2d(5, 3, 1)

    def forward(self, z: Tensor) -> Tensor:
        z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        style = self.style(self.mapping(z)) + 1
        x = self.start.expand(z.shape[0], -1, -1, -1) * style[:, :, None, None]
        x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
        x = nn.functional.conv2d(x, self.weight, padding=1)
        squares = nn.functional.linear(style.square(), self.weight.square().sum(dim=(2, 3)))
        x = x * torch.rsqrt(squares + 1e-8)[:, :, None, None]
        return self.colour(nn.functional.leaky_relu(x + self.strength * self.noise, 0.2))


class _Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.heads = nn.Linear(K, 12), nn.Linear(4, 12)

    def forward(self, z: Tensor) -> Tensor:
        tokens = self.tokens(z).view(-1, 3, 4)
        q, k, v = self.heads(tokens).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) / 2, dim=-1)
        return tokens + weights @ v


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
    "nearest upsampling, read by a convolution": _layers(
        nn.Upsample(scale_factor=2), nn.Conv2d(6, 5, 3, padding=1)
    ),
    "threefold upsampling, five taps, one channel": _layers(
        nn.UpsamplingNearest2d(scale_factor=3), nn.Conv2d(6, 1, 5, padding="same", bias=False)
    ),
    "nearest upsampling, read twice": _Block(),
    "bilinear upsampling": _layers(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(6, 5, 3, padding=1)
    ),
    "instance norm": _layers(nn.InstanceNorm2d(6), nn.SiLU()),
    "instance norm, affine": _layers(nn.InstanceNorm2d(6, affine=True), nn.GELU()),
    "instance norm with statistics of its own": _layers(
        nn.Conv2d(6, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    ),
    "group norm": _layers(nn.GroupNorm(3, 6), nn.PReLU(6)),
    "group norm, not affine": _layers(nn.GroupNorm(2, 6, affine=False), nn.PReLU()),
    "layer norm over images": _layers(nn.LayerNorm((6, 5, 5)), nn.ELU(0.7)),
    "pixel shuffle": _layers(nn.Conv2d(6, 8, 3), nn.PixelShuffle(2), nn.ReflectionPad2d(1)),
    "pooling": _layers(nn.MaxPool2d(2, 1), nn.AvgPool2d(2, 1), nn.AdaptiveAvgPool2d(2)),
    "in one dimension": nn.Sequential(
        *(nn.Linear(K, 24), nn.LayerNorm(24), nn.Mish(), nn.Unflatten(1, (4, 6))),
        *(nn.ConvTranspose1d(4, 3, 4, 2, 1), nn.InstanceNorm1d(3), nn.SELU()),
        *(nn.Conv1d(3, 2, 3, padding=1, dilation=1), nn.BatchNorm1d(2), nn.Softmax(-1)),
    ),
    "in three dimensions": nn.Sequential(
        *(nn.Linear(K, 24), nn.Tanh(), nn.Unflatten(1, (3, 2, 2, 2))),
        *(nn.ConvTranspose3d(3, 2, 4, 2, 1), nn.BatchNorm3d(2), nn.Conv3d(2, 1, 3), nn.Hardtanh()),
    ),
    "residual, joined and gated branches": _Branched(),
    "style-like": _Styled(),
    "attention by hand": _Attending(),
    "a subclass that is written in known operations": nn.Sequential(
        _Doubled(K, 4), _Cubed(), _Shifted()
    ),
    "constants of the module": nn.Sequential(_Scaled(), nn.Linear(K, 3)),
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


class _Summed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1)


class _Slanted(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(super().forward)(x)


class _Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if len(x) > 0 else x


def _hooked() -> nn.Module:
    layer = nn.Linear(K, 4)
    layer.register_forward_hook(lambda module, args, output: 3 * output)
    return layer


REFUSED = {
    "a function without a rule": lambda: _Summed(),
    "a layer without a rule": lambda: nn.RReLU(),
    "a subclass that hides from tracing": lambda: _Slanted(K, 4),
    "control flow": lambda: _Branches(),
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


MIXES = "batch norm without statistics of its own"


@pytest.mark.parametrize("name", [name for name in REFUSED if name != MIXES])
def test_what_is_refused_has_its_derivative_all_the_same(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(K, K), REFUSED[name](), nn.Flatten()).double().eval()
    z = torch.randn(ROWS, K, dtype=torch.float64)
    with torch.no_grad():
        y = net(z)
    problem = built(net, net.state_dict(), y, latent=Normal(K))
    value, jacobian = problem.architecture.at(net.state_dict()).linearise(z)
    torch.testing.assert_close(value, y)
    leaf = z.clone().requires_grad_()
    rows = [torch.autograd.grad(f, leaf, retain_graph=True)[0] for f in net(leaf).sum(0)]
    torch.testing.assert_close(jacobian, torch.stack(rows, 1))


@pytest.mark.parametrize("part", ["operator", "generator"])
def test_reverse_mode_is_noted_once_and_paid_for(part: str) -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return twice(x) if len(x) > 0 else x  # can't be traced

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(K, 8), nn.Tanh(), *([Layer()] if part == "generator" else []))
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
    assert solution.cost.tolist() == [1.0 + 2 * 8] * ROWS  # solved where it starts
    risk = bind(trajectory, y, generator=net, operator=operator, latent=None, operator_seed=0).risk(
        net.state_dict(), torch.arange(ROWS)
    )
    _, jacobian = risk.linearise(z, torch.arange(ROWS))
    bend = 1 - plain(z).square()
    torch.testing.assert_close(jacobian, 2 * bend.unsqueeze(-1) * net[0].weight)


class _StraightThrough(torch.autograd.Function):
    """A value of its own, and a derivative that is not the value's."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return grads[0]


def test_a_derivative_of_its_own_is_kept() -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = _StraightThrough.apply(x)
            return out

    net = nn.Sequential(nn.Linear(K, 4), Layer())
    assert Program.trace(net.eval()) is not None  # its value can be read off
    z = torch.randn(ROWS, K)
    with torch.no_grad():
        y = net(z)
    problem = built(net, net.state_dict(), y, latent=Normal(K))
    assert not problem.architecture.structured
    _, jacobian = problem.architecture.at(net.state_dict()).linearise(z)
    torch.testing.assert_close(jacobian, net[0].weight.expand(ROWS, 4, K))


class _Labelled(nn.Module):
    """Told a label, a gain for each row, and what it does without a name for it."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.first = nn.Embedding(3, 4), nn.Linear(K + 4, 6)
        self.last = nn.Linear(6, 8)

    def forward(
        self, z: Tensor, label: Tensor, gain: Tensor | None = None, bend: bool = True
    ) -> Tensor:
        x = torch.tanh(self.first(torch.cat([z, self.names(label)], 1)))
        x = x if gain is None else x * gain
        return self.last(x).unflatten(1, (2, 4)) if bend else self.last(x)


@pytest.mark.parametrize("names", [("label",), ("label", "gain")])
def test_inputs_by_row_are_constants_of_the_structured_engine(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    net = _Labelled().double().eval()
    given = {"label": torch.tensor([0, 2, 1]), "gain": torch.rand(3, 6, dtype=torch.float64)}
    inputs = {name: given[name] for name in names}
    program = Program.trace(net, names)
    assert program is not None
    z = torch.randn(3, K, dtype=torch.float64)
    value, tangents = program.bind(net.state_dict()).linearise(z, inputs)
    expected, columns = vmap(
        lambda e: jvp(lambda at: net(at, **inputs), (z,), (e.expand(3, K),)), out_dims=(None, 1)
    )(torch.eye(K, dtype=torch.float64))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(tangents, columns)
    torch.testing.assert_close(program.bind(net.state_dict())(z, inputs), expected)


def test_an_input_that_is_not_given_is_what_the_module_takes_it_for() -> None:
    net = nn.Sequential(nn.Linear(K, 4)).eval()
    assert Program.trace(net) is not None
    assert Program.trace(_Labelled().eval()) is None  # label has no default


@pytest.mark.parametrize("columns", [slice(0, 2), slice(2, 5), slice(4, 9)])
def test_tangents_can_be_had_a_few_at_a_time(columns: slice) -> None:
    generator = Generator(MODULES["conv"])
    program = Program.trace(generator.module)
    assert program is not None
    bound = program.bind(_randomised(generator.module, 1))
    z = torch.randn(ROWS, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, whole = bound.linearise(z)
    torch.testing.assert_close(bound.linearise(z, columns=columns)[1], whole[:, columns])


@pytest.mark.parametrize("opaque", [False, True])
def test_many_tangents_of_a_wide_row_are_taken_a_few_at_a_time(opaque: bool) -> None:
    class Wide(nn.Sequential):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z if not opaque or len(z) > 0 else -z)

    k = 40
    torch.manual_seed(0)
    net = Wide(nn.Linear(k, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval()
    z = torch.randn(2, k, dtype=torch.float64)
    problem = built(net, net.state_dict(), net(z).detach(), latent=Normal(k))
    assert problem.architecture.structured is not opaque
    forward = problem.architecture.at(net.state_dict())
    _, whole = forward.linearise(z)
    problem.architecture.widest = 1 << 40
    value, alone = forward.linearise(z[:1])
    torch.testing.assert_close(value, net(z[:1]))
    torch.testing.assert_close(alone, whole[:1])


def test_a_harmless_note_does_not_change_the_engine() -> None:
    net = MODULES["mlp"].double().eval()
    z = torch.randn(ROWS, K, dtype=torch.float64)
    problem = built(net, net.state_dict(), net(z).detach(), latent=Normal(K))
    forward = problem.architecture.at(net.state_dict())
    before = (forward.tangent_passes(K, 16), forward.product_passes)
    problem.architecture.notes.append("something that one would not expect")
    assert (forward.tangent_passes(K, 16), forward.product_passes) == before
    assert not problem.architecture.reverse_only


def test_few_channels_run_as_one_product_a_tap() -> None:
    layers = {n: MODULES[n][3] for n in ("one channel", "stride 3", "many channels")}
    folded = {
        n: TransposedConvolution.from_layer(layer, "", layer.state_dict(), None, None)
        for n, layer in layers.items()
    }
    assert folded["one channel"].planes is not None
    assert folded["stride 3"].planes is not None
    assert folded["many channels"].planes is None


def test_the_style_based_generator_has_its_structured_jacobian() -> None:
    torch.manual_seed(0)
    net = build_generator("style", latent_dim=K, width=2, hidden=8, image_size=8).double().eval()
    z = torch.randn(ROWS, K, dtype=torch.float64)
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=Normal(K))
    assert surfing.ForwardModel(path, generator=net).architecture.structured
    program = Program.trace(net)
    assert program is not None
    _, tangents = program.bind(net.state_dict()).linearise(z)
    for j in range(K):
        along = torch.eye(K, dtype=z.dtype)[j].expand(ROWS, K)
        torch.testing.assert_close(tangents[:, j], jvp(net, (z,), (along,))[1])

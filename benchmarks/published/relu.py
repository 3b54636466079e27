"""Small ReLU generators, of which it was said that descent fails in almost all cases.

``python -m benchmarks.published.relu --data DIR --out docs/records/relu.json``

Decoders of VAEs without biases, 20-60-784 with ReLU and 20-200-500-784 with leaky ReLU, an
activation at the output too, trained here on Fashion-MNIST (DIR holds its ``raw/`` files in
torchvision's layout), and the same layouts with random weights. Targets are images of their own
latents, without noise. Success: ||z - z*|| < .01; beside it, the measurements met to 1e-4.

Source: Lei, Jalal, Dhillon & Dimakis, "Inverting deep generative models, one layer at a time",
NeurIPS 2019, section 4: layer sizes and claim.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import surfing
from benchmarks.measure import environment, wilson, write_record
from surfing.starts.layerwise import dense_layers, layerwise

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["LAYOUTS", "METHODS", "Bed", "decoder", "main", "random_path", "train"]

LAYOUTS: dict[str, tuple[tuple[int, ...], float]] = {
    "20-60-784 ReLU": ((20, 60, 784), 0.0),
    "20-200-500-784 leaky ReLU": ((20, 200, 500, 784), 0.2),
}
"""Sizes of the layers, and the slope on the negative side."""


@dataclass(frozen=True)
class Bed:
    """A generator, its path and its targets."""

    name: str
    generator: nn.Sequential
    trajectory: surfing.Trajectory
    truth: Float[Tensor, "targets k"]
    y: Float[Tensor, "targets m"]
    trained: bool


def decoder(sizes: Sequence[int], slope: float) -> nn.Sequential:
    """Linear layers without biases, each followed by its ReLU or leaky ReLU."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        linear = nn.Linear(before, after, bias=False)
        nn.init.normal_(linear.weight, std=(2 / before) ** 0.5)
        layers += [linear, nn.LeakyReLU(slope) if slope else nn.ReLU()]
    return nn.Sequential(*layers)


def train(
    sizes: Sequence[int], slope: float, images: Float[Tensor, "n 784"], *, steps: int, seed: int
) -> tuple[nn.Sequential, surfing.Trajectory]:
    """A VAE with a Gaussian likelihood; its decoder is kept at 20 moments, dense early."""
    torch.manual_seed(seed)
    net, k = decoder(sizes, slope), sizes[0]
    encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * k))
    optimiser = torch.optim.Adam([*net.parameters(), *encoder.parameters()], lr=1e-3)
    moments = {round(steps * (i / 20) ** 2) for i in range(21)}
    states = [(0, _copy(net))]
    for step in range(1, steps + 1):
        batch = images[torch.randint(len(images), (128,))]
        mean, spread = encoder(batch).chunk(2, 1)
        z = mean + (spread / 2).exp() * torch.randn_like(mean)
        misfit = (net(z) - batch).square().sum() / 0.05
        divergence = (mean.square() + spread.exp() - 1 - spread).sum()
        optimiser.zero_grad()
        ((misfit + divergence) / 2 / len(batch)).backward()
        optimiser.step()
        if step in moments:
            states.append((step, _copy(net)))
    return net, surfing.Trajectory.from_state_dicts(states, latent=surfing.Normal(k))


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def random_path(
    sizes: Sequence[int], slope: float, *, seed: int
) -> tuple[nn.Sequential, surfing.Trajectory]:
    """Random weights, and a straight line to them from others: there was no training."""
    torch.manual_seed(seed)
    start, end = decoder(sizes, slope), decoder(sizes, slope)
    first, last = _copy(start), _copy(end)
    states = [
        (i, {name: (1 - i / 10) * first[name] + i / 10 * last[name] for name in last})
        for i in range(11)
    ]
    return end, surfing.Trajectory.from_state_dicts(states, latent=surfing.Normal(sizes[0]))


def _layerwise(bed: Bed) -> Tensor:
    layers = dense_layers(bed.generator, bed.trajectory.state(-1))
    if layers is None:
        raise SystemExit("layerwise: the generator is no dense ReLU network.")
    return layerwise(layers, bed.y)


def _alone(bed: Bed) -> tuple[Tensor, float]:
    return _layerwise(bed), 0.0


def _library(entry: Callable[..., surfing.Solution], bed: Bed) -> tuple[Tensor, float]:
    solution = entry(bed.trajectory, bed.y, generator=bed.generator)
    once = getattr(solution, "cost_once", None)
    once = solution.cost_once if once is None else once
    return solution.z, float(solution.cost.mean()) + float(once) / len(bed.y)


def _polished(bed: Bed) -> tuple[Tensor, float]:
    return _library(partial(surfing.direct, z0=_layerwise(bed)[:, None], max_steps=50), bed)


def _adam(rate: float) -> surfing.TorchOptim:
    return surfing.TorchOptim(partial(torch.optim.Adam, lr=rate))


METHODS: dict[str, tuple[str, Callable[[Bed], tuple[Tensor, float]]]] = {
    "adam": (
        "direct Adam, 1,000 steps of .05",
        partial(_library, partial(surfing.direct, descent=_adam(0.05), max_steps=1000, seed=7)),
    ),
    "lbfgs": (
        "direct L-BFGS, 200 steps",
        partial(_library, partial(surfing.direct, descent=surfing.LBFGS(), seed=7)),
    ),
    "lm": ("direct LM, one start", partial(_library, partial(surfing.direct, seed=7))),
    "lm-10": (
        "direct LM, ten starts",
        partial(_library, partial(surfing.direct, starts=10, seed=7)),
    ),
    "surf": ("surf with LM, ten stages", partial(_library, partial(surfing.surf, seed=7))),
    "layerwise": ("layerwise least squares alone", _alone),
    "layerwise-lm": ("layerwise least squares, then LM", _polished),
    "recover": (
        "recover, budget 2000",
        partial(_library, partial(surfing.recover, budget=2000, seed=7)),
    ),
    "regions": (
        "RegionDescent from the layerwise start",
        lambda bed: _library(
            partial(
                surfing.direct,
                descent=surfing.RegionDescent(tau=0.05),
                z0=_layerwise(bed)[:, None],
                max_steps=20,
            ),
            bed,
        ),
    ),
}

_FEW = {"regions": 10}
"""Methods that take too long for all targets."""


def measured(bed: Bed, name: str) -> dict[str, Any]:
    """One line of the record."""
    few = _FEW.get(name, len(bed.y))
    part = Bed(bed.name, bed.generator, bed.trajectory, bed.truth[:few], bed.y[:few], bed.trained)
    label, method = METHODS[name]
    began = time.perf_counter()
    z, cost = method(part)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        residual = (part.generator(z) - part.y).norm(dim=1) / part.y.norm(dim=1)
    found = (z - part.truth).norm(dim=1) < 0.01
    count, n = int(found.sum()), len(found)
    return {
        "generator": bed.name,
        "method": name,
        "label": label,
        "targets": n,
        "recovered": count,
        "interval": wilson(count, n),
        "met": int((residual < 1e-4).sum()),
        "cost": cost,
        "milliseconds": 1000 * seconds / n,
        "milliseconds_a_recovered": 1000 * seconds / count if count else None,
    }


def beds(options: argparse.Namespace) -> list[Bed]:
    """The trained and the random generators with their targets."""
    made: list[Bed] = []
    images = None if options.data is None else _images(options.data)
    for layout, (sizes, slope) in LAYOUTS.items():
        kinds: list[tuple[str, tuple[nn.Sequential, surfing.Trajectory]]] = []
        if images is not None:
            steps = options.steps
            kinds.append(("trained", train(sizes, slope, images, steps=steps, seed=options.seed)))
        kinds.append(("random", random_path(sizes, slope, seed=options.seed + 1)))
        for kind, (net, trajectory) in kinds:
            net = net.eval().requires_grad_(False)
            z = surfing.Normal(sizes[0]).sample(range(options.targets), 1, seed=options.seed + 2)
            truth = z[:, 0]
            made.append(Bed(f"{layout}, {kind}", net, trajectory, truth, net(truth),
                            kind == "trained"))  # fmt: skip
    return made


def _images(folder: str) -> Float[Tensor, "n 784"]:
    from torchvision.datasets import FashionMNIST

    data = FashionMNIST(folder, download=False).data
    return data.flatten(1).float() / 255


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", help="folder of FashionMNIST; random networks alone without it")
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--steps", type=int, default=6000, help="of the training")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seed", type=int, default=2019)
    parser.add_argument("--out", default="relu.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    options = _options(arguments)
    before, lines = environment(), []
    for bed in beds(options):
        for name in options.methods:
            if name == "regions" and not bed.name.startswith("20-60"):
                continue
            lines.append(line := measured(bed, name))
            print(f"{bed.name}, {name}: {line['recovered']} of {line['targets']}, met "
                  f"{line['met']}, cost {line['cost']:.0f}, {line['milliseconds']:.1f} ms",
                  flush=True)  # fmt: skip
            settings = {"targets": options.targets, "steps": options.steps, "seed": options.seed}
            write_record(options.out, {"settings": settings, "environment": before, "lines": lines})


if __name__ == "__main__":
    main()

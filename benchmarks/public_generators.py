"""What `surfing.distil` costs on generators as people have them, none of them edited for it.

Four architectures in the style of public ones, with random weights (batch norm has seen samples of
its own): the cost depends on the architecture alone. Each path is made with fewer steps than the
default; the time of a default one follows from the measured time of a forward-equivalent.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from cyclopts import App
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

import surfing
from benchmarks import measure
from surfing.evaluation.record import provenance
from surfing.report import Column, Table
from surfing.report.tables import count, number

__all__ = ["GENERATORS", "made", "main", "table"]

app = App(help=__doc__)

DEFAULT_STEPS = 60


def mlp_gan() -> nn.Module:
    """The textbook's fully connected GAN: k = 100, 28x28."""
    stack: list[nn.Module] = []
    for before, after in ((100, 128), (128, 256), (256, 512), (512, 1024)):
        stack += [nn.Linear(before, after), nn.BatchNorm1d(after, 0.8), nn.LeakyReLU(0.2)]
    return nn.Sequential(*stack, nn.Linear(1024, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))


class DCGAN(nn.Module):
    """The tutorial's DCGAN, k = 100, 3x64x64, whose inputs are (rows, k, 1, 1)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        sizes = (100, 8 * width, 4 * width, 2 * width, width, 3)
        stack: list[nn.Module] = []
        for i, (before, after) in enumerate(itertools.pairwise(sizes)):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            stack.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
            stack += [nn.BatchNorm2d(after), nn.ReLU(True)] if i < 4 else [nn.Tanh()]
        self.main = nn.Sequential(*stack)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.main(z)
        return out


class Wrapped(nn.Module):
    """Latents (rows, k) for a module that wants (rows, k, 1, 1)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.module(z[:, :, None, None])
        return out


def vae_decoder() -> nn.Module:
    """The usual decoder of colour pictures: k = 128, 3x64x64."""
    stack: list[nn.Module] = [nn.Linear(128, 2048), nn.Unflatten(1, (512, 2, 2))]
    for before, after in ((512, 256), (256, 128), (128, 64), (64, 32), (32, 32)):
        stack.append(nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1))
        stack += [nn.BatchNorm2d(after), nn.LeakyReLU()]
    return nn.Sequential(*stack, nn.Conv2d(32, 3, 3, padding=1), nn.Tanh())


class Equalised(nn.Module):
    """A layer whose weights are scaled when they are used."""

    def __init__(self, *shape: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape))
        self.scale = gain / self.weight[0].numel() ** 0.5

    def forward(self) -> Tensor:
        return self.weight * self.scale


class StyleBlock(nn.Module):
    """Modulated and demodulated convolution, noise of a buffer."""

    def __init__(self, before: int, after: int, size: int) -> None:
        super().__init__()
        self.style = Equalised(before, 512)
        self.bias = nn.Parameter(torch.ones(before))
        self.weight = Equalised(after, before, 3, 3)
        self.strength = nn.Parameter(torch.tensor(0.1))
        self.register_buffer("noise", torch.randn(1, 1, size, size))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = w @ self.style().mT + self.bias  # (rows, before)
        kernel = self.weight()
        norm = torch.einsum("oihw,ri->ro", kernel.square(), style.square()).add(1e-8).rsqrt()
        x = torch.conv2d(x * style[:, :, None, None], kernel, padding=1)
        return leaky_relu(x * norm[:, :, None, None] + self.strength * self.noise, 0.2)


class StyleGenerator(nn.Module):
    """A small style-based generator: k = 512, 3x32x32, noise fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.ModuleList(Equalised(512, 512) for _ in range(4))
        self.constant = nn.Parameter(torch.randn(1, 64, 4, 4))
        channels = (64, 64, 48, 32)
        self.blocks = nn.ModuleList(
            StyleBlock(channels[max(i - 1, 0)], channels[i], 4 * 2**i) for i in range(4)
        )
        self.to_rgb = Equalised(3, 32, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        w = z * z.square().mean(1, keepdim=True).add(1e-8).rsqrt()
        for layer in self.mapping:
            w = leaky_relu(w @ layer().mT, 0.2)
        x = self.constant.expand(len(z), -1, -1, -1)
        for i, block in enumerate(self.blocks):
            x = block(interpolate(x, scale_factor=2.0) if i else x, w)
        return torch.conv2d(x, self.to_rgb())


GENERATORS: Mapping[str, tuple[int, Callable[[], nn.Module]]] = {
    "MLP GAN, 28x28": (100, mlp_gan),
    "DCGAN, (k, 1, 1) wrapped, 3x64x64": (100, lambda: Wrapped(DCGAN())),
    "VAE decoder, 3x64x64": (128, vae_decoder),
    "style-based, 3x32x32": (512, StyleGenerator),
}


@app.default
def main(
    *,
    out: Path = Path("docs/records/public-generators.json"),
    stages: int = 4,
    steps: int = 3,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        out: the record.
        stages: of each path.
        steps: of each stage.
        batch_size: latents per step.
        seed: of weights and latents.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    lines = []
    for name, (k, build) in GENERATORS.items():
        torch.manual_seed(seed)
        module = build()
        with torch.no_grad():
            for _ in range(4):
                module(torch.randn(32, k))
        lines.append({"generator": name, "k": k, **made(module, k, stages, steps, batch_size)})
    record = {"lines": lines, **provenance(seed, began=began)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    measure.show(out, table(record))
    return record


def made(module: nn.Module, k: int, stages: int, steps: int, batch_size: int) -> dict[str, Any]:
    """Distil one, and say what it cost."""
    before = {name: t.clone() for name, t in module.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        made = surfing.distil(
            module,
            surfing.Normal(k),
            out=folder,
            curriculum=surfing.Linearisation(stages),
            steps=steps,
            batch_size=batch_size,
        )
        seconds = time.perf_counter() - began
        told = made.metadata["distillation"]
        last = made[-1].state
        whole = all(torch.equal(last[name], before[name]) for name in before)
        kept = all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
        size = sum(f.stat().st_size for f in Path(folder).glob("*.safetensors"))
    affine = max(surfing.Linearisation().samples, 8 * k)
    default = affine + 10 * DEFAULT_STEPS * 128 * 4
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "ends_with_it": whole,
        "untouched": kept,
        "cost": told["cost"],
        "seconds": round(seconds, 2),
        "drift": [round(d, 4) for d in made.recorded_drift if d is not None],
        "megabytes_a_stage": round(size / len(made) / 1e6, 1),
        "default_cost": default,
        "default_minutes": round(seconds / told["cost"] * default / 60, 1),
    }


def table(record: dict[str, Any]) -> Table:
    """A line a generator."""
    columns = [
        Column("generator", "generator", right=False),
        Column("k", "k"),
        Column("parameters", "parameters", count),
        Column("ends_with_it", "ends with it, bit for bit", lambda yes: "yes" if yes else "no"),
        Column("default_cost", "cost of a path", count),
        Column("default_minutes", "minutes on one thread", number),
        Column("megabytes_a_stage", "MB per stage", number),
    ]
    note = (
        "Random weights. Cost in forward-equivalents, of a path with the default settings; minutes "
        "follow from a path with fewer steps, timed on one thread."
    )
    return Table("", columns, tuple(record["lines"]), (note,))


if __name__ == "__main__":
    app(result_action="return_none")

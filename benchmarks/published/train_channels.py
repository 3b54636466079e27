"""Train the spatial GAN on crops of a training image, recorded from random weights on.

``python -m benchmarks.published.train_channels TI --out DIR``: TI is a picture of two values, the
channels white. DIR receives the trajectory (float16), ``samples.png`` and ``training.json``.
With ``--pack`` the trajectory also goes into zip files of at most 15 MiB that unpack side by side.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import environment, write_record
from benchmarks.published.spatial_gan import GRID, SpatialCritic, SpatialGenerator, pixels
from surfing.latents import Uniform
from surfing.trajectory import QuadraticSpaced, Recorder

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Crops", "main", "train"]

_PART = 15 << 20


class Crops:
    """Random windows of a training image, in [-1, 1].

    Args:
        image: the training image, two values or grey.
        device: where the crops go.
    """

    def __init__(self, image: np.ndarray, device: torch.device) -> None:
        self.image = torch.from_numpy(np.where(image > image.max() / 2, 1, -1).astype(np.int8))
        self.image = self.image.to(device)

    def draw(self, stream: np.random.Generator, rows: int, size: tuple[int, int]) -> Tensor:
        """(rows, 1, *size) windows at places drawn from the stream."""
        heights, widths = (np.arange(length) for length in size)
        top, left = (
            stream.integers(0, length - part + 1, (rows, 1))
            for length, part in zip(self.image.shape, size)
        )
        down = torch.from_numpy(top + heights).to(self.image.device)
        across = torch.from_numpy(left + widths).to(self.image.device)
        return self.image[down[:, :, None], across[:, None, :]][:, None].float()


class Hinge:
    """Hinge loss, for a critic under spectral norm.

    Source: Lim & Ye 2017; Miyato et al. 2018.
    """

    def critic(self, critic: SpatialCritic, real: Tensor, fake: Tensor) -> Tensor:
        """To be minimised by the critic."""
        return functional.relu(1 - critic(real)).mean() + functional.relu(1 + critic(fake)).mean()

    def generator(self, critic: SpatialCritic, real: Tensor, fake: Tensor) -> Tensor:
        """To be minimised by the generator."""
        return -critic(fake).mean()


@dataclass(frozen=True)
class Relativistic:
    """softplus of fake minus real scores, with zero-centred gradient penalties on both.

    Source: Jolicoeur-Martineau 2019; Huang et al. 2024.
    """

    weight: float = 1.0

    def critic(self, critic: SpatialCritic, real: Tensor, fake: Tensor) -> Tensor:
        """To be minimised by the critic."""
        both = torch.cat([real, fake]).requires_grad_()
        scores = critic(both)
        (slope,) = torch.autograd.grad(scores.mean((1, 2, 3)).sum(), both, create_graph=True)
        true, false = scores.chunk(2)
        penalty = slope.flatten(1).square().sum(1).mean() * 2
        return functional.softplus(false - true).mean() + self.weight / 2 * penalty

    def generator(self, critic: SpatialCritic, real: Tensor, fake: Tensor) -> Tensor:
        """To be minimised by the generator."""
        return functional.softplus(critic(real) - critic(fake)).mean()


@dataclass(frozen=True)
class Wasserstein:
    """Mean scores, the critic's slope held at one between real and fake.

    Source: Gulrajani et al. 2017.
    """

    weight: float = 10.0

    def critic(self, critic: SpatialCritic, real: Tensor, fake: Tensor) -> Tensor:
        """To be minimised by the critic."""
        part = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (part * real + (1 - part) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(
            critic(between).mean((1, 2, 3)).sum(), between, create_graph=True
        )
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return critic(fake).mean() - critic(real).mean() + self.weight * penalty

    def generator(self, critic: SpatialCritic, real: Tensor, fake: Tensor) -> Tensor:
        """To be minimised by the generator."""
        return -critic(fake).mean()


LOSSES = {"hinge": Hinge(), "relativistic": Relativistic(), "wgan-gp": Wasserstein()}


class _Pair:
    """Generator, critic and their optimisers: one step of each in turn."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        torch.manual_seed(options.seed)
        layout = torch.channels_last
        self.generator = SpatialGenerator(options.width).to(device, memory_format=layout)
        self.loss = LOSSES[options.loss]
        critic = SpatialCritic(
            options.critic_width or options.width, spectral=isinstance(self.loss, Hinge)
        )
        self.critic = critic.to(device, memory_format=layout)
        settings = {"lr": options.rate, "betas": (options.momentum, 0.99)}
        self.for_generator = torch.optim.Adam(self.generator.parameters(), **settings)
        self.for_critic = torch.optim.Adam(self.critic.parameters(), **settings)

    def step(self, real: Tensor, grid: Float[Tensor, "rows 1 h w"]) -> tuple[Tensor, Tensor]:
        """The losses of both players."""
        fake = self.generator.field(grid)
        self.for_critic.zero_grad(set_to_none=True)
        loss = self.loss.critic(self.critic, real, fake.detach())
        loss.backward()
        self.for_critic.step()
        self.for_generator.zero_grad(set_to_none=True)
        deceit = self.loss.generator(self.critic, real, fake)
        deceit.backward()
        self.for_generator.step()
        return loss.detach(), deceit.detach()

    def anneal(self, share: float, rate: float) -> None:
        """The last quarter of the training: the rate falls to a tenth, on a straight line."""
        factor = min(1.0, 1 - 0.9 * (share - 0.75) / 0.25)
        for optimiser in (self.for_generator, self.for_critic):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor


def train(image: np.ndarray, options: argparse.Namespace) -> dict[str, object]:
    """Train and record; returns what goes into the record."""
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    crops, pair = Crops(image, device), _Pair(options, device)
    stream = np.random.default_rng(options.seed)
    shape, began = (options.batch, 1, *options.grid), time.perf_counter()
    recorder = Recorder(
        Path(options.out) / "run",
        pair.generator,
        latent=Uniform(GRID[0] * GRID[1], -1, 1),
        schedule=QuadraticSpaced(options.looks, options.steps),
        max_checkpoints=options.checkpoints,
        dtype="float16",
        average=options.average or None,
        metadata={"generator": "spatial_gan", "width": options.width},
        overwrite=True,
    )
    step, share, losses = 0, 0.0, (torch.tensor(0.0), torch.tensor(0.0))
    with recorder:
        while step < options.steps and share < 1:
            share = (time.perf_counter() - began) / options.seconds
            pair.anneal(max(share, step / options.steps), options.rate)
            real = crops.draw(stream, options.batch, tuple(map(pixels, options.grid)))
            grid = stream.uniform(-1, 1, shape).astype(np.float32)
            losses = pair.step(real, torch.from_numpy(grid).to(device))
            step += 1
            recorder.step()
            if step % 250 == 0:
                seconds = time.perf_counter() - began
                print(f"{step} steps, {seconds:.0f} s, critic {losses[0]:.3f}, generator "
                      f"{losses[1]:.3f}", flush=True)  # fmt: skip
            if step % 4000 == 0:
                sheet(pair.generator, crops, Path(options.out) / "samples.png")
    sheet(pair.generator, crops, Path(options.out) / "samples.png")
    return {"steps": step, "seconds": time.perf_counter() - began, "kept": recorder.steps}


@torch.no_grad()
def sheet(generator: SpatialGenerator, crops: Crops, path: Path) -> None:
    """A picture: eight crops of the training image above sixteen samples of fixed latents."""
    import matplotlib.pyplot as plt

    device = crops.image.device
    stream = np.random.default_rng(7)
    real = crops.draw(stream, 8, (125, 60))[:, 0].cpu().numpy()
    z = torch.from_numpy(stream.uniform(-1, 1, (16, 15)).astype(np.float32)).to(device)
    made = generator(z)[:, 0].cpu().numpy() * 2 - 1
    figure, axes = plt.subplots(3, 8, figsize=(8, 6.6))
    for axis, picture in zip(axes.flat, [*real, *made]):
        axis.imshow(picture, cmap="gray", vmin=-1, vmax=1)
        axis.axis("off")
    figure.suptitle("above: crops of the training image; below: samples", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def pack(out: Path) -> list[str]:
    """The trajectory in zip files of at most 15 MiB, as few as fit in order."""
    parts: list[list[Path]] = [[]]
    for file in sorted(path for path in (out / "run").rglob("*") if path.is_file()):
        size = sum(other.stat().st_size for other in parts[-1])
        if parts[-1] and size + file.stat().st_size > _PART:
            parts.append([])
        parts[-1].append(file)
    names = []
    for number, files in enumerate(parts, 1):
        names.append(f"part-{number}.zip")
        with zipfile.ZipFile(out / names[-1], "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(out))
    return names


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("image", help="the training image")
    parser.add_argument("--out", default="runs/channels", help="directory")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=16, help="the published network has 64")
    parser.add_argument("--critic-width", type=int, default=0, help="0: as the generator")
    parser.add_argument("--grid", type=int, nargs=2, default=GRID, help="latents of a crop")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--loss", choices=sorted(LOSSES), default="hinge")
    parser.add_argument("--momentum", type=float, default=0.0, help="Adam's first beta")
    parser.add_argument("--rate", type=float, default=4e-4, help="of both Adams")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1e9, help="the training ends by then")
    parser.add_argument("--checkpoints", type=int, default=20, help="kept at most")
    parser.add_argument("--looks", type=int, default=60, help="checkpoints before thinning")
    parser.add_argument("--average", type=float, default=0.0, help="decay of averaged weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", action="store_true", help="also zip files of at most 15 MiB")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    from PIL import Image

    options = _options(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    before = environment()
    done = train(np.asarray(Image.open(options.image).convert("L")), options)
    settings = {k: v for k, v in vars(options).items() if k not in ("image", "out")}
    parts = pack(out) if options.pack else []
    record = {"settings": settings, **done, "parts": parts, "environment": before}
    write_record(out / "training.json", record)
    print(f"{out}: {done['steps']} steps in {done['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""A sheet of samples, for the human eye: without it no generator counts as trained."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import files
from surfing.architectures import generator_from_manifest
from surfing.errors import InputError
from surfing.generator import Generator
from surfing.latents import Normal
from surfing.trajectory.trajectory import Trajectory

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["draw_samples", "write_sample_sheet"]

IDENTITY = 1_000_000
"""Far from the identities of anybody's targets."""

_LARGE = 64
"""Pixels a side from which samples are shown as they are."""


def draw_samples(
    trajectory: Trajectory, count: int, *, stage: int = -1, seed: int = 0
) -> Float[Tensor, "count c s s"]:
    """Samples of one checkpoint, values in [0, 1].

    Args:
        trajectory: of a zoo architecture.
        count: how many.
        stage: index of the checkpoint.
        seed: of the latents.

    Raises:
        InputError: the manifest names no architecture.
    """
    if trajectory.architecture is None:
        raise InputError(
            "trajectory: names no architecture of the zoo. For samples of a generator of your own: "
            "z, x = surfing.ForwardModel(trajectory, generator=...).draw(8)."
        )
    generator = Generator(generator_from_manifest(trajectory.architecture, trajectory[-1].state))
    latent = trajectory.latent or Normal(trajectory.architecture["arguments"]["latent_dim"])
    z = latent.sample([IDENTITY], count, seed=seed)[0]
    with torch.no_grad():
        x = generator.at(trajectory.state(stage))(z)
    tanh = trajectory.architecture["arguments"].get("output") == "tanh"
    return ((x + 1) / 2 if tanh else x).clamp(0, 1)


def write_sample_sheet(
    trajectory: Trajectory, path: str | Path, *, columns: int = 16, last_rows: int = 6
) -> None:
    """A PNG: rows of the same latents along the training, then fresh samples of its end.

    Args:
        trajectory: of a zoo architecture.
        path: of the file, replaced atomically.
        columns: samples per row.
        last_rows: rows of samples of the last checkpoint.
    """
    count = len(trajectory)
    stages = sorted({round(i * (count - 1) / 4) for i in range(5)})
    rows = [draw_samples(trajectory, columns, stage=stage) for stage in stages]
    rows.append(draw_samples(trajectory, columns * last_rows, seed=1))
    sheet = _grid(torch.cat(rows), columns)
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    if rows[0].shape[-1] < _LARGE:
        sheet = sheet.repeat_interleave(2, 0).repeat_interleave(2, 1)
    imsave(buffer, sheet.numpy(), cmap="gray", vmin=0, vmax=1, format="png")
    files.write(Path(path), buffer.getvalue())


def _grid(images: Float[Tensor, "n c s s"], columns: int) -> Float[Tensor, "height width ..."]:
    """Row by row, two pixels of grey between; in colour, the channels last."""
    framed = torch.nn.functional.pad(images, (1, 1, 1, 1), value=0.5)  # (n, c, s + 2, s + 2)
    channels, side = framed.shape[1], framed.shape[-1]
    lines = framed.view(-1, columns, channels, side, side).permute(0, 3, 1, 4, 2)
    sheet = lines.reshape(-1, columns * side, channels)
    return sheet[..., 0] if channels == 1 else sheet

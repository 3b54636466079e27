"""``surfing train``: a generator and its trajectory, from nothing but images."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal

from surfing import check
from surfing.cli.common import Common, Report, Screen, as_typed
from surfing.cli.inputs import pick_device
from surfing.cli.inspect import summary_line
from surfing.errors import InputError
from surfing.zoo.data import DATA_NAMES
from surfing.zoo.recipes import recipe_for

__all__ = ["train"]


def train(
    model: str,
    /,
    *,
    out: Path,
    data: str = "fashion-mnist",
    data_root: Path | None = None,
    latent_dim: int | None = None,
    law: str | None = None,
    network: str | None = None,
    width: int | None = None,
    hidden: int | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    upsampling: str | None = None,
    flips: bool = False,
    output: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    checkpoints: int = 100,
    dtype: Literal["float32", "float16", "float64"] = "float32",
    devices: int = 1,
    overwrite: bool = False,
    common: Common | None = None,
) -> Report:
    """Train a generator and record its trajectory.

    The same command continues after an interruption. What is left out takes the model's recommended
    value. OUT also gets recipe.json and samples.png: look at the samples.

    Args:
        model: vae, dcgan, wgan or wgan-gp.
        out: folder for the trajectory.
        data: fashion-mnist, mnist, digits, or a folder of images or a zip file of one.
        data_root: where named data lie or are downloaded to; $SURFING_DATA where left out.
        latent_dim: length of z.
        law: of z, normal or uniform.
        network: conv, mlp, deep (which is the default from 64 pixels per side on) or style.
        width: channels of the convolutional generator.
        hidden: units of its fully connected layers; of a style network, length of w.
        image_size: pixels per side; where left out that of named data, 28 for a folder.
        channels: 1 grey, 3 colour; grey where left out.
        upsampling: of a deep network, transposed or nearest.
        flips: mirror half of the images.
        output: sigmoid or tanh.
        steps: generator steps.
        batch_size: images per step.
        learning_rate: of the generator.
        checkpoints: at most so many are kept.
        dtype: of the recorded weights.
        devices: how many; each draws batches of its own.
        overwrite: start again, deleting the training that OUT holds.
    """
    common = common or Common()
    with as_typed("steps", "batch_size", "learning_rate", "seed"):
        recipe = recipe_for(
            model,
            data=data,
            latent_dim=latent_dim,
            law=law,
            network=network,
            width=width,
            hidden=hidden,
            image_size=image_size,
            channels=channels,
            upsampling=upsampling,
            flips=flips or None,
            output=output,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=common.seed,
        )
    check.integer("--checkpoints", checkpoints, low=2)  # first and last
    screen = Screen(common)
    if recipe.image_size is None and data not in DATA_NAMES and Path(data).exists():
        kind = "grey" if recipe.channels == 1 else "colour"
        screen.say(f"Images become {kind}, 28x28; --image-size and --channels say otherwise.")
    from surfing.zoo import training  # Lightning: only where something is trained

    trajectory = training.train(
        recipe,
        out,
        checkpoints=checkpoints,
        dtype=dtype,
        data_root=data_root,
        device=_accelerator(common.device),
        devices=devices,
        progress=not common.quiet,
        overwrite=overwrite,
        command=shlex.join(["surfing", *sys.argv[1:]]),
    )
    samples = out / training.SHEET_NAME
    screen.say(summary_line(trajectory), f"Samples to look at: {samples}")
    return {
        "out": out,
        "checkpoints": len(trajectory),
        "last_step": trajectory.steps[-1],
        "samples": samples,
        "recipe": recipe.to_dict(),
    }


def _accelerator(name: str) -> str:
    """A device as Lightning names it, checked before anything is written."""
    if name == "auto":
        return name
    device = pick_device(name)
    if ":" in name:
        raise InputError(
            f"--device: expected a kind such as {device.type}, and --devices for how many; got "
            f"{name!r}."
        )
    return device.type

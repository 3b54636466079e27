"""The zoo: the paper's twelve models and a two-dimensional VAE, trained and judged."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paper.cells import ZOO, zoo
from paper.document import document, labelled
from paper.parts import Parts
from paper.registry import Record, Tick
from surfing.errors import InputError
from surfing.report import Column, Table
from surfing.report.tables import number, seconds
from surfing.trajectory import Trajectory
from surfing.zoo.data import load_images
from surfing.zoo.quality import frechet_distance
from surfing.zoo.recipes import Recipe, recipe_for
from surfing.zoo.samples import draw_samples

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "run"]


@dataclass(frozen=True)
class Config:
    """What is trained.

    Args:
        seed: of the trainings.
        cells: names `<model>-k<k>`; each is trained into a folder of that name.
        data: as `surfing train` knows it.
        steps: of the generator; the recipe's where None.
        checkpoints: at most so many a model.
        samples: for the distance to held-out images.
        into_out: train into the output folder instead of the cache.
    """

    seed: int = 0
    cells: tuple[str, ...] = (*ZOO, "vae-k2")
    data: str = "fashion-mnist"
    steps: int | None = None
    checkpoints: int = 100
    samples: int = 5000
    into_out: bool = False


FULL = Config()
QUICK = Config(
    cells=("vae-k2", "wgan-gp-k5"),
    data="digits",
    steps=12,
    checkpoints=4,
    samples=200,
    into_out=True,
)


def run(
    config: Config,
    out: Path,
    *,
    device: str = "cpu",
    progress: Tick | None = None,
    workers: int = 1,
) -> Record:
    """A part is a model; an interrupted training goes on from its last saved state."""
    folder = out / "zoo" if config.into_out else zoo()
    for name in config.cells:
        _recipe(config, name)  # a name that means nothing is told before anything is trained
    tasks = {name: (config, str(folder / name), name, device) for name in config.cells}
    parts = Parts(out, "zoo", config)
    return document(config, parts.measure(_measure, tasks, progress=progress, workers=workers))


def _measure(config: Config, folder: str, name: str, device: str) -> dict[str, Any]:
    from surfing.zoo.training import train  # Lightning: only where something is trained

    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # two trainings share a small machine better than one threads it
    recipe = _recipe(config, name)
    began = time.perf_counter()
    try:
        trajectory = train(
            recipe,
            folder,
            checkpoints=config.checkpoints,
            device=device.split(":")[0],
            progress=False,
            command=f"surfing train {recipe.model} --latent-dim {recipe.latent_dim} --out {name}",
        )
    finally:
        torch.set_num_threads(threads)
    judged = _judge(trajectory, config)
    return {"model": name, "checkpoints": len(trajectory), "last_step": trajectory.steps[-1],
            "recipe": recipe.to_dict(), **judged,
            "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip


def _recipe(config: Config, name: str) -> Recipe:
    model, _, k = name.rpartition("-k")
    if not k.isdigit():
        raise InputError(f"cells: expected names such as vae-k5, got {name!r}.")
    return recipe_for(
        model, data=config.data, latent_dim=int(k), steps=config.steps, seed=config.seed
    )


def _judge(trajectory: Trajectory, config: Config) -> dict[str, float]:
    """Samples against held-out images, and as a yardstick training images against them."""
    size = (trajectory.architecture or {})["arguments"]["image_size"]
    held_out, seen = (
        load_images(config.data, image_size=size, train=train).float() / 255
        for train in (False, True)
    )
    # In four parts: one draw holds all activations of its samples at once.
    parts = [draw_samples(trajectory, config.samples // 4, seed=100 + i) for i in range(4)]
    return {
        "frechet": round(frechet_distance(torch.cat(parts), held_out), 4),
        "frechet_of_training_images": round(frechet_distance(seen[: config.samples], held_out), 4),
    }


def figures(record: Record, out: Path) -> list[Path]:
    """None of its own: the sample sheets lie beside the models."""
    return []


def markdown(record: Record) -> str:
    """A line a model."""
    columns = [
        Column("model", "model", right=False),
        Column("checkpoints", "checkpoints"),
        Column("frechet", "Fréchet distance", number),
        Column("real", "of training images", number),
        Column("seconds", "took", seconds),
    ]
    table = Table("", columns, notes=(
        "Squared Fréchet distance to held-out images on 64 principal components of the pixels "
        "(not FID); beside it that of as many training images. Of a model that lay in the "
        "cache already the time is that of judging it alone.",
    ))  # fmt: skip
    for part in record["results"].values():
        table = table.add(
            model=labelled(part["model"]),
            checkpoints=part["checkpoints"],
            frechet=part["frechet"],
            real=part["frechet_of_training_images"],
            seconds=part["seconds"],
        )
    return table.markdown()

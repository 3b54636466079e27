"""A recipe trained in this process, its trajectory kept in memory: nothing is written."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import torch

from paper.ground.weights import kept_on_host
from surfing.trajectory import Trajectory
from surfing.zoo.data import load_images
from surfing.zoo.recipes import Recipe

__all__ = ["train_in_memory"]


def train_in_memory(
    recipe: Recipe,
    *,
    every: int,
    device: torch.device,
    data_root: Path | None,
    deadline: float | None = None,
) -> Trajectory:
    """The steps of `surfing train`, by its own module, without Lightning's loop around them.

    The random numbers are those of `surfing train`, and so are the weights, to rounding.

    Args:
        recipe: what to train.
        every: steps between two kept networks; the first and the last are kept too.
        device: where.
        data_root: where the images lie.
        deadline: `time.time()` at which training ends early, with what there is.

    Returns:
        Networks that come to `device` when they are asked for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from surfing.zoo.modules import build

        images = load_images(recipe.data, image_size=recipe.image_size, root=data_root)
        module: Any = build(recipe, images).to(device).train()
        made = module.configure_optimizers()
        optimizers = made if isinstance(made, list) else [made]
        # Lightning's trainer would hand these out.
        module.optimizers = lambda: optimizers if len(optimizers) > 1 else optimizers[0]
        module.manual_backward = lambda loss: loss.backward()
        if device.type == "cuda":
            drawn = module.draw
            module.draw = lambda turn: _Sent(drawn(turn), device)
        kept = [kept_on_host(0, module.generator.state_dict(), device)]
        for step in range(1, recipe.steps + 1):
            module.training_step(0)
            if step % every == 0 or step == recipe.steps:
                kept.append(kept_on_host(step, module.generator.state_dict(), device))
                if deadline is not None and time.time() > deadline:
                    break
    return Trajectory(
        kept,
        latent=recipe.latent,
        architecture=recipe.architecture(images.shape[-1]),
        metadata={"recipe": recipe.to_dict()},
    )


class _Sent:
    """Random numbers sent ahead: to wait for each copy takes longer than a step."""

    def __init__(self, draw: Any, device: torch.device) -> None:
        self._draw = draw
        self._device = device

    def _send(self, values: torch.Tensor) -> torch.Tensor:
        return values.pin_memory().to(self._device, non_blocking=True)

    def integers(self, below: int, count: int) -> torch.Tensor:
        return self._send(self._draw.integers(below, count))

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        return self._send(self._draw.normal(shape))

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        return self._send(self._draw.uniform(shape))

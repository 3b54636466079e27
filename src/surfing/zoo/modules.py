"""The LightningModules: two players with manual optimisation, and the VAE.

Batches and latents are drawn from streams keyed by (seed, generator step, rank), not from a loader
that has a position. So a resumed training is the uninterrupted one, with nothing to restore.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from surfing.zoo.losses import LOSSES, AdversarialLoss, elbo_loss
from surfing.zoo.recipes import Recipe

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

__all__ = ["AdversarialTraining", "Forever", "GeneratorTraining", "VariationalTraining", "build"]


class Forever:
    """A loader of nothing: the modules draw their own batches, and `max_steps` ends it."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


class GeneratorTraining(LightningModule):  # type: ignore[misc]
    """What both kinds share: data, random streams, learning rates, the count of steps.

    Args:
        recipe: what to train.
        images: the data, bytes.
    """

    def __init__(self, recipe: Recipe, images: UInt8[Tensor, "n c s s"]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.recipe = recipe
        self.register_buffer("images", images, persistent=False)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self.step: int = 0
        self.report: dict[str, Tensor] = {}
        # Channels last: transposed convolutions are twice as fast on a CPU.
        flat = recipe.network == "mlp"
        self.layout: torch.memory_format = torch.contiguous_format if flat else torch.channels_last

    @property
    def steps_per_turn(self) -> int:
        """Optimiser steps for one of the generator, as Lightning's `global_step` counts them."""
        return 1

    def on_train_start(self) -> None:
        """Go on where the weights came from; the count is a buffer, so Lightning restores it."""
        self.step = int(self.taken)

    def draw(self, turn: int) -> _Draw:
        """The random numbers of one turn in this step, on this rank."""
        return _Draw(self.recipe.seed, self.step, turn=turn, rank=self.global_rank)

    def batch(self, draw: _Draw) -> Float[Tensor, "rows c s s"]:
        """Images in [0, 1]."""
        rows = draw.integers(len(self.images), self.recipe.batch_size).to(self.device)
        chosen: Tensor = self.images[rows].float().div_(255)
        if self.recipe.flips:
            mirrored = (draw.uniform((len(chosen), 1, 1, 1)) < 0.5).to(self.device)
            chosen = torch.where(mirrored, chosen.flip(-1), chosen)
        return chosen.contiguous(memory_format=self.layout)

    def latents(self, draw: _Draw) -> Float[Tensor, "rows k"]:
        """z from the recipe's law."""
        shape = (self.recipe.batch_size, self.recipe.latent_dim)
        z = draw.normal(shape) if self.recipe.law == "normal" else draw.uniform(shape) * 2 - 1
        return z.to(self.device)

    def update(self, optimizer: Any, loss: Tensor, rate: float) -> None:
        """One step of one player."""
        for group in optimizer.param_groups:
            group["lr"] = rate * self.recipe.rate_at(self.step)
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()

    def counted(self) -> None:
        """A generator step was taken."""
        self.step += 1
        self.taken.fill_(self.step)


class AdversarialTraining(GeneratorTraining):
    """`critic_steps` steps of the critic, one of the generator."""

    def __init__(self, recipe: Recipe, images: UInt8[Tensor, "n c s s"]) -> None:
        super().__init__(recipe, images)
        size = images.shape[-1]
        self.loss: AdversarialLoss = LOSSES[recipe.model]
        self.generator: nn.Module = recipe.build_generator(size).to(memory_format=self.layout)
        critic = recipe.build_critic(size, batch_norm=self.loss.batch_norm)
        self.critic: nn.Module = critic.to(memory_format=self.layout)

    @property
    def steps_per_turn(self) -> int:
        """The critic's and the generator's."""
        return self.recipe.critic_steps + 1

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The generator's and the critic's."""
        recipe = self.recipe
        second = 0.999 if recipe.model == "dcgan" else 0.9
        return [
            torch.optim.Adam(
                module.parameters(), lr=rate, betas=(recipe.momentum, second), fused=True
            )
            for module, rate in (
                (self.generator, recipe.learning_rate),
                (self.critic, recipe.learning_rate * recipe.critic_rate),
            )
        ]

    def training_step(self, batch: int) -> None:
        """One step of the generator, after its critic's."""
        of_generator, of_critic = self.optimizers()
        for turn in range(self.recipe.critic_steps):
            self._criticise(of_critic, turn)
        self._generate(of_generator)
        self.counted()

    def _criticise(self, optimizer: Any, turn: int) -> None:
        draw = self.draw(turn)
        real = self.batch(draw) if self.recipe.output == "sigmoid" else self.batch(draw) * 2 - 1
        with torch.no_grad():
            fake = self.generator(self.latents(draw))
        mix = draw.uniform((len(real),)).to(self.device)
        loss = self.loss.critic(self.critic, real, fake, mix=mix)
        self.update(optimizer, loss, self.recipe.learning_rate * self.recipe.critic_rate)
        self.loss.constrain(self.critic)
        self.report["critic"] = loss.detach()

    def _generate(self, optimizer: Any) -> None:
        z = self.latents(self.draw(self.recipe.critic_steps))
        self.critic.requires_grad_(False)
        loss = self.loss.generator(self.critic(self.generator(z)))
        self.update(optimizer, loss, self.recipe.learning_rate)
        self.critic.requires_grad_(True)
        self.report["generator"] = loss.detach()


class VariationalTraining(GeneratorTraining):
    """A VAE; its decoder is the generator."""

    def __init__(self, recipe: Recipe, images: UInt8[Tensor, "n c s s"]) -> None:
        super().__init__(recipe, images)
        size = images.shape[-1]
        self.generator: nn.Module = recipe.build_generator(size).to(memory_format=self.layout)
        self.encoder: nn.Module = recipe.build_encoder(size).to(memory_format=self.layout)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One for both halves."""
        betas = (self.recipe.momentum, 0.999)
        rate = self.recipe.learning_rate
        return torch.optim.Adam(self.parameters(), lr=rate, betas=betas, fused=True)

    def training_step(self, batch: int) -> None:
        """One step on the evidence bound."""
        draw = self.draw(0)
        images = self.batch(draw)
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        log_variance = log_variance.clamp(-12, 12)
        noise = draw.normal(tuple(mean.shape)).to(self.device)
        decoded = self.generator(mean + (log_variance / 2).exp() * noise)
        if self.recipe.output == "tanh":
            decoded = (decoded + 1) / 2
        loss = elbo_loss(images, decoded, mean=mean, log_variance=log_variance)
        self.update(self.optimizers(), loss, self.recipe.learning_rate)
        self.report["loss"] = loss.detach()
        self.counted()


def build(recipe: Recipe, images: UInt8[Tensor, "n c s s"]) -> GeneratorTraining:
    """The module that trains a recipe, its weights drawn from the recipe's seed."""
    kind = VariationalTraining if recipe.model == "vae" else AdversarialTraining
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        return kind(recipe, images)


class _Draw:
    """Random numbers keyed by where in the training they are used, always made on the CPU."""

    def __init__(self, seed: int, step: int, *, turn: int, rank: int) -> None:
        key = np.random.SeedSequence([seed, step, turn, rank]).generate_state(1, np.uint64)[0]
        self._generator = torch.Generator().manual_seed(int(key) & (2**63 - 1))

    def integers(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self._generator)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self._generator)

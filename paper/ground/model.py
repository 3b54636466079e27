"""A model of the ground: name, recipe, networks, and targets whose latents are known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from paper.ground.measurements import Operators
from paper.ground.network import Folded
from surfing.architectures import generator_from_manifest
from surfing.errors import InputError
from surfing.latents import Latent
from surfing.trajectory import Trajectory
from surfing.zoo.recipes import Recipe, recipe_for

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["MODELS", "Model", "Sizes", "place", "recipe_named"]

MODELS = (*(f"{model}-k{k}" for k in (20, 10, 5) for model in ("wgan", "wgan-gp", "dcgan", "vae")),
          "vae-k2")  # fmt: skip
"""Those that take longest to train first."""

TRUTHS = 1 << 40
"""Identities of the true latents: far from any target's, whose streams give the starts."""


@dataclass(frozen=True)
class Sizes:
    """Of networks and their training: the paper's [reconstructed].

    Args:
        width: channels of the generator before its last layer.
        hidden: units of its first layer.
        steps: of the generator.
        every: steps between two networks.
        data: that it learns.
    """

    width: int = 64
    hidden: int = 1024
    steps: int = 4000
    every: int = 40
    data: str = "fashion-mnist"


def recipe_named(name: str, sizes: Sizes, *, seed: int) -> Recipe:
    """`MODEL-kK`, `MODEL-kK-wW` (width W, hidden 16 W) or `MODEL-kK-xN` (N times the steps)."""
    found = re.fullmatch(r"(vae|dcgan|wgan|wgan-gp)-k(\d+)(?:-w(\d+))?(?:-x(\d+))?", name)
    if found is None:
        raise InputError(f"models: expected names such as wgan-gp-k20, got {name!r}.")
    model, k, width, times = found.groups()
    return recipe_for(
        model,
        data=sizes.data,
        latent_dim=int(k),
        law="normal" if model == "vae" else "uniform",
        width=int(width) if width else sizes.width,
        hidden=16 * int(width) if width else sizes.hidden,
        steps=sizes.steps * int(times or 1),
        seed=seed,
    )


def place(model: str) -> tuple[str, int]:
    """Where a model stands in the tables: its kind, then its latents."""
    name, _, rest = model.partition("-k")
    order = ("vae", "dcgan", "wgan", "wgan-gp")
    return f"{order.index(name)}", int(rest.partition("-")[0])


@dataclass(frozen=True)
class Model:
    """A trained model to measure on."""

    name: str
    trajectory: Trajectory
    generator: nn.Sequential
    device: torch.device

    @classmethod
    def of(cls, name: str, trajectory: Trajectory) -> Model:
        """With the generator that its manifest names."""
        state = trajectory[-1].state
        assert trajectory.architecture is not None
        generator = generator_from_manifest(trajectory.architecture, state)
        assert isinstance(generator, nn.Sequential)
        return cls(name, trajectory, generator, next(iter(state.values())).device)

    @property
    def latent(self) -> Latent:
        """The law of z."""
        assert self.trajectory.latent is not None
        return self.trajectory.latent

    @property
    def k(self) -> int:
        """Latents."""
        return self.latent.dim

    def network(self) -> Folded:
        """The last network, for many rows."""
        return Folded(self.generator, self.trajectory[-1].state)

    def truths(self, targets: int, *, seed: int) -> tuple[Float[Tensor, "t k"], Tensor]:
        """Latents of the law, and the flattened signals of the last network."""
        ids = range(TRUTHS, TRUTHS + targets)
        z = self.latent.sample(ids, 1, seed=seed)[:, 0].to(self.device)
        with torch.no_grad():
            return z, self.network()(z)

    def starts(self, targets: int, number: int, *, seed: int) -> Float[Tensor, "t number k"]:
        """As `surf` draws them."""
        return self.latent.sample(range(targets), number, seed=seed).to(self.device)

    def operators(self, counts: tuple[int, ...], *, seed: int = 0) -> Operators:
        """Gaussian matrices for its signals."""
        n = self.network()(torch.zeros(1, self.k, device=self.device)).shape[1]
        return Operators.draw(counts, n, seed=seed, device=self.device)

"""A model of the ground: name, recipe, networks, and targets whose latents are known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

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

__all__ = ["MODELS", "Model", "Parts", "Sizes", "parts_of", "place", "recipe_named"]

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
    """Of a model by its name."""
    kind, latents, width, times = parts_of(name)
    return recipe_for(
        kind,
        data=sizes.data,
        latent_dim=latents,
        law="normal" if kind == "vae" else "uniform",
        width=width or sizes.width,
        hidden=16 * width if width else sizes.hidden,
        steps=sizes.steps * times,
        seed=seed,
    )


class Parts(NamedTuple):
    """What the name of a model says.

    Attributes:
        kind: "vae", "dcgan", "wgan" or "wgan-gp".
        latents: k.
        width: where it is not the usual one.
        times: how long it is trained, against the usual time.
    """

    kind: str
    latents: int
    width: int | None
    times: int


def parts_of(name: str) -> Parts:
    """`MODEL-kK`, `MODEL-kK-wW` (width W, hidden 16 W), `MODEL-kK-xN` (N times the steps)."""
    found = re.fullmatch(r"(vae|dcgan|wgan|wgan-gp)-k(\d+)(?:-w(\d+))?(?:-x(\d+))?", name)
    if found is None:
        raise InputError(f"models: expected names such as wgan-gp-k20, got {name!r}.")
    kind, latents, width, times = found.groups()
    return Parts(kind, int(latents), int(width) if width else None, int(times or 1))


def place(model: str) -> tuple[int, int, int, int]:
    """Where a model stands in the tables: by its kind, its latents, its training, its width."""
    kind, latents, width, times = parts_of(model)
    return ("vae", "dcgan", "wgan", "wgan-gp").index(kind), latents, times, width or Sizes().width


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

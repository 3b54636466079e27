"""What is trained, on what and for how long: one frozen value, and a good one for every model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from torch import nn

from surfing import check
from surfing.architectures import (
    build_generator,
    conv_critic,
    conv_encoder,
    deep_critic,
    deep_encoder,
    generator_names,
    mlp_critic,
    mlp_encoder,
)
from surfing.errors import InputError, UnknownNameError
from surfing.latents import Latent, Normal, Uniform

__all__ = ["MODEL_NAMES", "Recipe", "recipe_for"]

MODEL_NAMES = ["dcgan", "vae", "wgan", "wgan-gp"]


@dataclass(frozen=True)
class Recipe:
    """Everything that a training depends on, but where it runs and where its files go.

    Attributes:
        model: "vae", "dcgan", "wgan" or "wgan-gp".
        data: a name that :func:`surfing.zoo.data.load_images` knows, or a folder of images.
        latent_dim: k.
        law: of z, "normal" (0, I) or "uniform" on [-1, 1]^k; a VAE's is normal.
        network: "conv", "mlp" or "deep", for the generator and for its critic or encoder; or
            "style", whose critic or encoder is a deep one.
        width: channels of the convolutional generator.
        hidden: units of the generator's fully connected layers; of a style-based one, length of w.
        layers: hidden layers of an mlp, or of the mapping network.
        image_size: s; None takes that of named data, and 28 for a folder.
        output: "sigmoid" or "tanh"; images are scaled to [0, 1] or [-1, 1] to match.
        other_width: channels of the convolutional critic or encoder.
        other_hidden: units of the critic's or encoder's fully connected layers.
        steps: generator steps.
        batch_size: images per step, on each device.
        critic_steps: steps of the critic for each of the generator.
        learning_rate: of the generator; constant over the first 30% of the steps, then falling
            linearly to 5% of it at the last, which also calms the trajectory's end.
        critic_rate: of the critic, as a multiple of `learning_rate`.
        momentum: Adam's first decay rate; the second is .9 for the Wasserstein losses, else .999.
        seed: of the weights, the batches and the latents.
        channels: of the images, 1 grey or 3 colour.
        upsampling: of a deep generator, "transposed" or "nearest".
        flips: mirror half of the images of every batch, left to right.
    """

    model: str
    data: str = "fashion-mnist"
    latent_dim: int = 10
    law: str = "normal"
    network: str = "conv"
    width: int = 16
    hidden: int = 128
    layers: int = 2
    image_size: int | None = None
    output: str = "sigmoid"
    other_width: int = 16
    other_hidden: int = 128
    steps: int = 12_000
    batch_size: int = 64
    critic_steps: int = 1
    learning_rate: float = 1e-3
    critic_rate: float = 1.0
    momentum: float = 0.5
    seed: int = 0
    channels: int = 1
    upsampling: str = "transposed"
    flips: bool = False

    def __post_init__(self) -> None:
        if self.model not in MODEL_NAMES:
            raise UnknownNameError("model", str(self.model), MODEL_NAMES)
        if self.network not in generator_names():
            raise UnknownNameError("network", str(self.network), generator_names())
        if self.law not in ("normal", "uniform"):
            raise UnknownNameError("latent law", str(self.law), ["normal", "uniform"])
        if self.output not in ("sigmoid", "tanh"):
            raise UnknownNameError("output", str(self.output), ["sigmoid", "tanh"])
        if self.upsampling not in ("transposed", "nearest"):
            raise UnknownNameError("upsampling", str(self.upsampling), ["transposed", "nearest"])
        if self.model == "vae" and self.law != "normal":
            raise InputError("law: a VAE's latents are normal by construction; leave law alone.")
        self._check_numbers()

    def _check_numbers(self) -> None:
        least = {"steps": 1, "batch_size": 2, "critic_steps": 1, "seed": 0}  # batch norm needs two
        for name, low in least.items():
            value = check.integer(name, getattr(self, name), low=low)
            object.__setattr__(self, name, value)  # into recipe.json
        if check.integer("channels", self.channels) not in (1, 3):
            raise InputError(
                f"channels: expected 1 (grey) or 3 (colour), got {self.channels!r}.",
                argument="channels",
            )
        for name in ("learning_rate", "critic_rate"):
            check.number(name, getattr(self, name), low=0, open_low=True)
        check.number("momentum", self.momentum, low=0, high=1, open_high=True)

    @property
    def latent(self) -> Latent:
        """The law of z."""
        return Normal(self.latent_dim) if self.law == "normal" else Uniform(self.latent_dim, -1, 1)

    def architecture(self, image_size: int) -> dict[str, Any]:
        """The manifest's entry for the generator."""
        sizes: dict[str, Any] = {}
        if self.network != "deep":
            sizes["hidden"] = self.hidden
        if self.network != "mlp":
            sizes["width"] = self.width
        if self.network in ("mlp", "style"):
            sizes["layers"] = self.layers
        if self.network == "deep":
            sizes["upsampling"] = self.upsampling
        image = {"image_size": image_size, "output": self.output}
        # The manifests of grey images of 28x28 are as they were before there were others.
        if self.channels != 1 or self.network in ("deep", "style"):
            image["channels"] = self.channels
        arguments = {"latent_dim": self.latent_dim, **sizes, **image}
        return {"name": self.network, "arguments": arguments}

    def build_generator(self, image_size: int) -> nn.Module:
        """A fresh generator, with the global random numbers."""
        return build_generator(self.network, **self.architecture(image_size)["arguments"])

    def build_critic(self, image_size: int, *, batch_norm: bool) -> nn.Sequential:
        """A fresh critic, with the global random numbers."""
        image = {"image_size": image_size, "channels": self.channels}
        if self.network == "mlp":
            return mlp_critic(hidden=self.other_hidden, layers=self.layers, **image)
        if self.network == "conv":
            sizes = {"width": self.other_width, "hidden": self.other_hidden}
            return conv_critic(**sizes, **image, batch_norm=batch_norm)
        return deep_critic(width=self.other_width, **image, batch_norm=batch_norm)

    def build_encoder(self, image_size: int) -> nn.Sequential:
        """A fresh encoder, with the global random numbers."""
        image = {"image_size": image_size, "channels": self.channels}
        if self.network == "mlp":
            sizes = {"hidden": self.other_hidden, "layers": self.layers}
            return mlp_encoder(latent_dim=self.latent_dim, **sizes, **image)
        if self.network == "conv":
            sizes = {"width": self.other_width, "hidden": self.other_hidden}
            return conv_encoder(latent_dim=self.latent_dim, **sizes, **image)
        return deep_encoder(latent_dim=self.latent_dim, width=self.other_width, **image)

    def rate_at(self, step: int) -> float:
        """The factor on the learning rate before the given step is taken."""
        return 1 - 0.95 * max(0.0, (step / self.steps - 0.3) / 0.7)

    def to_dict(self) -> dict[str, Any]:
        """What the manifest keeps; what came later is left out where it is as it was before."""
        later = {"channels": 1, "upsampling": "transposed", "flips": False}
        return {n: v for n, v in asdict(self).items() if n not in later or v != later[n]}


_MODELS: Mapping[str, Recipe] = {
    "vae": Recipe("vae", batch_size=128, momentum=0.9),
    "dcgan": Recipe("dcgan", learning_rate=4e-4, critic_rate=0.5),
    "wgan": Recipe("wgan", critic_steps=3, learning_rate=2e-4),
    # 5e-4 makes better samples, and latents of which some hardly matter (condition of the Jacobian
    # at k = 10: 230 against 67): not what a generator to recover latents from should be.
    "wgan-gp": Recipe("wgan-gp", critic_steps=2, learning_rate=2e-4, momentum=0.0),
}
_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"hidden": 256, "other_hidden": 256, "steps": 30_000},
    "deep": {"width": 24, "other_width": 24, "batch_size": 64},
    "style": {"width": 16, "hidden": 256, "other_width": 24, "batch_size": 64},
}
_DEEP_FROM = 64
"""Pixels a side from which a deep network is the recommended one."""


def recipe_for(model: str, **changes: Any) -> Recipe:
    """The recommended recipe of a model, with changes.

    >>> recipe_for("wgan-gp", latent_dim=5).critic_steps
    2

    Args:
        model: one of :data:`MODEL_NAMES`.
        **changes: attributes of :class:`Recipe`; None leaves the recommended value.

    Raises:
        UnknownNameError: a model that is not known.
        InputError: an attribute is unknown or out of range.
    """
    if model not in _MODELS:
        raise UnknownNameError("model", str(model), MODEL_NAMES)
    known = {field.name for field in fields(Recipe)} - {"model"}
    if unknown := sorted(set(changes) - known):
        raise InputError(
            f"recipe: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}."
        )
    given = {name: value for name, value in changes.items() if value is not None}
    if int(given.get("image_size", 0)) >= _DEEP_FROM:
        given = {"network": "deep", **given}
    base = _NETWORKS.get(given.get("network", ""), {})
    return replace(_MODELS[model], **{**base, **given})

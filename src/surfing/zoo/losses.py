"""What a generator and its critic play for: DCGAN, WGAN with clipping, WGAN with a penalty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["LOSSES", "AdversarialLoss", "Clipped", "GradientPenalty", "NonSaturating", "elbo_loss"]


class AdversarialLoss(Protocol):
    """Two losses, and what a step of the critic must be followed by."""

    @property
    def batch_norm(self) -> bool:
        """May the critic have batch norm?"""
        ...

    def critic(
        self,
        critic: nn.Module,
        real: Float[Tensor, "rows c s s"],
        fake: Float[Tensor, "rows c s s"],
        *,
        mix: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """To be minimised by the critic; `mix` is uniform on [0, 1)."""
        ...

    def generator(self, scores: Float[Tensor, "rows 1"]) -> Float[Tensor, ""]:
        """To be minimised by the generator, from the critic's scores of its images."""
        ...

    def constrain(self, critic: nn.Module) -> None:
        """After each step of the critic."""
        ...


@dataclass(frozen=True)
class NonSaturating:
    """DCGAN: logistic loss, the generator's in the form -log D(G(z)).

    Source: Goodfellow et al. 2014; Radford, Metz & Chintala 2016.
    """

    batch_norm: bool = True

    def critic(
        self,
        critic: nn.Module,
        real: Float[Tensor, "rows c s s"],
        fake: Float[Tensor, "rows c s s"],
        *,
        mix: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """-log D(x) - log (1 - D(G(z))), in two passes: batch norm must not mix the two kinds."""
        return functional.softplus(-critic(real)).mean() + functional.softplus(critic(fake)).mean()

    def generator(self, scores: Float[Tensor, "rows 1"]) -> Float[Tensor, ""]:
        """-log D(G(z))."""
        return functional.softplus(-scores).mean()

    def constrain(self, critic: nn.Module) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Clipped:
    """WGAN: the critic's weights stay in [-limit, limit].

    Source: Arjovsky, Chintala & Bottou 2017.
    """

    limit: float = 0.02
    batch_norm: bool = True

    def critic(
        self,
        critic: nn.Module,
        real: Float[Tensor, "rows c s s"],
        fake: Float[Tensor, "rows c s s"],
        *,
        mix: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """E f(G(z)) - E f(x)."""
        loss: Tensor = critic(fake).mean() - critic(real).mean()
        return loss

    def generator(self, scores: Float[Tensor, "rows 1"]) -> Float[Tensor, ""]:
        """-E f(G(z))."""
        return -scores.mean()

    @torch.no_grad()
    def constrain(self, critic: nn.Module) -> None:
        """Clip weights, but not the scales of batch norm, which start at one."""
        for module in critic.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                for parameter in module.parameters():
                    parameter.clamp_(-self.limit, self.limit)


@dataclass(frozen=True)
class GradientPenalty:
    """WGAN-GP: E f(G(z)) - E f(x) + weight E (||grad f(u)|| - 1)^2, u between x and G(z).

    The penalty is taken on the first `share` of the batch: it is half of the critic's cost.

    Source: Gulrajani et al. 2017.
    """

    weight: float = 1.0
    share: float = 0.5
    batch_norm: bool = False

    def critic(
        self,
        critic: nn.Module,
        real: Float[Tensor, "rows c s s"],
        fake: Float[Tensor, "rows c s s"],
        *,
        mix: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """The formula above, to be minimised."""
        real_score, fake_score = critic(torch.cat([real, fake])).chunk(2)
        rows = max(1, round(self.share * len(real)))
        part = mix[:rows].view(-1, 1, 1, 1)
        between = (part * real[:rows] + (1 - part) * fake[:rows]).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        loss: Tensor = fake_score.mean() - real_score.mean() + self.weight * penalty
        return loss

    def generator(self, scores: Float[Tensor, "rows 1"]) -> Float[Tensor, ""]:
        """-E f(G(z))."""
        return -scores.mean()

    def constrain(self, critic: nn.Module) -> None:
        """Nothing to do."""


LOSSES: Mapping[str, AdversarialLoss] = {
    "dcgan": NonSaturating(),
    "wgan": Clipped(),
    "wgan-gp": GradientPenalty(),
}


def elbo_loss(
    images: Float[Tensor, "rows c s s"],
    decoded: Float[Tensor, "rows c s s"],
    *,
    mean: Float[Tensor, "rows k"],
    log_variance: Float[Tensor, "rows k"],
) -> Float[Tensor, ""]:
    """A VAE's negative evidence bound per row: cross-entropy of the pixels + KL(q(z|x) || N(0, I)).

    Args:
        images: values in [0, 1].
        decoded: values in [0, 1].
        mean: of q(z|x).
        log_variance: of q(z|x).

    Source: Kingma & Welling 2014.
    """
    # Clamped by hand: rounding may leave a decoded value just outside [0, 1].
    pixels = functional.binary_cross_entropy(decoded.clamp(0, 1), images, reduction="sum")
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
    return (pixels + divergence) / len(images)

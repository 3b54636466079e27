"""How far the generator moved: RMS change of its signals on fixed probe latents.

    d(theta, theta') = sqrt( mean_j || G_theta(z_j) - G_theta'(z_j) ||^2 / n ),

the mean over the probes z_j and the n entries of a signal. Weights can turn without the function
changing and the other way round, so distances between weights say little; this is in the units of
the signal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surfing import check
from surfing.errors import GeneratorError
from surfing.generator import Generator, State
from surfing.latents import Latent

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Probe", "rms_distance"]


class Probe:
    """Fixed latents, and G at any checkpoint on them.

    Args:
        generator: the architecture; it is copied, never touched.
        latent: the law of the probes.
        probes: how many, at least 1.
        seed: of the probes, and of any noise that the generator draws itself.
    """

    def __init__(
        self, generator: nn.Module | Generator, latent: Latent, *, probes: int = 64, seed: int = 0
    ) -> None:
        check.integer("probes", probes, low=1)
        self.generator: Generator = (
            generator if isinstance(generator, Generator) else Generator(generator)
        )
        self.z: Tensor = latent.sample(range(probes), 1, seed=seed)[:, 0]
        self.seed = seed

    def signals(self, state: State) -> Float[Tensor, "probes ..."]:
        """G_theta on the probes, on the CPU; random streams of the caller are left as they were.

        Raises:
            GeneratorError: the generator does not fit the checkpoint, or fails on the probes.
        """
        first = next((t for t in state.values() if t.is_floating_point()), self.z)
        self.generator.module.to(first.device)
        bound = self.generator.at(state)
        z = self.z.to(device=first.device, dtype=first.dtype)
        try:
            with torch.no_grad(), _own_randomness(self.seed), _full_precision(first.device):
                x = bound(z)
        except Exception as error:
            raise GeneratorError(
                f"generator: {type(self.generator.module).__name__} fails on latents of shape "
                f"{tuple(z.shape)}: {error}. Expected a module that maps (rows, k) to signals; "
                "one that takes more, such as a label, is recorded with probes=0."
            ) from error
        if not isinstance(x, Tensor) or x.shape[:1] != z.shape[:1]:
            raise GeneratorError(
                f"generator: expected one signal for each of {len(z)} latents, got "
                f"{tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__}."
            )
        return x.detach().float().cpu()


def rms_distance(a: Float[Tensor, "probes ..."], b: Float[Tensor, "probes ..."]) -> float:
    """Root mean square difference over probes and signal entries, summed in double precision."""
    return float((a.double() - b.double()).square().mean().sqrt())


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Fixed noise for generators that draw some. Only streams that exist already are seeded."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Recorded numbers don't depend on whether the training loop was under autocast."""
    if not torch.amp.is_autocast_available(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield

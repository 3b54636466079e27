"""The generator that is imitated: frozen, evaluated on its own latents, its passes counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surfing.errors import GeneratorError
from surfing.generator import Generator
from surfing.latents import Latent
from surfing.trajectory.probe import Probe
from surfing.trajectory.tensors import snapshot

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Teacher"]

_CHUNK = 256
_PROBES = 8


class Teacher:
    """G with its own weights, in eval mode.

    Args:
        generator: the module with its trained weights; it is copied, never touched.
        latent: the law of z.
        device: where to compute; where the module lies if None.

    Attributes:
        state: its parameters and buffers, as the last stage of the path keeps them.
        spent: forward-equivalents so far.

    Raises:
        GeneratorError: it can't be copied, has no parameters, fails on latents, gives signals that
            are not finite, or draws random numbers.
    """

    def __init__(
        self, generator: nn.Module, latent: Latent, device: torch.device | None = None
    ) -> None:
        self.generator: Generator = Generator(generator)
        module = self.generator.module
        kind = type(module).__name__
        if not any(p.is_floating_point() for p in module.parameters()):
            raise GeneratorError(f"generator: {kind} has no parameters: there is nothing to train.")
        if device is not None:
            module.to(device)
        self.module: nn.Module = module
        self.latent = latent
        self.state: dict[str, Tensor] = snapshot(module.state_dict())
        first = next(p for p in module.parameters() if p.is_floating_point())
        self.device: torch.device = first.device
        self.dtype: torch.dtype = first.dtype
        self.spent: int = 0
        self._refuse_random(kind)

    def __call__(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows n"]:
        """Signals of latents, flattened; a forward-equivalent per row."""
        self.spent += len(z)
        with torch.no_grad():
            return torch.cat([self.module(part).flatten(1) for part in torch.split(z, _CHUNK)])

    def draw(self, number: int, count: int, *, seed: int) -> Float[Tensor, "count k"]:
        """Latents of the law: the same for the same number and seed, whatever came before."""
        z: Tensor = self.latent.sample([number], count, seed=seed)[0]
        return z.to(device=self.device, dtype=self.dtype)

    def probe(self, *, seed: int) -> Probe:
        """Fixed latents on which distances between stages are measured."""
        return Probe(self.generator, self.latent, seed=seed)

    def _refuse_random(self, kind: str) -> None:
        probe = Probe(self.generator, self.latent, probes=_PROBES)
        first = probe.signals(self.state)
        probe.seed = 1
        second = probe.signals(self.state)
        if not bool(first.isfinite().all()):
            raise GeneratorError(
                f"generator: {kind} gives signals that are not finite. Load its trained weights."
            )
        if not torch.equal(first, second):
            raise GeneratorError(
                f"generator: expected the same signal for the same latent, but {kind} draws random "
                "numbers. Give it fixed noise (a buffer), or wrap it in a module that does."
            )

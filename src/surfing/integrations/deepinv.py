"""Recover inside deepinv's pipelines: one reconstructor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from surfing.descent.stopping import Stopping
from surfing.errors import InputError, require
from surfing.latents import Latent
from surfing.portfolio import recover
from surfing.solution import Solution
from surfing.trajectory import Trajectory

require("deepinv.models", "deepinv")  # says what to install, where it is missing

from deepinv.models import Reconstructor  # noqa: E402
from deepinv.physics import GaussianNoise, Physics  # noqa: E402

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["SurfingReconstructor"]


class SurfingReconstructor(Reconstructor):  # type: ignore[misc]
    """``x = G(z)`` for the latents z that explain the measurements, as a deepinv model.

    It is :func:`surfing.recover` with the physics as the operator, and runs wherever deepinv
    expects a ``Reconstructor``, such as ``deepinv.test``. It has no parameters of its own: the
    generator is neither a submodule nor touched, and stays in the mode and place it is in.

    Starts are learned anew for each batch: a physics may change between batches.

    Args:
        trajectory: checkpoints of training; on the device of the measurements.
        generator: the module that was trained; may be left out where the manifest names a zoo
            architecture.

    Other args:
        budget: see :func:`surfing.recover`, here and below.
        noise: likewise; where left out, the sigma of the physics' ``GaussianNoise``, if it has one.
        prior: likewise.
        stopping: likewise.
        latent: likewise.
        seed: likewise.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        generator: nn.Module | None = None,
        *,
        budget: float = 2000,
        noise: float | None = None,
        prior: float | str | None = None,
        stopping: Stopping | None = None,
        latent: Latent | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.solution: Solution | None = None
        """Of the last batch: latents, status and cost of every target."""
        self._trajectory, self._latent, self._seed = trajectory, latent, seed
        # In a tuple, where nn.Module doesn't find it: .eval() and .to() would change the user's.
        self._generator = (generator,)
        self._budget, self._noise, self._stopping = budget, noise, stopping
        self._prior = prior

    def forward(
        self, y: Float[Tensor, "targets ..."], physics: Physics, **unused: object
    ) -> Float[Tensor, "targets ..."]:
        """Recover a batch.

        Args:
            y: measurements, as the physics returns them.
            physics: whose `.A` torch can differentiate.
            unused: what deepinv passes to other models.

        Returns:
            The signals; :attr:`solution` has the rest.

        Raises:
            SurfingError: bad input, before any work.
        """
        self.solution = recover(
            self._trajectory,
            y,
            generator=self._generator[0],
            operator=physics,
            budget=self._budget,
            noise=_noise_of(physics) if self._noise is None else self._noise,
            prior=self._prior,
            stopping=self._stopping,
            latent=self._latent,
            seed=self._seed,
        )
        return self.solution.x


def _noise_of(physics: Physics) -> float | None:
    """The standard deviation that the physics adds; None where it adds none, or other noise."""
    model = getattr(physics, "noise_model", None)
    if not isinstance(model, GaussianNoise):
        return None
    sigmas = set(model.sigma.flatten().tolist())
    if len(sigmas) > 1:
        raise InputError(
            f"physics: expected one sigma for all targets, got {len(sigmas)}. Pass noise= to "
            "SurfingReconstructor, or recover the targets of each sigma by themselves."
        )
    return sigmas.pop() or None

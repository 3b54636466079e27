"""Recover inside deepinv's pipelines: a reconstructor, and a sampler of the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from surfing.descent.stopping import Stopping
from surfing.errors import InputError, require
from surfing.latents import Latent
from surfing.portfolio import recover
from surfing.posterior import AbstractNoise, Draws, Poisson, sample
from surfing.solution import Solution
from surfing.trajectory import Trajectory

require("deepinv.models", "deepinv")  # says what to install, where it is missing

from deepinv.models import Reconstructor  # noqa: E402
from deepinv.physics import GaussianNoise, Physics, PoissonNoise  # noqa: E402

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["SurfingReconstructor", "SurfingSampler"]


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


class SurfingSampler(Reconstructor):  # type: ignore[misc]
    """Mean and variance of the signal, given the measurements, as deepinv's samplers return them.

    It is :func:`surfing.sample` with the physics as the operator. As with deepinv's
    ``BaseSampling``, :meth:`sample` gives mean and variance, and the module itself the mean.

    Args:
        trajectory: checkpoints of training; on the device of the measurements.
        generator: the module that was trained; may be left out where the manifest names a zoo
            architecture.

    Other args:
        draws: see :func:`surfing.sample`, here and below.
        noise: likewise; where left out, that of the physics: the sigma of its ``GaussianNoise``,
            or the gain of its ``PoissonNoise``.
        budget: likewise.
        latent: likewise.
        seed: likewise, where :meth:`sample` is given none.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        generator: nn.Module | None = None,
        *,
        draws: int = 100,
        noise: float | AbstractNoise | str | None = None,
        budget: float = 2000,
        latent: Latent | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.draws: Draws | None = None
        """Of the last batch: latents, weights, modes and status of every target."""
        self._trajectory, self._latent, self._seed = trajectory, latent, seed
        self._generator = (generator,)
        self._count, self._noise, self._budget = draws, noise, budget

    def forward(
        self,
        y: Float[Tensor, "targets ..."],
        physics: Physics,
        seed: int | None = None,
        **unused: object,
    ) -> Float[Tensor, "targets ..."]:
        """The posterior mean of the signal; see :meth:`sample`."""
        return self.sample(y, physics, seed=seed)[0]

    def sample(
        self,
        y: Float[Tensor, "targets ..."],
        physics: Physics,
        seed: int | None = None,
        **unused: object,
    ) -> tuple[Float[Tensor, "targets ..."], Float[Tensor, "targets ..."]]:
        """Mean and variance of the signal by pixel.

        Args:
            y: measurements, as the physics returns them.
            physics: whose `.A` torch can differentiate.
            seed: of the draws.
            unused: what deepinv passes to other samplers.

        Raises:
            SurfingError: bad input, before any work; a physics without noise, and none given.
        """
        noise = self._noise
        if noise is None:
            model = getattr(physics, "noise_model", None)
            noise = _noise_of(physics)
            if isinstance(model, PoissonNoise):
                noise = Poisson(float(model.gain))
        if noise is None:
            raise InputError(
                "noise: expected a physics with GaussianNoise or PoissonNoise, or noise=... of "
                "SurfingSampler.",
                argument="noise",
            )
        self.draws = sample(
            self._trajectory,
            y,
            generator=self._generator[0],
            operator=physics,
            noise=noise,
            draws=self._count,
            budget=self._budget,
            seed=self._seed if seed is None else seed,
            latent=self._latent,
        )
        picture = self.draws.signals(levels=())
        return picture.mean, picture.std.square()


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

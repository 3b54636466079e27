"""Is it the optimiser, or the generator, that fails? Invert what the generator made itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing import check
from surfing.continuation import surf
from surfing.errors import InputError
from surfing.generator import Generator
from surfing.problem.model import ForwardModel, ModelArguments, as_model
from surfing.progress import with_progress
from surfing.report.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import nn

    from surfing.problem.operators import OperatorLike
    from surfing.solution import Solution
    from surfing.trajectory import Trajectory

__all__ = ["OwnSamples", "Selftest", "model_of", "own_samples", "run"]

FOUND = 0.01
"""||z - z*|| below which a latent counts as found."""
TRUTHS = 1 << 40
"""Identities of the true latents: far from any target's, whose streams give the starts."""


@dataclass(frozen=True)
class OwnSamples:
    """Targets whose latents are known."""

    z: Float[Tensor, "targets k"]
    x: Float[Tensor, "targets ..."]


def model_of(
    given: ForwardModel | Trajectory,
    generator: nn.Module | None,
    operator: OperatorLike,
    *,
    seed: int,
) -> ForwardModel:
    """A model as it is, or the one that a trajectory makes; `seed` is a named operator's.

    Raises:
        SurfingError: see :class:`surfing.ForwardModel`; also a model, and parts of another.
    """
    made: ModelArguments = {"generator": generator, "operator": operator}
    if not isinstance(given, ForwardModel):
        made["operator_seed"] = seed
    return as_model(given, made)


def own_samples(
    trajectory: Trajectory, generator: nn.Module, targets: int, *, seed: int = 0
) -> OwnSamples:
    """Latents of the trajectory's law, and the trained generator's signals.

    Raises:
        InputError: the trajectory has no latent law, or `targets` is not positive.
    """
    if trajectory.latent is None:
        raise InputError(
            "latent: the trajectory does not say what law its latents have; open it with "
            "latent=surfing.Normal(k), on the command line --latent normal:K."
        )
    check.integer("targets", targets, low=1)
    state = trajectory[-1].state
    device = next(t.device for t in state.values())
    ids = range(TRUTHS, TRUTHS + targets)
    z = trajectory.latent.sample(ids, 1, seed=seed)[:, 0].to(device)
    bound = Generator(generator).at(state)
    with torch.no_grad():
        x = torch.cat([bound(part) for part in torch.split(z, 256)])
    return OwnSamples(z, x)


@dataclass(frozen=True)
class Selftest:
    """What came back.

    Attributes:
        found: own samples with ||z - z*|| < .01, and how many there were.
        met: own samples whose measurements are met, likewise.
        misfit: median ||A G(z) - y|| / ||y|| of own samples.
        held_out: the same for held-out images, and how many; None without any.
        pixel_error: median RMS error of their reconstructions.
        cost: mean forward-equivalents per target.
    """

    found: tuple[int, int]
    met: tuple[int, int]
    misfit: float
    cost: float
    held_out: tuple[float, int] | None = None
    pixel_error: float | None = None

    @property
    def verdict(self) -> str:
        """One sentence: the optimiser, the measurements or the generator."""
        met, trials = self.met
        low = wilson(met, trials)[0]
        if met < 0.9 * trials:
            return (
                f"The optimiser is at fault: it meets the measurements of only {met} of {trials} "
                "signals that the generator can make. Give it more starts before you blame the "
                "generator."
            )
        if self.found[0] < 0.9 * met:
            return (
                "The measurements are at fault: the optimiser meets them, but with other latents "
                "than those they came from. Take more measurements, or a prior."
            )
        good = f"The optimiser does its work (at least {low:.0%} of own samples, by the interval)"
        if self.held_out is None:
            return f"{good}. What a real signal still lacks is the generator's."
        if self.held_out[0] > 10 * max(self.misfit, 1e-3):
            return (
                f"{good}; held-out images are left with a misfit of {self.held_out[0]:.0%}: that "
                "is the generator, which can't make them. More latent dimensions or more training "
                "would."
            )
        return f"{good}, and the generator can make the held-out images: nothing is at fault."

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "found": {"of": self.found, "interval": wilson(*self.found)},
            "met": {"of": self.met, "interval": wilson(*self.met)},
            "misfit_median": self.misfit,
            "cost_mean": self.cost,
            "held_out_misfit_median": None if self.held_out is None else self.held_out[0],
            "held_out_images": None if self.held_out is None else self.held_out[1],
            "held_out_pixel_rms": self.pixel_error,
            "verdict": self.verdict,
        }


@with_progress("selftest: runs")
def run(
    model: ForwardModel | Trajectory,
    generator: nn.Module | None = None,
    *,
    operator: OperatorLike = None,
    targets: int = 100,
    images: Float[Tensor, "images ..."] | None = None,
    starts: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Selftest:
    """Invert the generator's own samples, and held-out images where there are some.

    Args:
        model: what is measured by, or the trajectory that makes one with the next two.
        generator: beside a trajectory: its architecture.
        operator: beside a trajectory: what measures the signals; None for the identity.
        targets: own samples.
        images: held-out signals, in the generator's range and shape.
        starts: start points per target.
        seed: of the samples, the starts and a named operator.
        progress: called with (done, in all).

    Raises:
        InputError: images of another shape than the generator's signals, or any bad argument.
    """
    model = model_of(model, generator, operator, seed=seed)
    own = own_samples(model.trajectory, model.generator, targets, seed=seed)
    shape = tuple(own.x.shape[1:])
    if images is not None and (tuple(images.shape[1:]) != shape or len(images) == 0):
        raise InputError(
            f"images: expected (images, {', '.join(map(str, shape))}) as the generator makes "
            f"them, got {tuple(images.shape)}."
        )
    device = own.x.device
    parts = 1 if images is None else 2

    def recover(x: Tensor, part: int) -> tuple[Solution, Tensor]:
        y = model.measure(x)
        solution = surf(
            model,
            y,
            starts=starts,
            seed=seed,
            progress=None
            if progress is None
            else lambda done, total: progress(part * total + done, parts * total),
        )
        return solution, (2 * solution.risk).sqrt() / y.flatten(1).norm(dim=1).clamp(min=1e-12)

    solution, misfit = recover(own.x, 0)
    found = int(((solution.z - own.z).norm(dim=1) < FOUND).sum())
    held_out, pixel_error = None, None
    if images is not None:
        images = images.to(device, own.x.dtype)
        other, other_misfit = recover(images, 1)
        held_out = (float(other_misfit.median()), len(images))
        error = (other.x - images).flatten(1).square().mean(1).sqrt()
        pixel_error = float(error.median())
    return Selftest(
        (found, targets),
        (int(solution.success.sum()), targets),
        float(misfit.median()),
        float(solution.cost.mean()),
        held_out,
        pixel_error,
    )

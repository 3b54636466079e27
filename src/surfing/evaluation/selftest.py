"""Is it the optimiser, or the generator, that fails? Invert what the generator made itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.evaluation.samples import (
    FOUND,
    TRUTHS,
    Criterion,
    OwnSamples,
    model_of,
    noisy,
    own_samples,
    own_z,
)
from surfing.portfolio import recover
from surfing.progress import with_progress
from surfing.report.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import nn

    from surfing.problem import ForwardModel, Problem
    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise
    from surfing.problem.operators import OperatorLike
    from surfing.solution import Solution
    from surfing.trajectory import Trajectory

__all__ = ["FOUND", "TRUTHS", "OwnSamples", "Selftest", "own_samples", "run"]


@dataclass(frozen=True)
class Selftest:
    """What came back.

    Attributes:
        found: own samples that were found, and how many there were: by ||z - z*|| < .01 where the
            measurements determine z, else by what `success` says.
        met: own samples whose measurements are met, likewise.
        misfit: median ||A G(z) - y|| / ||y|| of own samples.
        held_out: the same for held-out images, and how many; None without any.
        pixel_error: median RMS error of their reconstructions.
        cost: mean forward-equivalents per target, what is spent once included.
        open_directions: latent directions that the measurements leave open, at most.
        success: what counts as found.
        latent_error: median ||z - z*||.
    """

    found: tuple[int, int]
    met: tuple[int, int]
    misfit: float
    cost: float
    held_out: tuple[float, int] | None = None
    pixel_error: float | None = None
    open_directions: int = 0
    success: str = f"||z - z*|| < {FOUND}"
    latent_error: float | None = None

    @property
    def verdict(self) -> str:
        """One sentence: the optimiser, the measurements or the generator."""
        met, trials = self.met
        low = wilson(met, trials)[0]
        if met < 0.9 * trials:
            return (
                f"The optimiser is at fault: it meets the measurements of only {met} of {trials} "
                "signals that the generator can make. Give it a larger budget before you blame the "
                "generator."
            )
        if self.found[0] < 0.9 * met:
            return (
                "The measurements are at fault: the optimiser meets them, but with other latents "
                "than those they came from. Take more measurements, or a prior."
            )
        good = f"The optimiser works: it meets at least {low:.0%} of own samples, by the interval"
        if self.open_directions:
            good += (
                f"; the measurements leave up to {self.open_directions} latent directions open, so "
                "that signals count and not latents"
            )
        if self.held_out is None:
            return f"{good}. Where real signals are not met, the generator can't make them."
        if self.held_out[0] > 10 * max(self.misfit, 1e-3):
            return (
                f"{good}; held-out images are left with a misfit of {self.held_out[0]:.0%}: that "
                "is the generator, which can't make them. Train it longer, or with more latent "
                "dimensions."
            )
        return f"{good}, and the generator can make the held-out images: nothing is at fault."

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "success": self.success,
            "open_directions": self.open_directions,
            "latent_error_median": self.latent_error,
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
    budget: float = 2000,
    noise: Noise = None,
    prior: float | str | None = None,
    given: Given | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Selftest:
    """Invert the generator's own samples by `recover`, and held-out images where there are some.

    Args:
        model: a :class:`ForwardModel`, or checkpoints of training.
        generator: beside checkpoints: their architecture.
        operator: beside checkpoints: what measures the signals; None for the identity.
        targets: own samples.
        images: held-out signals, in the generator's range and shape.
        budget: forward-equivalents per target.
        noise: standard deviations of noise that is added, and told.
        prior: kept in the answer.
        given: inputs by target; without images, which have none.
        seed: of the samples, the noise, the starts and a named operator.
        progress: called with (done, in all).

    Raises:
        InputError: images of another shape than the generator's signals, or any bad argument.
    """
    made = model_of(model, generator, operator, seed=seed)
    z = own_z(made, targets, seed=seed)
    x = made.signals(z, given=given)
    shape = made.signal_shape
    if images is not None and given is not None:
        raise InputError(
            "images: expected none with given, since nobody knows their inputs.", argument="images"
        )
    if images is not None and (tuple(images.shape[1:]) != shape or len(images) == 0):
        raise InputError(
            f"images: expected (images, {', '.join(map(str, shape))}) as the generator makes "
            f"them, got {tuple(images.shape)}."
        )
    parts = 1 if images is None else 2

    def inverted(x: Tensor, part: int) -> tuple[Solution, Problem]:
        y = noisy(made.measure(x, given=given), noise, seed=seed + part)
        solution = recover(
            made,
            y,
            budget=budget,
            noise=noise,
            prior=prior,
            given=given,
            seed=seed,
            progress=None
            if progress is None
            else lambda done, total: progress(part * total + done, parts * total),
        )
        return solution, made.problem(y, noise=noise, prior=prior, given=given)

    solution, problem = inverted(x, 0)
    misfit = _relative(solution, problem)
    criterion = Criterion.of(problem, made, z)
    everybody = torch.arange(targets, device=z.device)
    found = int(criterion.found(solution.z, solution.risk, everybody).sum())
    held_out, pixel_error = None, None
    if images is not None:
        images = images.to(x.device, x.dtype)
        other, other_problem = inverted(images, 1)
        held_out = (float(_relative(other, other_problem).median()), len(images))
        error = (other.x - images).flatten(1).square().mean(1).sqrt()
        pixel_error = float(error.median())
    return Selftest(
        (found, targets),
        (int(solution.success.sum()), targets),
        float(misfit.median()),
        float(solution.cost.mean()) + solution.cost_once / targets,
        held_out,
        pixel_error,
        open_directions=int(criterion.open.max()),
        success=criterion.words,
        latent_error=float((solution.z - z).norm(dim=1).median()),
    )


def _relative(solution: Solution, problem: Problem) -> Float[Tensor, " targets"]:
    """||A G(z) - y|| / ||y||, over what was measured."""
    return (2 * solution.risk).sqrt() / problem.level.norm2.sqrt().clamp(min=1e-12)

"""From a solution to a page on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from surfing import files
from surfing.errors import InputError, OutputExistsError
from surfing.problem.model import ForwardModel, as_model
from surfing.report.page.document import document
from surfing.report.page.render import render
from surfing.report.page.scene import Scene
from surfing.report.page.sure import how_sure

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

    from surfing.posterior import Draws
    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise
    from surfing.problem.model import ModelArguments
    from surfing.solution import Solution
    from surfing.trajectory import Trajectory

__all__ = ["view"]


def view(
    solution: Solution,
    path: str | os.PathLike[str] | None = None,
    *,
    model: ForwardModel | None = None,
    trajectory: ForwardModel | Trajectory | None = None,
    y: Float[Tensor, "targets ..."] | np.ndarray | None = None,
    noise: Noise = None,
    given: Given | None = None,
    beside: Solution | None = None,
    truth: Float[Tensor, "targets k"] | None = None,
    x: Float[Tensor, "targets ..."] | None = None,
    success: Mapping[str, Sequence[tuple[float, int, int]]] | None = None,
    draws: Draws | None = None,
    title: str = "Surfing",
    featured: int = 8,
    size: int | None = None,
    overwrite: bool = False,
    **made: Unpack[ModelArguments],
) -> Path:
    """Write one self-contained HTML page about a solution.

    The surfaces and what the surfer sees need `y` and the model, or the trajectory with generator
    and operator as they were given to :func:`surfing.surf`; without them the page shows what the
    solution alone knows.

    Args:
        solution: what a run returned.
        path: of the page; surfing-view.html, surfing-view-2.html, ... where left out.
        model: the forward model that the run got.
        trajectory: the training that was ridden, instead of a model.
        y: the measurements.
        noise: as the run got it.
        given: likewise.
        beside: the same targets by direct descent, to compare with.
        truth: the true latents, where they are known.
        x: the true signals, where they are known.
        success: by method, points (forward-equivalents per target, successes, trials), as
            :func:`surfing.report.success_against_cost` takes them; where left out the page draws
            success against cost from the solutions alone.
        draws: of the same targets, by :func:`surfing.sample`: the page shows mean, deviation, some
            draws and the modes.
        title: of the page.
        featured: how many targets get a surface: those that the ride met and direct descent did
            not, and failures, come first.
        size: points along each side of a surface; where left out, surfaces are as fine, and as
            many, as some five seconds allow.
        overwrite: replace a file at `path`.
        made: beside a trajectory, what makes the model; see :func:`surfing.surf`.

    Returns:
        Where the page is.

    Raises:
        InputError: parts that don't belong together.
        OutputExistsError: the file is there and `overwrite` is false.
    """
    if len(solution) == 0:
        raise InputError("solution: expected at least one target, got none.")
    target = _fresh() if path is None else Path(path)
    if target.exists() and not overwrite:
        raise OutputExistsError(
            f"{target} exists; pass overwrite=True (--overwrite) or another path."
        )
    run = trajectory if model is None else model
    if y is not None and run is None:
        raise InputError("model: expected the one that was ridden, or its trajectory, with y.")
    problem = None
    ridden = run.trajectory if isinstance(run, ForwardModel) else run
    if run is not None and y is not None:
        model = as_model(run, made)
        problem = model.problem(y, noise=noise, given=given)
    sure = how_sure(draws, model, len(solution))
    scene = Scene(solution, title, ridden, problem, beside, truth, x, success)
    page = render(document(scene, featured=featured, size=size), sure=sure)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write(target, page)
    return target


def _fresh() -> Path:
    """The first name that is free."""
    number = 1
    while (page := Path(f"surfing-view{'' if number == 1 else f'-{number}'}.html")).exists():
        number += 1
    return page

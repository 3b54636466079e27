"""``surfing selftest``: the optimiser, or the generator?"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from surfing import check
from surfing.cli.common import Common, Report, Screen, as_typed
from surfing.cli.inputs import pick_device
from surfing.cli.measuring import SHARED, Measuring
from surfing.evaluation import selftest as experiment
from surfing.report import Column, Table, rate
from surfing.report.tables import number
from surfing.trajectory import Trajectory

__all__ = ["selftest"]


def selftest(
    run: str,
    /,
    *,
    data: str | None = None,
    data_root: Path | None = None,
    targets: int = 100,
    budget: float = 2000,
    measuring: Measuring | None = None,
    common: Common | None = None,
) -> Report:
    """Invert the generator's own samples: is it the optimiser, or the generator, that fails?

    They are inverted as by surfing recover. Where the measurements leave latent directions open, or
    are noisy, a sample counts as found where its measurements are met.

    Args:
        run: a trajectory's folder, or packaged.
        data: held-out images to compare with: fashion-mnist, mnist, digits or a folder.
        data_root: where named data lie or are downloaded to.
        targets: own samples, and as many images.
        budget: forward-equivalents that each target may spend.
    """
    common, measuring = common or Common(), measuring or Measuring()
    screen = Screen(common)
    model = measuring.model(run, pick_device(common.device))
    told = measuring.arguments()
    images = None if data is None else _held_out(data, data_root, model.trajectory, targets)
    with (
        as_typed(*SHARED, "budget", "images"),
        screen.progress("inverting own samples") as tick,
    ):
        result = experiment.run(
            model,
            targets=targets,
            images=images,
            budget=budget,
            seed=common.seed,
            progress=tick,
            **told,
        )
    screen.say(_table(result).rich(), result.verdict)
    return {"run": run, "operator": measuring.operator, **result.to_dict()}


def _held_out(data: str, root: Path | None, trajectory: Trajectory, targets: int) -> Tensor:
    """Images that the generator was not trained on, in the range of its signals."""
    from surfing.zoo.data import load_images

    check.integer("--targets", targets, low=1)
    described = (trajectory.architecture or {}).get("arguments", {})
    size = described.get("image_size")
    images = load_images(data, image_size=size, root=root, train=False)
    unit = images[:targets].to(torch.float32) / 255
    return 2 * unit - 1 if described.get("output") == "tanh" else unit


def _table(result: experiment.Selftest) -> Table:
    columns = [
        Column("what", "", right=False),
        Column("met", "measurements met", rate),
        Column("found", "found", rate),
        Column("misfit", "||AG(z)-y|| / ||y||", number),
    ]
    note = f"Found: {result.success}."
    if result.latent_error is not None:
        note += f" Median ||z - z*||: {number(result.latent_error)}."
    table = Table("", columns, notes=(note,)).add(
        what="own samples", met=result.met, found=result.found, misfit=result.misfit
    )
    if result.held_out is not None:
        table = table.add(what="held-out images", met=None, found=None, misfit=result.held_out[0])
    return table

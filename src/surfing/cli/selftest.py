"""``surfing selftest``: the optimiser, or the generator?"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from surfing import check
from surfing.cli.common import Common, Report, Screen
from surfing.cli.inputs import load_generator, open_run, pick_device
from surfing.evaluation import selftest as experiment
from surfing.report import Column, Table, rate
from surfing.report.tables import number
from surfing.trajectory import Trajectory

__all__ = ["selftest"]


def selftest(
    run: str,
    /,
    *,
    operator: str | None = None,
    generator: str | None = None,
    latent: str | None = None,
    data: str | None = None,
    data_root: Path | None = None,
    targets: int = 100,
    starts: int = 4,
    common: Common | None = None,
) -> Report:
    """Invert the generator's own samples: is it the optimiser, or the generator, that fails?

    Args:
        run: a trajectory's folder, or packaged.
        operator: as in surfing recover; the identity where left out.
        generator: package.module:callable, where the trajectory names no architecture of the zoo.
        latent: normal:K, uniform:K or uniform:K:LOW:HIGH, where the trajectory keeps no law.
        data: held-out images to compare with: fashion-mnist, mnist, digits or a folder.
        data_root: where named data lie or are downloaded to.
        targets: own samples, and as many images.
        starts: start points per target.
    """
    common = common or Common()
    screen = Screen(common)
    trajectory = open_run(run, pick_device(common.device), latent=latent)
    module = load_generator(generator, trajectory)
    images = None if data is None else _held_out(data, data_root, trajectory, targets)
    with screen.progress("inverting own samples") as tick:
        result = experiment.run(
            trajectory,
            module,
            operator=operator,
            targets=targets,
            images=images,
            starts=starts,
            seed=common.seed,
            progress=tick,
        )
    screen.say(_table(result).rich(), result.verdict)
    return {"run": run, "operator": operator, **result.to_dict()}


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
        Column("found", "latent found", rate),
        Column("misfit", "||AG(z)-y|| / ||y||", number),
    ]
    table = Table("", columns).add(
        what="own samples", met=result.met, found=result.found, misfit=result.misfit
    )
    if result.held_out is not None:
        table = table.add(what="held-out images", met=None, found=None, misfit=result.held_out[0])
    return table

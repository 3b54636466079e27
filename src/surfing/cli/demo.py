"""``surfing demo``: the packaged trajectory, end to end."""

from __future__ import annotations

import json
import time
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor, nn

from surfing import check, files
from surfing.cli.common import Common, Report, Screen
from surfing.cli.inputs import PACKAGED, load_generator, open_run, pick_device
from surfing.cli.inspect import summary_line
from surfing.errors import OutputExistsError
from surfing.evaluation import demo as experiment
from surfing.evaluation.demo import SETTINGS, Outcome
from surfing.evaluation.record import provenance
from surfing.evaluation.selftest import OwnSamples
from surfing.report import Column, Table, rate, recovery_grid
from surfing.report.page import view
from surfing.report.tables import count, number, seconds
from surfing.trajectory import Trajectory

__all__ = ["demo"]

_PICTURED = 12
_LABELS = {"direct": "direct", "surfing": "surfed"}


def demo(
    *,
    targets: int = 100,
    out: Path | None = None,
    overwrite: bool = False,
    run: str = PACKAGED,
    generator: str | None = None,
    common: Common | None = None,
) -> Report:
    """See surfing find what direct descent misses: a page, a picture and a table, in half a minute.

    Draws latents, measures the signals that the trained generator makes of them (all pixels, then
    50 and 20 random measurements), and looks for the latents: by direct descent on the trained
    generator and by surfing its training, with the same optimiser from the same start points, and
    by surfing.recover, the default strategy.

    Args:
        targets: latents to draw.
        out: folder for index.html, demo.png, demo.md and demo.json; surfing-demo, surfing-demo-2,
            ... where left out.
        overwrite: write into OUT although it exists.
        run: a trajectory's folder, instead of the packaged one.
        generator: package.module:callable, where that names no architecture of the zoo.
    """
    common = common or Common()
    screen = Screen(common)
    check.integer("--targets", targets, low=1)
    folder = _fresh() if out is None else _checked(out, overwrite)
    trajectory = open_run(run, pick_device(common.device))
    module = load_generator(generator, trajectory)
    began = time.perf_counter()
    screen.say(summary_line(trajectory), f"Looking for {targets} latents ...")
    with screen.progress("direct descent against surfing") as tick:
        truth, outcomes = experiment.run(
            trajectory, module, targets=targets, seed=common.seed, progress=tick
        )
    folder.mkdir(parents=True, exist_ok=True)
    picture, page, table = folder / "demo.png", folder / "index.html", _table(outcomes)
    with files.replacing(picture) as temporary:
        _picture(truth.x, outcomes).savefig(temporary, dpi=84)
    _page(page, outcomes, truth, trajectory, module, seed=common.seed)
    record: Report = {
        "run": run,
        "targets": targets,
        "outcomes": [outcome.to_dict() for outcome in outcomes],
        **provenance(common.seed, began=began),
    }
    files.write(folder / "demo.md", table.markdown() + "\n")
    files.write(folder / "demo.json", json.dumps(record, indent=1) + "\n")
    screen.say(
        table.rich(),
        f"Page:    {page} (open it in a browser)",
        f"Picture: {picture}",
        "Table:   demo.md and demo.json beside them",
    )
    return {"page": page, "picture": picture, **record}


def _page(
    path: Path,
    outcomes: list[Outcome],
    truth: OwnSamples,
    trajectory: Trajectory,
    generator: nn.Module,
    *,
    seed: int,
) -> None:
    """The ride of one setting, with direct descent from the same starts beside it."""
    setting = SETTINGS[1]
    mine = {o.method: o for o in outcomes if o.setting == setting.name}
    view(
        mine["surfing"].solution,
        path,
        trajectory=trajectory,
        y=mine["surfing"].y,
        generator=generator,
        operator=setting.operator,
        operator_seed=seed,
        beside=mine["direct"].solution,
        truth=truth.z,
        title=f"Surfing demo: {setting.name}",
        overwrite=True,
    )


def _table(outcomes: list[Outcome]) -> Table:
    columns = [
        Column("setting", "measured", right=False),
        Column("method", "method", right=False),
        Column("found", "found [95% interval]", rate),
        Column("residual", "residual", number),
        Column("cost", "cost", count),
        Column("seconds", f"time of {outcomes[0].found[1]}", seconds),
        Column("seconds_one", "time of one", seconds),
    ]
    notes = (
        "direct and surfing: one start, Levenberg-Marquardt. found: ||z - z*|| < .01. residual: "
        "median ||AG(z) - y||. "
        "cost: forward-equivalents of a target, all stages and what is learned once included. "
        "One target: a call of its own.",
    )
    rows, setting = [], ""
    for outcome in outcomes:
        row = outcome.to_dict()
        row["setting"] = outcome.setting if outcome.setting != setting else ""
        setting = outcome.setting
        rows.append(row)
    return Table("", columns, tuple(rows), notes)


def _picture(targets: Tensor, outcomes: list[Outcome]) -> Figure:
    """The first targets, not chosen ones, with the same optimiser: a block for each setting."""
    settings = list(dict.fromkeys(outcome.setting for outcome in outcomes))
    wide = min(_PICTURED, len(targets))
    figure = Figure(figsize=(0.62 * wide + 1.1, 3.6 * len(settings)))
    blocks = figure.subfigures(len(settings), 1, squeeze=False)
    for block, setting in zip(blocks[:, 0], settings):
        mine = [o for o in outcomes if o.setting == setting]
        images = {_LABELS[o.method]: o.solution.x[:wide] for o in mine if o.method in _LABELS}
        recovery_grid(targets[:wide], images, figure=block, title=setting)
    return figure


def _fresh() -> Path:
    """The first name that is free."""
    number = 1
    while (folder := Path("surfing-demo" if number == 1 else f"surfing-demo-{number}")).exists():
        number += 1
    return folder


def _checked(out: Path, overwrite: bool) -> Path:
    if out.exists() and not (out.is_dir() and (overwrite or not any(out.iterdir()))):
        raise OutputExistsError(f"--out: {out} exists; name another folder, or give --overwrite.")
    return out

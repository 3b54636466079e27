"""``surfing reproduce``: the paper's tables and figures, and what answers them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from surfing import check
from surfing.cli.common import Common, Report, Screen
from surfing.cli.inputs import pick_device
from surfing.errors import InputError, OutputExistsError
from surfing.experiments.parts import write_text
from surfing.experiments.registry import experiment

__all__ = ["reproduce"]


def reproduce(
    what: str,
    /,
    *,
    quick: bool = False,
    workers: int = 1,
    targets: int | None = None,
    cells: tuple[str, ...] = (),
    out: Path = Path("surfing-reproduce"),
    common: Common | None = None,
) -> Report:
    """Make a table or figure of the paper, or of our answer to it: a record, tables and pictures.

    Writes WHAT.json, WHAT.md and WHAT-*.png. Interrupted, the same command goes on; finished, it
    draws again what the record says.

    Args:
        what: theory, zoo, adam, table1, fig1, fig2, fig3, fig4, budget or ablations.
        quick: minutes instead of hours, with fewer and smaller problems.
        workers: processes.
        targets: more or fewer of them than were published, where the experiment has targets.
        cells: trained models by name, such as vae-k5, instead of those that were published.
        out: folder for what is made.
    """
    common = common or Common()
    screen = Screen(common)
    module = experiment(what)
    check.integer("--workers", workers, low=1)
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"--out: {out} is a file; name a folder.")
    config = dataclasses.replace(module.QUICK if quick else module.FULL, seed=common.seed)
    if targets is not None:
        check.integer("--targets", targets, low=1)
    for field, value in (("targets", targets), ("cells", cells or None)):
        if value is not None:
            config = _changed(config, field, value, what)
    device = str(pick_device(common.device))
    with screen.progress(f"reproducing {what}") as tick:
        record = module.run(config, out, device=device, progress=tick, workers=workers)
    write_text(out / f"{what}.json", json.dumps(record, indent=1) + "\n")
    table = module.markdown(record)
    write_text(out / f"{what}.md", table + "\n")
    pictures = module.figures(record, out)
    screen.say(table, "", f"Written to {out}: {what}.json, {what}.md and {len(pictures)} pictures.")
    return {"what": what, "out": out, "pictures": pictures, "record": record}


def _changed(config: Any, field: str, value: Any, what: str) -> Any:
    """The configuration with another value of a field."""
    if not hasattr(config, field):
        raise InputError(f"--{field}: {what} has none.")
    return dataclasses.replace(config, **{field: value})

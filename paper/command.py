"""``python -m paper``: the paper's tables and figures, and what answers them."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, Parameter

from paper.parts import write_text
from paper.registry import EXPERIMENTS, experiment
from surfing import check
from surfing._version import __version__
from surfing.cli.app import execute
from surfing.cli.common import Common, Report, Screen
from surfing.cli.inputs import pick_device
from surfing.errors import InputError, OutputExistsError
from surfing.report import Column, Table

__all__ = ["main"]

_KEPT = "the parts that were finished are kept; the same command goes on from there."
_HELP = """Make a table or figure of the paper, or of our answer to it.

`python -m paper list` names them; `python -m paper.ground` runs the paper's models at full size.

Exit codes: 0 done, 2 bad input (one line says what and how to mend it), 130 interrupted, 1 else.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one table or figure.

    Args:
        arguments: without the program's name; those of the process where left out.

    Returns:
        The exit code: 0, 2 for bad input, 130 for an interrupt, 1 for the unexpected.
    """
    tokens = sys.argv[1:] if arguments is None else arguments
    return execute(_app(), tokens, kept=dict.fromkeys(EXPERIMENTS, _KEPT))


def _app() -> App:
    app = App(
        name="python -m paper",
        help=_HELP,
        help_format="markdown",
        version=__version__,
        default_parameter=Parameter(negative=()),
    )
    app.command(list_, name="list")
    app.default(make)
    return app


def list_(*, common: Common | None = None) -> Report:
    """What can be made."""
    table = Table("", [Column("name", "WHAT", right=False), Column("what", "", right=False)])
    told = {name: _said(name) for name in EXPERIMENTS}
    for name, what in told.items():
        table = table.add(name=name, what=what)
    Screen(common or Common()).say(table.rich())
    return dict(told)


def _said(name: str) -> str:
    """The first line of a module's docstring."""
    return (experiment(name).__doc__ or "").partition("\n")[0]


def make(
    what: str,
    /,
    *,
    quick: bool = False,
    workers: int = 1,
    targets: int | None = None,
    cells: tuple[str, ...] = (),
    out: Path = Path("surfing-paper"),
    common: Common | None = None,
) -> Report:
    """Make a table or figure of the paper, or of our answer to it: a record, tables and pictures.

    Writes WHAT.json, WHAT.md and WHAT-*.png. Interrupted, the same command goes on; finished, it
    draws again what the record says.

    Args:
        what: theory, zoo, adam, table1, fig1, fig2, fig3, fig4, budget or ablations; see list.
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
    with screen.progress(f"making {what}") as tick:
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

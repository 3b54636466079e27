"""What every command takes, and how every command speaks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Group, Parameter
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from surfing.errors import InputError, OutputExistsError

__all__ = ["Common", "Report", "Screen", "Tick", "as_typed"]

Tick = Callable[[int, int], None]
"""Called with (done, in all)."""

Report = dict[str, object]
"""What a command found: the document that --json prints."""

_EVERY = Group("Every command", sort_key=100)


@Parameter(name="*", group=_EVERY)
@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command takes."""

    seed: int = 0
    """Of every random number."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes a CUDA device where there is one."""

    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""

    quiet: bool = False
    """No progress, no tables: only what --json prints, and errors."""

    config: Path | None = None
    """A TOML file of options, under the same names; the command line has the last word."""


class Screen:
    """The terminal: results on stdout, progress on stderr.

    Args:
        common: says who wants to hear what.
    """

    def __init__(self, common: Common) -> None:
        self.silent: bool = common.json or common.quiet
        self.quiet: bool = common.quiet
        # Piped into a file or another program, a table is as wide as it needs to be.
        width = None if sys.stdout.isatty() else 140
        self.console: Console = Console(width=width, quiet=self.silent, highlight=False)

    def say(self, *renderables: RenderableType) -> None:
        """Print, unless somebody asked for JSON or for quiet."""
        for renderable in renderables:
            text = isinstance(renderable, str)
            self.console.print(renderable, soft_wrap=text, markup=not text)

    @contextmanager
    def progress(self, title: str) -> Iterator[Tick]:
        """A bar on stderr, while the block runs."""
        errors = Console(stderr=True, highlight=False)
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=errors,
            disable=self.quiet or not errors.is_terminal,
            transient=True,
        )
        with bar:
            task = bar.add_task(title, total=None)

            def tick(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            yield tick


@contextmanager
def as_typed(*arguments: str) -> Iterator[None]:
    """Name options in errors as they were typed: ``--batch-size`` for ``batch_size``.

    Args:
        arguments: of the library's functions, each an option of the command too.
    """
    try:
        yield
    except (InputError, OutputExistsError) as error:
        if error.argument not in arguments:
            raise
        option = f"--{error.argument.replace('_', '-')}"
        error.args = (f"{option}: {str(error).removeprefix(f'{error.argument}: ')}",)
        error.argument = option
        raise

"""The entry point: parse, run, and turn whatever happens into an exit code and one line."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Toml

from surfing._version import __version__
from surfing.cli.common import Common
from surfing.cli.compare import compare
from surfing.cli.demo import demo
from surfing.cli.distil import distil
from surfing.cli.importing import import_
from surfing.cli.inspect import inspect
from surfing.cli.measure import measure
from surfing.cli.recover import recover
from surfing.cli.sample import sample
from surfing.cli.selftest import selftest
from surfing.cli.train import train
from surfing.cli.view import view
from surfing.errors import InputError, SurfingError
from surfing.progress import silent

__all__ = ["execute", "main"]

BAD_INPUT, UNEXPECTED, INTERRUPTED = 2, 1, 130

_HELP = """Recover the latent codes of generative networks by surfing their training.

Start with `surfing demo`. A RUN is a folder that a surfing.Recorder, `surfing train` or
`surfing import` wrote, or the word packaged for the small one that comes with the package.

Exit codes: 0 done, 2 bad input (one line says what and how to mend it), 130 interrupted, 1 else.
"""

_KEPT = {
    "recover": "the shards that were finished are kept; the same command continues from there.",
    "sample": "the shards that were finished are kept; the same command continues from there.",
    "train": "the trajectory so far is kept; the same command continues from its last checkpoint.",
    "distil": "the stages so far are kept; the same command continues from there.",
    "import": "nothing is left half-written.",
    "inspect": "nothing was changed.",
}


def _app() -> App:
    app = App(
        name="surfing",
        help=_HELP,
        help_format="markdown",
        version=__version__,
        default_parameter=Parameter(negative=()),
    )
    app.command(compare)
    app.command(demo)
    app.command(distil)
    app.command(import_, name="import")
    app.command(inspect)
    app.command(measure)
    app.command(recover)
    app.command(sample)
    app.command(selftest)
    app.command(train)
    app.command(view)
    app.register_install_completion_command(help="Install completion for the shell in use.")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; those of the process where left out.

    Returns:
        The exit code: 0, 2 for bad input, 130 for an interrupt, 1 for the unexpected.
    """
    return execute(_app(), sys.argv[1:] if arguments is None else arguments, kept=_KEPT)


def execute(app: App, arguments: Sequence[str], *, kept: Mapping[str, str]) -> int:
    """Run one command of an application, whose commands take :class:`Common` and return a Report.

    Args:
        app: the commands.
        arguments: without the program's name.
        kept: for an interrupt: by the first argument, what is not lost.

    Returns:
        The exit code, as for :func:`main`.
    """
    tokens = list(arguments)
    command = tokens[0] if tokens else ""
    with _remembered_interrupts() as interrupts:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                with silent():  # commands have bars of their own, or --quiet
                    return _run(app, tokens)
        except (Exception, KeyboardInterrupt) as error:
            if interrupts or isinstance(error, KeyboardInterrupt):
                told = kept.get(command, "nothing was kept.")
                return _fail(told, INTERRUPTED, kind="interrupted")
            return _explain(error)


@contextlib.contextmanager
def _remembered_interrupts() -> Iterator[list[int]]:
    """Ctrl-C as ever, and a note of it: extensions turn the exception into errors of their own."""
    seen: list[int] = []

    def interrupted(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not default or threading.current_thread() is not threading.main_thread():
        yield seen
        return
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _explain(failure: Exception) -> int:
    """One line, and the exit code."""
    try:
        raise failure
    except (CycloptsError, SurfingError) as error:
        return _fail(str(error), BAD_INPUT)
    except BrokenPipeError:
        # The reader left, as `| head` does. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNEXPECTED
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        return _fail(str(error), UNEXPECTED if full else BAD_INPUT)
    except Exception as error:
        traceback.print_exc()
        return _fail(
            f"unexpected {type(error).__name__}: {error} This is a defect of surfing; please "
            "report it with the lines above.",
            UNEXPECTED,
        )


def _run(app: App, tokens: list[str]) -> int:
    settings = _config(tokens)
    if settings is not None:
        app.config = [Toml(settings, must_exist=True, use_commands_as_keys=False)]
    command, bound, _ = app.parse_args(
        tokens, exit_on_error=False, print_error=False, help_on_error=False
    )
    common = bound.arguments.get("common") or Common()
    if not common.json:
        command(*bound.args, **bound.kwargs)
        return 0
    with contextlib.redirect_stdout(sys.stderr):  # libraries that chatter must not spoil it
        document = command(*bound.args, **bound.kwargs)
    json.dump(_plain(document), sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
    return 0


def _config(tokens: list[str]) -> Path | None:
    """The file that --config names: it must be known before the rest can be parsed."""
    named = None
    for token, following in zip(tokens, [*tokens[1:], None]):
        if token == "--config" and following is not None:
            named = Path(following)
        elif token.startswith("--config="):
            named = Path(token.removeprefix("--config="))
    if named is None:
        return None
    import tomllib

    try:
        tomllib.loads(named.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--config: {named} could not be read ({error}).") from error
    return named


def _plain(value: Any) -> Any:
    """JSON has neither paths nor NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _fail(message: str, code: int, *, kind: str = "error") -> int:
    line = " ".join(message.split())
    print(f"{kind}: {line}", file=sys.stderr)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

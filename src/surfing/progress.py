"""A progress bar for calls that take more than a moment, in a terminal or a notebook.

It comes up where a call has not returned after .8 seconds and `progress=` was left out, and
disappears with the call. Nothing is drawn in files, pipes and workers. It is switched like a
logger,

    logging.getLogger("surfing.progress").setLevel(logging.WARNING)   # or .disabled = True

or by the environment, SURFING_PROGRESS=off.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, ParamSpec, Protocol, TypeVar

__all__ = ["silent", "with_progress"]

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_PATIENCE = 0.8
"""Seconds before a bar is drawn: calls that take less leave the screen alone."""
_EVERY = 0.2
_lock = threading.Lock()
"""Held while a call draws, so that the calls which it makes, or another thread's, don't."""


def with_progress(what: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Draw a bar for calls of a function that takes `progress`, where that is left out.

    Args:
        what: the function's name and what it counts: "recover: targets".
    """

    def decorate(call: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(call)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            if kwargs.get("progress") is not None:
                with silent():
                    return call(*args, **kwargs)
            view = _view(what)
            if view is None or not _lock.acquire(blocking=False):
                return call(*args, **kwargs)
            try:
                with _Bar(view) as bar:
                    kwargs["progress"] = bar.tick
                    return call(*args, **kwargs)
            finally:
                _lock.release()

        return wrapped

    return decorate


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No bars inside: something else tells how far things are."""
    mine = _lock.acquire(blocking=False)
    try:
        yield
    finally:
        if mine:
            _lock.release()


class _View(Protocol):
    """Where a bar is drawn."""

    def draw(self, done: int, total: int, seconds: float) -> None:
        """For the first time, or again."""

    def close(self) -> None:
        """Take it away."""


class _Bar:
    """Draws from a thread of its own, so that it lives while the call computes."""

    def __init__(self, view: _View) -> None:
        self._view = view
        self._at = (0, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def tick(self, done: int, total: int) -> None:
        """Called by the computation."""
        self._at = (done, total)

    def __enter__(self) -> _Bar:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.perf_counter()
        if self._ended.wait(_PATIENCE):
            return
        try:
            while True:
                self._view.draw(*self._at, time.perf_counter() - began)
                if self._ended.wait(_EVERY):
                    break
            self._view.close()
        except Exception as error:  # a screen that can't be drawn on must not end a computation
            _log.debug("no progress bar: %s", error)


class _Terminal:
    """A line on stderr, by rich."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None
        self._task: Any = None

    def draw(self, done: int, total: int, seconds: float) -> None:
        """For the first time, or again."""
        if self._bar is None:
            self._start()
        self._bar.update(self._task, completed=done, total=total or None, refresh=True)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=32))
        times = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        console = Console(file=sys.stderr, highlight=False)
        self._bar = Progress(*columns, *times, console=console, transient=True, auto_refresh=False)
        self._task = self._bar.add_task(self._what, total=None)
        self._bar.start()

    def close(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()


class _Notebook:
    """HTML's own element, which needs no widgets."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._display: Any = importlib.import_module("IPython.display")
        self._handle: Any = None

    def draw(self, done: int, total: int, seconds: float) -> None:
        """For the first time, or again."""
        shown = self._display.HTML(notebook_line(self._what, done, total, seconds))
        if self._handle is None:
            self._handle = self._display.display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def close(self) -> None:
        """Take it away."""
        if self._handle is not None:
            self._handle.update(self._display.HTML(""))


def notebook_line(what: str, done: int, total: int, seconds: float) -> str:
    """One bar as HTML; without a number where it is not known how far things are.

    >>> notebook_line("recover: targets", 3, 12, 2.0)
    '<progress value="3" max="12"></progress> recover: targets 3 of 12, 2 s'
    """
    known = f' value="{done}" max="{total}"' if total and done else ""
    count = f" {done} of {total}" if total else ""
    return f"<progress{known}></progress> {escape(what)}{count}, {seconds:.0f} s"


def _view(what: str) -> _View | None:
    """Where to draw; None where there is no screen, or it is switched off."""
    unwanted = _log.disabled or _log.level > logging.INFO
    if unwanted or os.environ.get("SURFING_PROGRESS", "").lower() in ("0", "off", "no", "false"):
        return None
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if hasattr(shell, "kernel"):
        return _Notebook(what)
    return _Terminal(what) if sys.stderr is not None and sys.stderr.isatty() else None

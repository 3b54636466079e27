"""Bars of library calls: when they are drawn, and that they change nothing."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing import progress as module
from surfing.progress import silent, with_progress

Tick = Callable[[int, int], None]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A terminal, and no patience."""
    shown = Screen()
    # pytest gives every test a stderr of its own: the module gets one of ours.
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=shown, modules=sys.modules))
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    monkeypatch.setenv("TERM", "xterm")
    yield shown
    assert not module._lock.locked()


@with_progress("wait: steps")
def wait(*, progress: Tick | None = None) -> Tick | None:
    """Until there was time to draw."""
    if progress is not None:
        progress(3, 12)
    threading.Event().wait(0.5)
    return progress


def test_a_terminal_shows_how_far_it_is_and_is_left_clean(screen: Screen) -> None:
    assert wait() is not None
    assert "wait: steps" in screen.getvalue()
    assert "3/12" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # the line is erased


def test_a_call_that_is_quick_draws_nothing(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 60.0)
    wait()
    assert screen.getvalue() == ""


def test_nothing_is_drawn_into_a_file() -> None:
    assert wait() is None


@pytest.mark.parametrize("way", ["level", "disabled", "environment", "own", "silent"])
def test_it_is_switched_off(screen: Screen, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    logger = logging.getLogger("surfing.progress")
    if way == "level":
        monkeypatch.setattr(logger, "level", logging.WARNING)
    elif way == "disabled":
        monkeypatch.setattr(logger, "disabled", True)
    elif way == "environment":
        monkeypatch.setenv("SURFING_PROGRESS", "off")
    ticks: list[tuple[int, int]] = []
    if way == "own":
        wait(progress=lambda done, total: ticks.append((done, total)))
        assert ticks == [(3, 12)]
    elif way == "silent":
        with silent():
            assert wait() is None
    else:
        assert wait() is None
    assert screen.getvalue() == ""


def test_a_call_within_a_call_draws_no_bar_of_its_own(screen: Screen) -> None:
    @with_progress("outer")
    def outer(*, progress: Tick | None = None) -> Tick | None:
        return wait()

    assert outer() is None
    assert "outer" in screen.getvalue()
    assert "wait" not in screen.getvalue()


def test_a_screen_that_fails_ends_nothing(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, *unused: object) -> None:
        raise RuntimeError("no screen")

    monkeypatch.setattr(module._Terminal, "draw", broken)
    assert wait() is not None


def test_an_error_comes_through(screen: Screen) -> None:
    @with_progress("fails")
    def fails(*, progress: Tick | None = None) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fails()


def test_a_notebook_gets_an_element_that_is_taken_away(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)

    def display(text: str, *, display_id: bool) -> SimpleNamespace:
        shown.append(text)
        return handle

    root, part = ModuleType("IPython"), ModuleType("IPython.display")
    root.get_ipython = lambda: SimpleNamespace(kernel=1)  # type: ignore[attr-defined]
    part.HTML, part.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", root)
    monkeypatch.setitem(sys.modules, "IPython.display", part)
    wait()
    assert shown[0].startswith('<progress value="3" max="12"></progress> wait: steps 3 of 12')
    assert shown[-1] == ""
    assert screen.getvalue() == ""


def test_results_are_the_same_with_a_bar(
    screen: Screen, path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    with silent():
        plain = surfing.recover(path, y, generator=net, budget=300)
    drawn = surfing.recover(path, y, generator=net, budget=300)
    assert torch.equal(plain.z, drawn.z)

"""One way to check a range, and one form of what it says."""

from __future__ import annotations

import ast
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import surfing
from surfing import InputError, check

SOURCE = Path(surfing.__file__).parent


@pytest.mark.parametrize("kind", [int, np.int8, np.uint8, np.int64])
def test_integers_of_python_and_of_numpy_come_back_as_pythons(kind: type) -> None:
    for value in (2, 3):
        found = check.integer("n", kind(value), low=2, high=3)
        assert (type(found), found) == (int, value)
    for value in (1, 4):
        with pytest.raises(InputError, match=r"^n: expected an integer in \[2, 3\], got"):
            check.integer("n", kind(value), low=2, high=3)


@pytest.mark.parametrize("value", [True, np.True_, 2.0, "2", None, [2], math.nan])
def test_what_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^n: expected an integer, got") as caught:
        check.integer("n", value)
    assert caught.value.argument == "n"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "an integer"),
        ({"low": 1}, "a positive integer"),
        ({"low": 0}, "an integer of at least 0"),
        ({"high": 4}, "an integer of at most 4"),
        ({"low": 1, "high": 4}, r"an integer in \[1, 4\]"),
    ],
)
def test_a_message_says_which_integers(limits: dict[str, int], expected: str) -> None:
    with pytest.raises(InputError, match=f"^n: expected {expected}, got 'a'\\.$"):
        check.integer("n", "a", **limits)


@pytest.mark.parametrize("kind", [int, float, np.float32, np.float64, np.int64, Fraction])
def test_real_numbers_of_python_and_of_numpy_come_back_as_pythons(kind: type) -> None:
    found = check.number("x", kind(2), low=2, high=2)
    assert (type(found), found) == (float, 2.0)


@pytest.mark.parametrize(
    "value", [True, np.True_, "2", None, [2.0], 2j, math.nan, np.float32("nan")]
)
@pytest.mark.parametrize("finite", [True, False])
def test_what_is_no_real_number_is_refused(value: object, finite: bool) -> None:
    with pytest.raises(InputError, match=r"^x: expected a (finite )?number, got") as caught:
        check.number("x", value, finite=finite)
    assert caught.value.argument == "x"


@pytest.mark.parametrize("open_low", [True, False])
@pytest.mark.parametrize("open_high", [True, False])
def test_an_end_belongs_to_the_range_unless_it_is_open(open_low: bool, open_high: bool) -> None:
    for value, inside in [
        (0, not open_low),
        (0.5, True),
        (1, not open_high),
        (-1, False),
        (2, False),
    ]:
        ends = {"low": 0, "high": 1, "open_low": open_low, "open_high": open_high}
        if inside:
            assert check.number("x", value, **ends) == value
        else:
            left, right = "[(" if open_low else "[[", ")]" if open_high else "]]"
            with pytest.raises(InputError) as caught:
                check.number("x", value, **ends)
            assert f"a number in {left[1]}0, 1{right[0]}, got {value}." in str(caught.value)


def test_infinity_is_a_number_where_it_is_allowed() -> None:
    assert check.number("x", math.inf, low=0, finite=False) == math.inf
    for value in (math.inf, -math.inf):
        with pytest.raises(InputError, match=r"^x: expected a finite number, got"):
            check.number("x", value)


@pytest.mark.parametrize("value", [10**400, 10**5000], ids=["400 digits", "5000 digits"])
def test_integers_beyond_any_float_are_said(value: int) -> None:
    with pytest.raises(InputError, match=r"^x: expected a number below 1e308, or infinity, got"):
        check.number("x", value, low=0, open_low=True, finite=False)
    with pytest.raises(InputError, match=r"^x: expected a number below 1e308, got"):
        check.number("x", value)
    with pytest.raises(InputError, match=r"^x: expected an integer in \[1, 9\], got"):
        check.integer("x", value, low=1, high=9)


def test_the_argument_is_the_name_that_a_caller_would_type() -> None:
    for name, argument in [("Every: steps", "steps"), ("--targets", "--targets"), ("k", "k")]:
        with pytest.raises(InputError, match=f"^{name}: expected") as caught:
            check.integer(name, "a")
        assert caught.value.argument == argument


def test_numpy_integers_are_saved_as_plain_ones(tmp_path: Path) -> None:
    law = surfing.Normal(np.int64(2))
    states = [(np.int64(step), {"w": np_weights(step)}) for step in (0, 3)]
    surfing.Trajectory.from_state_dicts(states, latent=law).save(tmp_path / "run")
    opened = surfing.Trajectory.open(tmp_path / "run")
    assert (opened.steps, opened.latent) == ((0, 3), surfing.Normal(2))


def np_weights(step: int) -> object:
    import torch

    return torch.full((2,), float(step))


def test_no_range_is_checked_by_hand() -> None:
    """`isinstance(value, bool)` is how a hand-written check tells True from 1."""
    # The second reads files and has errors of its own; the third tells flags from numbers.
    ours = {"check.py", "trajectory/manifest.py", "problem/layers.py"}
    found = {
        str(path.relative_to(SOURCE).as_posix())
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "isinstance"
        and "bool" in {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
    }
    assert found <= ours

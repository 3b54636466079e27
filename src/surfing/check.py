"""Ranges of plain arguments, and the one form of the message where a value is not in its range."""

from __future__ import annotations

import math
from numbers import Integral, Real

from surfing.errors import InputError

__all__ = ["integer", "number"]


def integer(name: str, value: object, *, low: int | None = None, high: int | None = None) -> int:
    """An integer of Python or of numpy, in [low, high]; True and False are none.

    Args:
        name: of the argument, as the caller typed it.
        value: what came.
        low: the least that is allowed; without it, any.
        high: the most that is allowed; without it, any.

    Returns:
        The value as Python's int.

    Raises:
        InputError: anything else.

    >>> integer("starts", 0, low=1)
    Traceback (most recent call last):
    surfing.errors.InputError: starts: expected a positive integer, got 0.
    """
    if not isinstance(value, bool) and isinstance(value, Integral):
        whole = int(value)
        if (low is None or whole >= low) and (high is None or whole <= high):
            return whole
    raise _refused(name, _integers(low, high), value)


def number(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    finite: bool = True,
) -> float:
    """A real number of Python or of numpy, from low to high; True, False and NaN are none.

    Args:
        name: of the argument, as the caller typed it.
        value: what came.
        low: the least.
        high: the most.
        open_low: refuse `low` itself.
        open_high: refuse `high` itself.
        finite: refuse infinity.

    Returns:
        The value as Python's float.

    Raises:
        InputError: anything else, an integer beyond the range of a float included.

    >>> number("noise", float("nan"), low=0)
    Traceback (most recent call last):
    surfing.errors.InputError: noise: expected a finite number >= 0, got nan.
    """
    expected = _numbers(low, high, open_low, open_high, finite)
    if not isinstance(value, bool) and isinstance(value, Real):
        try:
            real = float(value)
        except OverflowError:  # an integer; infinity says the same
            limit = "below 1e308" if finite else "below 1e308, or infinity"
            raise _refused(name, f"a number {limit}", value) from None
        above = real > low or (real == low and not open_low)
        below = real < high or (real == high and not open_high)
        if above and below and (math.isfinite(real) or not finite):
            return real
    raise _refused(name, expected, value)


def _integers(low: int | None, high: int | None) -> str:
    if high is not None:
        return f"an integer of at most {high}" if low is None else f"an integer in [{low}, {high}]"
    if low is None:
        return "an integer"
    return "a positive integer" if low == 1 else f"an integer of at least {low}"


def _numbers(low: float, high: float, open_low: bool, open_high: bool, finite: bool) -> str:
    if math.isfinite(low) and math.isfinite(high):
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        return f"a number in {left}{low:g}, {high:g}{right}"
    kind = "a finite number" if finite else "a number"
    if math.isfinite(low):
        if low == 0 and open_low and not finite:
            return "a positive number"
        return f"{kind} {'>' if open_low else '>='} {low:g}"
    return kind if math.isinf(high) else f"{kind} {'<' if open_high else '<='} {high:g}"


def _refused(name: str, expected: str, value: object) -> InputError:
    try:
        got = f"{value!r:.60}"
    except ValueError:  # Python prints integers of some thousand digits only
        got = "a far larger integer"
    argument = name.rpartition(": ")[2]  # "Every: steps" is the argument steps of Every
    return InputError(f"{name}: expected {expected}, got {got}.", argument=argument)

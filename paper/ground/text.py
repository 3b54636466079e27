"""Words, shares and tables of the page, as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paper.ground.model import parts_of
from surfing.report import Column, Table

__all__ = ["drawn", "either", "labelled", "measured", "signed", "two"]


def labelled(model: str) -> str:
    """A model for people: wgan-gp-k10 is WGAN-GP, k=10."""
    kind, latents, width, times = parts_of(model)
    wide = f", width {width}" if width else ""
    long = f", {times} times the steps" if times > 1 else ""
    return f"{kind.upper()}, k={latents}{wide}{long}"


def measured(m: int) -> str:
    """What was measured, by the number of Gaussian measurements."""
    return f"m = {m}" if m else "all pixels"


def two(share: float) -> str:
    """A share with two digits."""
    return f"{share:.2f}".removeprefix("0")


def either(numbers: Iterable[int]) -> str:
    """Numbers that differ between parts, the least first.

    >>> either([300, 60, 300])
    '60 or 300'
    """
    return " or ".join(map(str, sorted(set(numbers))))


def signed(difference: tuple[float, float, float]) -> str:
    """A difference of shares and its interval.

    >>> signed((0.274, 0.21, 0.32))
    '+0.27 [+0.21, +0.32]'
    """
    mean, low, high = difference
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def drawn(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], note: str) -> str:
    """A table in Markdown; a dash where a row has no value."""
    filled = tuple({c.key: row.get(c.key, "–") for c in columns} for row in rows)
    return Table("", columns, filled, (note,) if note else ()).markdown()

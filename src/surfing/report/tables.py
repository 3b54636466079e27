"""One table, three readers: the terminal, Markdown and JSON, from the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from surfing.errors import InputError
from surfing.report.intervals import wilson

__all__ = ["Column", "Table", "count", "number", "rate", "seconds", "size"]


def number(value: float | None) -> str:
    """Four significant digits at most; a dash for what is not known.

    >>> number(0.000123456), number(12.5), number(None)
    ('1.23e-04', '12.5', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if value == 0 or 0.001 <= abs(value) < 1e4:
        return f"{value:.3g}"
    return f"{value:.2e}"


def count(value: float | None) -> str:
    """A whole number with thin groups of three.

    >>> count(7649.6)
    '7 650'
    """
    return "–" if value is None else f"{round(value):,}".replace(",", " ")


def seconds(value: float | None) -> str:
    """A time.

    >>> seconds(3.21), seconds(75)
    ('3.2 s', '1 min 15 s')
    """
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {round(value % 60):d} s"


def size(value: float | None) -> str:
    """Bytes.

    >>> size(128_400), size(7_300_000)
    ('128 kB', '7.3 MB')
    """
    if value is None:
        return "–"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def rate(pair: Sequence[int] | None) -> str:
    """(successes, trials) with its 95% Wilson interval.

    >>> rate((73, 100))
    '.73 [.64, .81]'
    """
    if pair is None:
        return "–"
    successes, trials = pair
    low, high = wilson(successes, trials)
    share = successes / trials if trials else math.nan
    return f"{_share(share)} [{_share(low)}, {_share(high)}]"


def _share(value: float) -> str:
    text = f"{value:.2f}"
    return text[1:] if text.startswith("0.") else text


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        key: of the rows.
        header: for people.
        show: a value as text.
        right: aligned to the right.
    """

    key: str
    header: str
    show: Callable[[Any], str] = str
    right: bool = True


@dataclass(frozen=True)
class Table:
    """Rows by key, and how to show them.

    >>> table = Table("", [Column("name", "method", right=False), Column("met", "met", rate)])
    >>> print(table.add(name="surf", met=(9, 10)).markdown())
    | method | met |
    |:---|---:|
    | surf | .90 [.60, .98] |

    Args:
        title: above it.
        columns: from left to right.
        rows: from top to bottom.
        notes: below it.
    """

    title: str
    columns: Sequence[Column]
    rows: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def add(self, **row: Any) -> Table:
        """The table with one row more.

        Raises:
            InputError: the row lacks a column.
        """
        lacking = [column.key for column in self.columns if column.key not in row]
        if lacking:
            raise InputError(f"row: expected a value for {', '.join(lacking)}; got {list(row)}.")
        return Table(self.title, self.columns, (*self.rows, row), self.notes)

    def cells(self) -> list[list[str]]:
        """Everything as text."""
        return [[column.show(row[column.key]) for column in self.columns] for row in self.rows]

    def rich(self) -> RichTable:
        """For a terminal."""
        shown = RichTable(
            title=Text(self.title) if self.title else None,
            caption=Text("\n".join(self.notes)) if self.notes else None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
        )
        for column in self.columns:
            shown.add_column(column.header, justify="right" if column.right else "left")
        for cells in self.cells():
            shown.add_row(*map(Text, cells))  # plain: brackets in a cell are no markup
        return shown

    def markdown(self) -> str:
        """For a page; bars in cells are escaped."""
        headers = [column.header for column in self.columns]
        rules = ["---:" if column.right else ":---" for column in self.columns]
        lines = [_line(headers), "|" + "|".join(rules) + "|", *map(_line, self.cells())]
        head = [f"**{self.title}**", ""] if self.title else []
        foot = ["", *self.notes] if self.notes else []
        return "\n".join([*head, *lines, *foot])


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "| " + " | ".join(escaped) + " |"

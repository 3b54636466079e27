import io

import pytest
from rich.console import Console

from surfing.errors import InputError
from surfing.report import Column, Table, rate
from surfing.report.tables import number


def small() -> Table:
    columns = [Column("name", "method", right=False), Column("met", "met", rate)]
    return Table("A title", columns).add(name="a|b", met=(1, 4)).add(name="surf", met=None)


def test_terminal_and_markdown_show_the_same_cells() -> None:
    table = small()
    stream = io.StringIO()
    Console(file=stream, width=100).print(table.rich())
    for cell in (".25 [.05, .70]", "surf", "–"):
        assert cell in stream.getvalue()
        assert cell in table.markdown()


def test_markdown_escapes_bars() -> None:
    assert "a\\|b" in small().markdown()


def test_a_row_without_a_column_is_refused() -> None:
    with pytest.raises(InputError, match="met"):
        small().add(name="x")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1.5, "1.5"), (1e-6, "1.00e-06"), (float("nan"), "–")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text

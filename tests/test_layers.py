"""No module needs itself, not even for a type: imports of all kinds form no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def modules() -> dict[str, Path]:
    """All of the package and of what reproduces the paper, by dotted name."""
    found = {}
    for base, top in ((ROOT / "src", "surfing"), (ROOT, "paper")):
        for path in (base / top).rglob("*.py"):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.Module, known: Mapping[str, object]) -> Iterator[str]:
    """Modules that a module names in imports, wherever they stand: in functions, for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                # A sibling that a module gets from its package is no need of the package itself.
                yield from [name for name in (module, node.module) if name in known][:1]


def circle(sources: Mapping[str, str]) -> list[str] | None:
    """Modules that import one another in a circle; None where there is none."""
    graph = {name: set(imported(ast.parse(text), sources)) for name, text in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None


def test_no_module_imports_itself_through_others() -> None:
    sources = {name: path.read_text(encoding="utf-8") for name, path in modules().items()}
    assert len(sources) > 200
    assert circle(sources) is None


@pytest.mark.parametrize(
    "back",
    [
        "import a.one",
        "from a.one import x",
        "from a import one",
        "def f():\n    from a.one import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.one import x",
    ],
)
def test_a_circle_of_any_kind_is_seen(back: str) -> None:
    sources = {"a": "", "a.one": "from a.two import y", "a.two": back}
    assert set(circle(sources) or ()) == {"a.one", "a.two"}
    assert circle(sources | {"a.two": "from a import three"}) is None

"""The documentation names what exists, and all of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import surfing

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_every_public_name_is_on_the_page_once() -> None:
    listed = re.findall(r"^\.\. auto\w+:: surfing\.(\w+)$", API, re.MULTILINE)
    assert sorted(listed) == sorted(set(surfing.__all__) - {"__version__"})


def test_every_name_on_the_page_exists() -> None:
    for module, name in re.findall(r"^\.\. auto\w+:: (surfing[\w.]*)\.(\w+)$", API, re.MULTILINE):
        assert hasattr(importlib.import_module(module), name)


def test_files_in_the_notation_exist() -> None:
    text = (ROOT / "docs" / "notation.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    assert len(files) > 20
    assert [f for f in files if not _exists(f)] == []


def _exists(file: str) -> bool:
    root = ROOT if file.startswith("paper/") else ROOT / "src" / "surfing"
    return (root / file).is_file()

"""docs/reliability.md, from the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["render"]


def render(record: Mapping[str, Any]) -> str:
    """The page's text."""
    return f"# Reliability\n\n{sorted(record)}\n"

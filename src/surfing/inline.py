"""A page within a notebook's output."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

__all__ = ["InlinePage"]


@dataclass(frozen=True)
class InlinePage:
    """A self-contained page; a notebook shows it in a frame of its own.

    Args:
        html: the page.
        height: of the frame, in pixels.
    """

    html: str = field(repr=False)
    height: int = 900

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height}px; border: 0"
        return f'<iframe srcdoc="{escape(self.html)}" style="{style}"></iframe>'

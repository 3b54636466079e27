"""Data and template to one HTML file that asks for nothing from outside."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

__all__ = ["embedded", "render"]

_SCRIPTS = ("wave.js", "charts.js", "page.js")


def render(document: Mapping[str, Any], *, sure: str = "") -> str:
    """The page.

    Only what the template holds can run: the policy names the script by its hash, so that a string
    in the data stays a string.

    Args:
        document: JSON values; see :func:`surfing.report.page.document.document`.
        sure: HTML about the posterior.
    """
    script = "\n".join(_part(name) for name in _SCRIPTS)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    slots = {
        "title": escape(str(document["title"])),
        "script_hash": digest,
        "style": _part("page.css"),
        "sure": sure,
        "data": embedded(document),
        "script": script,
    }
    page = _part("page.html")
    # One pass over the template: what is filled in is never searched for slots.
    pieces = page.split("@@")
    return "".join(slots[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def embedded(document: Mapping[str, Any]) -> str:
    """JSON that no HTML parser takes for the end of its element.

    >>> embedded({"name": "</script>"})
    '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(_finite(document), separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _part(name: str) -> str:
    return (files("surfing.report.page") / "template" / name).read_text(encoding="utf-8")

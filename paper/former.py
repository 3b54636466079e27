"""Records of the first release, told with the names that methods have today.

Then "direct LM" and "annealed LM" were two methods each: see
:data:`surfing.evaluation.methods.FORMER`.
"""

from __future__ import annotations

from typing import Any

from paper.registry import Record
from surfing.evaluation.methods import METHODS, current

__all__ = ["renamed"]

_NAMES = ("method", "name")
"""Fields of a part that name its method."""


def renamed(record: Record) -> Record:
    """The same numbers under today's names; a record of today, or of another form, as it is.

    >>> part = {"cell": "vae-k5", "method": "direct LM", "found": [1, 2]}
    >>> renamed({"results": {"vae-k5 direct LM": part}})["results"]
    {'vae-k5 direct-lm': {'cell': 'vae-k5', 'method': 'direct-lm', 'found': [1, 2]}}
    """
    if "results" not in record:
        return record
    results = dict(_renamed_part(key, part) for key, part in record["results"].items())
    changed: Record = {**record, "results": results}
    config = record.get("config", {})
    if "methods" in config:
        methods = [current(name) for name in config["methods"]]
        changed["config"] = {**config, "methods": methods}
    return changed


def _renamed_part(key: str, part: Any) -> tuple[str, Any]:
    field = next((f for f in _NAMES if isinstance(part, dict) and f in part), None)
    if field is None or current(part[field]) not in METHODS:
        return key, part
    old, new = part[field], current(part[field])
    told = {**part, field: new}
    if "label" in part:
        told["label"] = METHODS[new].label
    return f"{key.removesuffix(old)}{new}" if key.endswith(old) else key, told

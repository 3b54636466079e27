"""Weights in several files: ``model-00001-of-00002.safetensors`` and its like, or an index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from surfing.errors import InputError

__all__ = ["indexed", "joined"]

_SHARD = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)", re.ASCII
)
_INDEX = ".index.json"
_LARGEST_INDEX = 64 << 20


def joined(
    labels: Iterable[str], known: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Files by label, the shards of one checkpoint under the name that they share.

    Args:
        labels: ``file`` or ``folder/file``.
        known: shards by name, where an index tells them.

    Raises:
        InputError: a shard is missing.

    >>> joined(["b.pt", "m-00002-of-00002.pt", "m-00001-of-00002.pt"])
    {'b.pt': ('b.pt',), 'm.pt': ('m-00001-of-00002.pt', 'm-00002-of-00002.pt')}
    """
    there = list(labels)
    found: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for name, parts in (known or {}).items():
        missing = sorted(set(parts) - set(there))
        if missing:
            raise _missing(name, missing[0], len(parts), len(parts) - len(missing))
        found[name] = parts
        taken |= set(parts)
    numbered: dict[tuple[str, int], dict[int, str]] = {}
    for label in there:
        match = _SHARD.fullmatch(label)
        if label in taken:
            continue
        if match is None:
            found[label] = (label,)
            continue
        group = (match["stem"] + match["suffix"], int(match["count"]))
        numbered.setdefault(group, {})[int(match["number"])] = label
    for (name, count), parts_by_number in numbered.items():
        missing_numbers = [n for n in range(1, count + 1) if n not in parts_by_number]
        if missing_numbers:
            shown = f"part {missing_numbers[0]}"
            raise _missing(name, shown, count, len(parts_by_number))
        found[name] = tuple(parts_by_number[n] for n in sorted(parts_by_number))
    return found


def indexed(folder: Path) -> dict[str, tuple[str, ...]]:
    """Shards by the name that they share, as the indices in a folder tell.

    Raises:
        InputError: an index is not readable, or names files outside of the folder.
    """
    found = {}
    for index in sorted(folder.glob(f"*{_INDEX}")):
        try:
            if index.stat().st_size > _LARGEST_INDEX:
                raise ValueError("it is too large for an index")
            placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            parts = sorted({str(name) for name in placed.values()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"source: the index {index} could not be read ({error!r}).") from error
        if any("/" in part or "\\" in part or part in ("", ".", "..") for part in parts):
            raise InputError(f"source: the index {index} names files outside of its folder.")
        if len(parts) > 1:
            found[index.name.removesuffix(_INDEX)] = tuple(parts)
    return found


def _missing(name: str, which: str, count: int, there: int) -> InputError:
    return InputError(
        f"source: {name} is in {count} files, of which {there} are there and {which} is missing: a "
        "part is no whole network. Fetch the rest; its parts are joined by themselves."
    )

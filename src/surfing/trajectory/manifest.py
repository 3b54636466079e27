"""The manifest of a trajectory directory: what it says, how it is written and how it is read.

The reader trusts nothing: size, depth, number of entries, every type, every name and the seal (a
hash of all the rest) are checked before anything is used. See ``FORMAT`` and ``VERSION``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surfing.errors import CorruptTrajectoryError, InputError

__all__ = [
    "DTYPES",
    "MAX_CHECKPOINTS",
    "Entry",
    "Manifest",
    "StoredFile",
    "check_representable",
    "decode",
    "encode",
]

FORMAT = "surfing-trajectory"
VERSION = 1
DTYPES = ("float32", "float16", "float64")
MAX_BYTES = 8 << 20
MAX_CHECKPOINTS = 10_000
MAX_DEPTH = 32
MAX_STEP = 1 << 53
MAX_FILE_BYTES = 1 << 50

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\.safetensors", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class StoredFile:
    """One safetensors file in the directory: its plain name, its size and its hash."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One checkpoint.

    Attributes:
        step: generator steps taken when it was recorded.
        raw: the weights and buffers themselves.
        average: their running average, where one is recorded.
        drift: RMS distance in function space from the entry before it; None where unknown.
    """

    step: int
    raw: StoredFile
    average: StoredFile | None = None
    drift: float | None = None

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The one or two files of this checkpoint."""
        return (self.raw,) if self.average is None else (self.raw, self.average)


@dataclass(frozen=True)
class Manifest:
    """What a trajectory directory holds.

    Attributes:
        dtype: how floating tensors are stored.
        latent: the latent law, as its ``to_dict`` wrote it.
        architecture: a zoo name and its arguments; never code to import.
        metadata: anything else, JSON values only.
        average: decay of the running average, where one is recorded.
        probes: number and seed of the probe latents that ``drift`` was measured on.
        entries: the checkpoints, in order of step.
    """

    dtype: str = "float32"
    latent: Mapping[str, Any] | None = None
    architecture: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    average: float | None = None
    probes: Mapping[str, int] | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every file that the entries name."""
        return tuple(file for entry in self.entries for file in entry.files)


def encode(manifest: Manifest) -> bytes:
    """The manifest as sealed JSON.

    Raises:
        InputError: metadata, architecture or latent are not plain JSON, or too large.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": manifest.dtype,
        "latent": manifest.latent,
        "architecture": manifest.architecture,
        "metadata": manifest.metadata,
        "average": manifest.average,
        "probes": manifest.probes,
        "checkpoints": [_entry_to_json(entry) for entry in manifest.entries],
    }
    try:
        text = _sealed(content)
        _check_depth(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            "latent, architecture, metadata: expected plain JSON values (strings, finite numbers, "
            f"booleans, None, lists, dictionaries with string keys), nested at most {MAX_DEPTH} "
            f"deep: {error}."
        ) from error
    if len(text) > MAX_BYTES:
        raise InputError(
            f"metadata: the manifest would take {len(text)} bytes, more than {MAX_BYTES}. "
            "Keep large things in files of their own."
        )
    return text


def check_representable(manifest: Manifest) -> None:
    """See that a manifest reads back as it is written, before anything is.

    Raises:
        InputError: it does not, e.g. because a key is not a string.
    """
    try:
        decode(encode(manifest), "manifest")
    except CorruptTrajectoryError as error:
        raise InputError(
            "latent, architecture, metadata: expected dictionaries of plain JSON values with "
            f"string keys, which read back as they were written: {error}"
        ) from error


def decode(text: bytes, where: str) -> Manifest:
    """Read what :func:`encode` wrote, and nothing else.

    Args:
        text: the file's bytes.
        where: its path, for messages.

    Raises:
        CorruptTrajectoryError: it is damaged, was edited, or is not a trajectory's manifest.
    """
    if len(text) > MAX_BYTES:
        raise _corrupt(where, f"has more than {MAX_BYTES} bytes")
    try:
        content = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
        _check_depth(content)
    except (ValueError, RecursionError) as error:
        raise _corrupt(where, f"is not readable JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _corrupt(where, f"is not a {FORMAT} manifest")
    if content.get("version") != VERSION:
        raise CorruptTrajectoryError(
            f"{where}: expected format version {VERSION}, got {content.get('version')!r:.40}. "
            "It was written by another version of surfing: update surfing."
        )
    seal = content.pop("sha256", None)
    if not isinstance(seal, str) or text.replace(b"\r\n", b"\n") != _sealed(content):
        raise _corrupt(where, "was edited or damaged: its contents don't match its seal")
    return _read(content, where)


def _corrupt(where: str, what: str) -> CorruptTrajectoryError:
    return CorruptTrajectoryError(
        f"{where} {what}. Restore it from a copy, or record or import the trajectory again."
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text:.40} is more than a double holds")
    return number


def _sealed(content: Mapping[str, Any]) -> bytes:
    """One field per line, one checkpoint per line, and the hash of the whole as the last field."""
    body = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(body.encode()).hexdigest()
    fields = [f"{json.dumps(k)}: {_lines(v)}" for k, v in {**content, "sha256": digest}.items()]
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode()


def _lines(value: object) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value, allow_nan=False)
    return "[\n " + ",\n ".join(json.dumps(item, allow_nan=False) for item in value) + "\n]"


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    average = None if entry.average is None else _file_to_json(entry.average)
    raw = _file_to_json(entry.raw)
    return {"step": entry.step, **raw, "drift": entry.drift, "average": average}


def _file_to_json(file: StoredFile) -> dict[str, Any]:
    return {"file": file.name, "bytes": file.bytes, "sha256": file.sha256}


def _read(content: Mapping[str, Any], where: str) -> Manifest:
    try:
        manifest = Manifest(
            dtype=_one_of(content["dtype"], DTYPES),
            latent=_mapping_or_none(content["latent"]),
            architecture=_mapping_or_none(content["architecture"]),
            metadata=_mapping_or_none(content["metadata"]) or {},
            average=_number_or_none(content["average"]),
            probes=_read_probes(content["probes"]),
            entries=_read_entries(content["checkpoints"]),
        )
    except KeyError as error:
        raise _corrupt(where, f"lacks the field {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise _corrupt(where, f"has a wrong field: {error}") from error
    return manifest


def _read_entries(items: object) -> tuple[Entry, ...]:
    if not isinstance(items, list):
        raise TypeError("checkpoints is not a list")
    if len(items) > MAX_CHECKPOINTS:
        raise ValueError(f"{len(items)} checkpoints, more than {MAX_CHECKPOINTS}")
    entries = tuple(_read_entry(item) for item in items)
    if any(b.step <= a.step for a, b in itertools.pairwise(entries)):
        raise ValueError("the steps are not strictly increasing")
    names = [file.name for entry in entries for file in entry.files]
    if len({name.lower() for name in names}) < len(names):
        raise ValueError("two checkpoints name the same file")
    return entries


def _read_entry(item: object) -> Entry:
    if not isinstance(item, dict):
        raise TypeError("a checkpoint is not an object")
    average = item["average"]
    return Entry(
        step=_integer(item["step"], MAX_STEP),
        raw=_read_file(item),
        average=None if average is None else _read_file(average),
        drift=_number_or_none(item["drift"]),
    )


def _read_file(item: object) -> StoredFile:
    if not isinstance(item, dict):
        raise TypeError("a file is not an object")
    name, digest = item["file"], item["sha256"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"expected the plain name of a .safetensors file, got {name!r:.80}")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"expected a SHA-256 in hexadecimal, got {digest!r:.80}")
    return StoredFile(name, _integer(item["bytes"], MAX_FILE_BYTES), digest)


def _read_probes(item: object) -> dict[str, int] | None:
    probes = _mapping_or_none(item)
    return probes and {name: _integer(probes[name], MAX_STEP) for name in ("count", "seed")}


def _integer(value: object, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise ValueError(f"expected an integer in [0, {limit}], got {value!r:.40}")
    return value


def _number_or_none(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {value!r:.40}")
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"expected a finite number of at least 0, got {value!r:.40}")
    return number


def _mapping_or_none(value: object) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"expected an object, got {value!r:.40}")
    return value


def _one_of(value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"expected one of {', '.join(known)}, got {value!r:.40}")
    return value

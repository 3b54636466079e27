"""Read a state dict that something else saved, trusting nothing: no code of the file is run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.trajectory.store import physical_memory
from surfing.trajectory.tensors import snapshot, state_from_bytes, without_wrappers

__all__ = ["DEFAULT_PREFIX", "Selection", "kept_prefix", "read_foreign"]

DEFAULT_PREFIX = "generator."
_PLACES = (
    "generator_state_dict",
    "generator",
    "g_ema",
    "netG",
    "G",
    "g",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "params",
    "weights",
)
_OPPONENTS = ("discriminator.", "critic.", "netD.", "D.")
_MAX_NESTING = 8
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Selection:
    """Which part of a file is the generator.

    Attributes:
        prefix: of its keys.
        key: dotted place of the state dict; None to search the usual ones.
    """

    prefix: str = DEFAULT_PREFIX
    key: str | None = None


def read_foreign(files: Path | Sequence[Path], selection: Selection) -> dict[str, Tensor]:
    """The generator's parameters and buffers in one file, or in the parts of one checkpoint.

    Raises:
        InputError: a file is damaged, holds more than tensors, or no generator; two parts hold the
            same name.
    """
    parts = [files] if isinstance(files, Path) else list(files)
    path = parts[0]
    state = without_wrappers(_read_parts(parts, selection))
    chosen = without_wrappers(_with_prefix(state, selection.prefix, path))
    _check_size(chosen, path, sum(part.stat().st_size for part in parts))
    return snapshot(chosen, str(path))


def kept_prefix(files: Path | Sequence[Path], selection: Selection) -> str:
    """The prefix of the names that are kept; empty where none has it and all are kept.

    Raises:
        InputError: see :func:`read_foreign`.
    """
    parts = [files] if isinstance(files, Path) else list(files)
    state = without_wrappers(_read_parts(parts, selection))
    return selection.prefix if any(n.startswith(selection.prefix) for n in state) else ""


def _read_parts(parts: Sequence[Path], selection: Selection) -> dict[str, Tensor]:
    whole: dict[str, Tensor] = {}
    for path in parts:
        content = _load_safetensors(path) if path.suffix.lower() == ".safetensors" else _load(path)
        state = _state_dict(content, selection, path)
        if twice := whole.keys() & state.keys():
            raise InputError(f"{path}: {min(twice)!r} is in another part of the checkpoint too.")
        whole |= state
    return whole


def _load(path: Path) -> object:
    _refuse_bombs(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path}: refused: expected a file that holds tensors only, and torch's restricted "
            f"loader says: {_reason(error)}. If the file is whole and yours, load it where it was "
            "made and save module.state_dict() instead."
        ) from error


def _reason(error: Exception) -> str:
    """What torch found, without its colours and its advice to switch the restrictions off."""
    said = _ESCAPE.sub("", str(error)).rpartition("WeightsUnpickler error:")[2]
    lines = (line.strip() for line in said.splitlines() if "weights_only" not in line)
    sentence = next(filter(None, lines), "").partition(". ")[0].rstrip(".")
    shown = "".join(c for c in sentence if c.isprintable())  # the file names what it asks for
    return f"{type(error).__name__}: {shown:.200}".rstrip(": ")


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    _refuse_larger_than_memory(path)
    try:
        return state_from_bytes(path.read_bytes())
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: expected a safetensors file: {error}.") from error


def _refuse_larger_than_memory(path: Path) -> None:
    if (size := path.stat().st_size) > (there := physical_memory()) // 2:
        raise InputError(
            f"{path}: refused: its {size} bytes don't fit this machine's memory of {there} bytes."
        )


def _refuse_bombs(path: Path) -> None:
    """What torch.save never does: compress, or have several entries share their bytes.

    A file that does either can be thousands of times larger inside than it is.
    """
    _refuse_larger_than_memory(path)
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            stored = all(i.compress_type == zipfile.ZIP_STORED for i in archive.infolist())
            inside = sum(i.file_size for i in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: expected a file that torch.save wrote: {error}.") from error
    if not stored:
        raise InputError(f"{path}: refused: a compressed archive is nothing that torch.save wrote.")
    if inside > path.stat().st_size:
        raise InputError(f"{path}: refused: it claims to hold {inside} bytes, more than it has.")


def _check_size(state: Mapping[str, Tensor], path: Path, size: int) -> None:
    """A tensor may claim to be far larger than what is stored for it (stride 0)."""
    claimed = sum(t.numel() * t.element_size() for t in state.values())
    if claimed > 8 * size + (1 << 20):
        raise InputError(
            f"{path}: refused: its tensors claim {claimed} bytes, far more than the file holds."
        )


def _state_dict(content: object, selection: Selection, path: Path) -> dict[str, Tensor]:
    if selection.key is not None:
        for part in selection.key.split("."):
            if not isinstance(content, Mapping) or part not in content:
                raise InputError(
                    f"key: expected {selection.key!r} in {path}, found {_names(content)}."
                )
            content = content[part]
    for _ in range(_MAX_NESTING):
        if not isinstance(content, Mapping):
            break
        tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        place = next((p for p in _PLACES if isinstance(content.get(p), Mapping)), None)
        if place is None:
            break
        content = content[place]
    raise InputError(
        f"{path}: expected a state dict, by itself or under one of {', '.join(_PLACES)}; found "
        f"{_names(content)}. Say where it is with `key`."
    )


def _with_prefix(state: dict[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    chosen = {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}
    chosen.pop("", None)
    if chosen:
        return chosen
    opponents = any(name.startswith(_OPPONENTS) for name in state)
    if prefix == DEFAULT_PREFIX and not opponents:
        return state
    tops = sorted({name.split(".")[0] + "." for name in state if "." in name})
    shown = ", ".join(repr(top) for top in tops[:12]) or _names(state)
    raise InputError(
        f"prefix: no key in {path} starts with {prefix!r}; they start with {shown}. Give the "
        "generator's."
    )


def _names(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = ", ".join(repr(name) for name in list(content)[:8])
    return f"{names} and more" if len(content) > 8 else names or "nothing"

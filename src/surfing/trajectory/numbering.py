"""The training step in a file's name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from surfing.errors import InputError

__all__ = ["compiled", "steps_of"]

_WORDS = ("step", "iteration", "iter", "kimg")
_DECIMAL = re.compile(r"\d+\.\d+", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
_LONGEST = 15


def steps_of(names: Sequence[str], pattern: str | None = None) -> list[int]:
    """The step of each file.

    >>> steps_of(["gen_10.pt", "gen_9.pt"])
    [10, 9]
    >>> steps_of(["epoch=3-step=400.ckpt", "epoch=4-step=500.ckpt"])
    [400, 500]
    >>> steps_of(["dcgan64_seed0_7.pt", "dcgan64_seed0_12.pt"])
    [7, 12]

    Raises:
        InputError: a name without a step, several candidates, or two files of one step.
    """
    found = _by_group(names, pattern) or _by_word(names) or _by_difference(names)
    for name, digits in zip(names, found, strict=True):
        if len(digits) > _LONGEST:
            raise InputError(f"{name}: expected a step of at most {_LONGEST} digits, got {digits}.")
    steps = [int(digits) for digits in found]
    step, count = Counter(steps).most_common(1)[0]
    if count > 1:
        tied = ", ".join(n for n, s in zip(names, steps, strict=True) if s == step)
        raise InputError(
            f"source: expected one file per step, got {count} of step {step}: {tied}. Leave some "
            r"out with a pattern such as r'gen_(\d+)\.pt'."
        )
    return steps


def compiled(pattern: str) -> re.Pattern[str]:
    """The caller's regular expression.

    Raises:
        InputError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"pattern: expected a regular expression, got {pattern!r} ({error})."
        ) from error


def _by_group(names: Sequence[str], pattern: str | None) -> list[str] | None:
    if pattern is None or compiled(pattern).groups == 0:
        return None
    found = []
    for name in names:
        match = compiled(pattern).fullmatch(name)
        digits = (match.group(1) or "") if match else ""
        if not _NUMBER.fullmatch(digits):
            raise InputError(
                f"pattern: expected its first group to be the step's digits, got {digits!r} in "
                f"{name}."
            )
        found.append(digits)
    return found


def _by_word(names: Sequence[str]) -> list[str] | None:
    for word in _WORDS:
        after = re.compile(rf"{word}s?[=_-]?(\d+)", re.ASCII | re.IGNORECASE)
        matches = [after.findall(PurePath(name).stem) for name in names]
        if all(len(found) == 1 for found in matches):
            return [found[0] for found in matches]
    return None


def _by_difference(names: Sequence[str]) -> list[str]:
    """The one number that varies; losses and the like ("0.53") are no steps."""
    stems = [_DECIMAL.sub("", PurePath(name).stem) for name in names]
    numbers = [_NUMBER.findall(stem) for stem in stems]
    for name, found in zip(names, numbers, strict=True):
        if not found:
            raise InputError(
                f"{name}: expected the training step in the file's name, found no number. Leave "
                r"the file out with a pattern such as r'gen_(\d+)\.pt'."
            )
    shapes = Counter(_NUMBER.sub("#", stem) for stem in stems)
    if len(shapes) > 1:
        odd = shapes.most_common()[-1][0]
        name = next(
            n for n, stem in zip(names, stems, strict=True) if _NUMBER.sub("#", stem) == odd
        )
        raise InputError(
            f"{name}: its name is not made like the others', so its step can't be told. Choose "
            r"the files with a pattern such as r'gen_(\d+)\.pt'."
        )
    columns = list(zip(*numbers, strict=True))
    varying = [column for column in columns if len({int(d) for d in column}) > 1]
    if len(varying) > 1:
        raise InputError(
            f"{names[0]}: {len(varying)} numbers in the names vary, so the step can't be told. "
            r"Say which with a pattern whose group is the step, such as r'gen_\d+_(\d+)\.pt'."
        )
    return list(varying[0] if varying else columns[-1])

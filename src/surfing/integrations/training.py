"""What the callbacks share: where the generator is, what is kept of it, how its recorder opens."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from surfing.errors import GeneratorError, InputError, OutputExistsError
from surfing.generator import unwrap
from surfing.trajectory.recorder import Recorder
from surfing.trajectory.recording import Recording, RecordingOptions

__all__ = ["check_name", "find_generator", "open_recorder", "pick_recording"]


def check_name(name: object) -> None:
    """See that `generator` is the name of an attribute, dots allowed.

    Raises:
        InputError: it is none.
    """
    if not isinstance(name, str) or not all(name.split(".")):
        raise InputError(
            "generator: expected the name of the attribute that holds the generator, such as "
            f"'generator' or 'parts.generator', got {name!r:.80}."
        )


def find_generator(model: nn.Module, name: str | None) -> nn.Module:
    """The attribute of that name; the whole model where there is no name.

    Raises:
        GeneratorError: it is no module.
    """
    model = unwrap(model)
    found: Any = model
    for part in name.split(".") if name else ():
        found = getattr(found, part, None)
    if not isinstance(found, nn.Module):
        raise GeneratorError(
            f"generator: expected {type(model).__name__}.{name} to be a module, got "
            f"{type(found).__name__}. Give the name of the attribute that holds the generator."
        )
    return found


def pick_recording(options: RecordingOptions, *, resumes: str) -> Recording:
    """What a callback's other keywords ask for.

    Args:
        options: the keywords.
        resumes: how the library at hand resumes a training, for messages.

    Raises:
        TypeError: a keyword that is none of them.
        InputError: a bad value.
    """
    known = RecordingOptions.__annotations__
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(
            f"RecorderCallback: unexpected keyword {unknown[0]!r}; expected path, generator, "
            f"overwrite, {', '.join(known)}. It continues a trajectory where {resumes}."
        )
    return Recording(**options)


def open_recorder(
    path: str | os.PathLike[str],
    generator: nn.Module,
    recording: Recording,
    *,
    step: int | None,
    overwrite: bool,
    resumes: str,
) -> Recorder:
    """Open a callback's recorder.

    Args:
        path: the trajectory's directory.
        generator: the live module.
        recording: what is kept.
        step: where the training continues; None where it begins.
        overwrite: delete what is there, if the training begins.
        resumes: as of :func:`pick_recording`.

    Raises:
        OutputExistsError: the training begins, there is a trajectory, and it is not to go.
    """
    try:
        return Recorder(
            path,
            generator,
            **recording.options(),
            resume_from=step,
            overwrite=overwrite and step is None,
        )
    except OutputExistsError as error:
        raise OutputExistsError(
            f"{os.fspath(path)} holds a trajectory already, and this training begins anew. Name "
            f"another directory, or give overwrite=True, which deletes it; {resumes} continues "
            "with it."
        ) from error

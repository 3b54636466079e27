"""Everything that this package raises on purpose.

SurfingError
├── InputError (ValueError)             an argument has the wrong shape, type, range or device
│   ├── MeasurementError                y, or the operator's output, is not what was expected
│   ├── GeneratorError                  the module and the checkpoint don't fit each other
│   └── UnknownNameError                a model, operator or data name that is not known
├── TrajectoryError                     a trajectory can't be used
│   ├── NotATrajectoryError             the folder holds no manifest
│   ├── EmptyTrajectoryError            there is no checkpoint in it
│   ├── CorruptTrajectoryError          a file is damaged, missing or not what the manifest says
│   └── LockedTrajectoryError           another recorder is writing to it
├── OutputExistsError (FileExistsError) the output would overwrite something
├── MissingExtraError (ImportError)     an optional dependency is not installed
├── WorkerLostError                     a cluster's workers die, or none can be had
└── RecoveryError                       a numerical failure, raised by `Solution.raise_failures`

Every message says what was expected, what came and the remedy, and `error.argument` which argument
it is about. A numerical failure is otherwise a
:class:`surfing.Status`, never an exception.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Self

__all__ = [
    "CorruptTrajectoryError",
    "EmptyTrajectoryError",
    "GeneratorError",
    "InputError",
    "LockedTrajectoryError",
    "MeasurementError",
    "MissingExtraError",
    "NotATrajectoryError",
    "OutputExistsError",
    "RecoveryError",
    "SurfingError",
    "TrajectoryError",
    "UnknownNameError",
    "WorkerLostError",
    "require",
]


class SurfingError(Exception):
    """Root of every error that this package raises on purpose.

    Args:
        message: what was expected, what came, the remedy; it begins with the argument's name.
        argument: the name of the argument that is wrong, as the caller typed it, for callers that
            go by it rather than by the text; None where it is no single one.
    """

    def __init__(self, message: str = "", *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument  # in __dict__, so that it is pickled too


class InputError(SurfingError, ValueError):
    """An argument has the wrong shape, type, range or device."""


class MeasurementError(InputError):
    """The measurements y, or what the operator makes of G(z), are not what was expected."""


class GeneratorError(InputError):
    """The module and the checkpoint don't fit each other."""


class UnknownNameError(InputError):
    """A model, operator or data name that is not known; the message lists the known ones."""

    def __init__(
        self, kind: str, name: str, known: list[str], *, argument: str | None = None
    ) -> None:
        self._parts = kind, name, known
        known_ones = ", ".join(sorted(known))
        message = f"unknown {kind} {name!r}; the known ones are: {known_ones}."
        super().__init__(message, argument=argument)

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, list[str]], dict[str, Any]]:
        """By the parts: an exception is otherwise made again of its message."""
        return type(self), self._parts, self.__dict__


class TrajectoryError(SurfingError):
    """A trajectory can't be used."""


class NotATrajectoryError(TrajectoryError):
    """The folder holds no manifest."""


class EmptyTrajectoryError(TrajectoryError):
    """There is no checkpoint in the trajectory."""


class CorruptTrajectoryError(TrajectoryError):
    """A file is damaged, missing, or not what the manifest says; the message names it."""


class LockedTrajectoryError(TrajectoryError):
    """Another recorder is writing to the directory."""


class OutputExistsError(SurfingError, FileExistsError):
    """The output would overwrite something."""


class MissingExtraError(SurfingError, ImportError):
    """An optional dependency is not installed; the message says what to install."""


class WorkerLostError(SurfingError):
    """Workers died again and again, took measurements along, or none could be had.

    What was finished is kept.
    """


class RecoveryError(SurfingError):
    """A numerical failure, raised by ``Solution.raise_failures``."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency.

    Args:
        module: dotted name of the module, e.g. ``"deepinv"``.
        extra: the extra of this package that installs it.

    Raises:
        MissingExtraError: with the one command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not module.startswith(error.name):
            raise
        raise MissingExtraError(
            f"this needs {module.split('.')[0]}; install it with: pip install 'surfing[{extra}]'"
        ) from error

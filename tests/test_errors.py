"""Errors say which argument they are about, also after a trip to another process."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

import surfing
from surfing import errors
from surfing.cli.common import as_typed
from surfing.errors import (
    InputError,
    MeasurementError,
    OutputExistsError,
    SurfingError,
    UnknownNameError,
)

KINDS = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and kind is not UnknownNameError
]


def unknown(argument: str | None) -> UnknownNameError:
    return UnknownNameError("model", "vea", ["vae", "wgan"], argument=argument)


@pytest.mark.parametrize("argument", [None, "noise"])
@pytest.mark.parametrize("kind", [*KINDS, unknown])
def test_an_error_survives_pickling_with_its_argument(kind: object, argument: str | None) -> None:
    error = unknown(argument) if kind is unknown else kind("noise: no.", argument=argument)
    error.add_note("a note")
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), there.args) == (type(error), str(error), error.args)
    assert (there.argument, there.__notes__) == (argument, ["a note"])
    assert isinstance(there, SurfingError)


@pytest.mark.parametrize("kind", [*KINDS, unknown])
def test_an_error_is_about_no_argument_unless_it_says_so(kind: object) -> None:
    assert (unknown(None) if kind is unknown else kind("a: no.")).argument is None


@pytest.mark.parametrize("kind", [InputError, MeasurementError, OutputExistsError])
def test_an_option_is_named_as_it_was_typed(kind: type[SurfingError]) -> None:
    error = kind("batch_size: expected 1, got a batch_size: 2.", argument="batch_size")
    with (
        pytest.raises(kind, match=r"^--batch-size: expected 1, got a batch_size: 2\.$") as caught,
        as_typed("batch_size"),  # once, however often it is caught
        as_typed("batch_size"),
    ):
        raise error
    assert caught.value.argument == "--batch-size"


def test_what_is_no_option_is_left_as_it_is() -> None:
    for error in (InputError("out: of no argument."), InputError("out: no.", argument="in")):
        said = str(error)
        with pytest.raises(InputError, match=re.escape(said)) as caught, as_typed("out"):
            raise error
        assert str(caught.value) == said


def test_no_command_goes_by_the_text_of_an_error() -> None:
    by_text = re.compile(r"str\(err\w*\)\.(startswith|endswith|find)\(|in str\(err")
    for path in (Path(surfing.__file__).parent / "cli").glob("*.py"):
        assert not by_text.search(path.read_text(encoding="utf-8")), path

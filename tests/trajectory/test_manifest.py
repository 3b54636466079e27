from __future__ import annotations

import contextlib
import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surfing.errors import CorruptTrajectoryError, InputError
from surfing.trajectory.manifest import (
    Entry,
    Manifest,
    StoredFile,
    _sealed,
    check_representable,
    decode,
    encode,
)


def stored(i: int, kind: str = "") -> StoredFile:
    return StoredFile(f"step-{i:09d}{kind}.safetensors", 100 + i, f"{i:064x}")


FULL = Manifest(
    dtype="float16",
    latent={"law": "normal", "dim": 3},
    architecture={"name": "mlp", "arguments": {"width": 4}},
    metadata={"note": 'a "quoted" ünïcode \n line', "lr": 1e-4, "list": [1, None, True]},
    average=0.99,
    probes={"count": 64, "seed": 0},
    entries=tuple(
        Entry(10 * i, stored(i), stored(i, ".average"), 0.1 * i if i else None) for i in range(4)
    ),
)
CONTENT = {k: v for k, v in json.loads(encode(FULL)).items() if k != "sha256"}


def resealed(**changes: Any) -> bytes:
    return _sealed({**copy.deepcopy(CONTENT), **changes})


def with_first(**changes: Any) -> bytes:
    first, *rest = copy.deepcopy(CONTENT["checkpoints"])
    return resealed(checkpoints=[{**first, **changes}, *rest])


def test_reading_is_the_inverse_of_writing() -> None:
    assert decode(encode(FULL), "m") == FULL
    assert decode(encode(Manifest()), "m") == Manifest()
    assert decode(encode(FULL).replace(b"\n", b"\r\n"), "m") == FULL


def test_any_changed_byte_is_seen() -> None:
    text = encode(FULL)
    for position in range(len(text)):
        for flip in (0x01, 0x20, 0xFF):
            damaged = bytearray(text)
            damaged[position] ^= flip
            with pytest.raises(CorruptTrajectoryError, match="here"):
                decode(bytes(damaged), "here")


def test_any_truncation_is_seen() -> None:
    text = encode(FULL)
    for length in range(0, len(text) - 1, 7):
        with pytest.raises(CorruptTrajectoryError):
            decode(text[:length], "m")


HOSTILE = {
    "absolute": with_first(file="/etc/passwd.safetensors"),
    "parent": with_first(file="../x.safetensors"),
    "dots": with_first(file="..safetensors"),
    "separator": with_first(file="a/b.safetensors"),
    "backslash": with_first(file="a\\b.safetensors"),
    "drive": with_first(file="c:x.safetensors"),
    "nul": with_first(file="a\0.safetensors"),
    "newline": with_first(file="a.safetensors\n"),
    "no-suffix": with_first(file="manifest.json"),
    "long": with_first(file="a" * 5000 + ".safetensors"),
    "unicode-digits": with_first(file="step-\u0661.safetensors"),
    "file-type": with_first(file=7),
    "twice": with_first(file=CONTENT["checkpoints"][1]["file"]),
    "twice-by-case": with_first(file=CONTENT["checkpoints"][1]["file"].replace("step", "STEP")),
    "hash": with_first(sha256="0" * 63),
    "hash-type": with_first(sha256=None),
    "negative-size": with_first(bytes=-1),
    "huge-size": with_first(bytes=1 << 63),
    "float-size": with_first(bytes=10.0),
    "negative-step": with_first(step=-1),
    "bool-step": with_first(step=True),
    "huge-step": with_first(step=10**400),
    "order": with_first(step=10),
    "drift-type": with_first(drift="1"),
    "drift-negative": with_first(drift=-1.0),
    "drift-huge": with_first(drift=10**400),
    "average-type": with_first(average=[1]),
    "checkpoints-type": resealed(checkpoints={"a": 1}),
    "entry-type": resealed(checkpoints=[1]),
    "latent-type": resealed(latent=[1]),
    "metadata-type": resealed(metadata="x"),
    "probes-type": resealed(probes={"count": "x", "seed": 0}),
    "probes-lacking": resealed(probes={"count": 1}),
    "dtype": resealed(dtype="pickle"),
    "dtype-type": resealed(dtype=["float32"]),
    "version": resealed(version=2),
    "version-type": resealed(version=[[]]),
    "format": resealed(format="zip"),
    "lacking": _sealed({k: v for k, v in CONTENT.items() if k != "average"}),
    "not-json": b"\x80\x04\x95",
    "empty": b"",
    "list": b"[]",
    "number": b"1",
    "big-number": b"1" * 5000,
    "nan": b'{"format": NaN}',
    "overflow": encode(FULL).replace(b"0.99", b"1e999"),
    "deep": b"[" * 100_000,
    "deep-closed": b"[" * 100_000 + b"]" * 100_000,
    "deep-metadata": resealed(metadata={"a": json.loads("[" * 40 + "]" * 40)}),
    "large": b" " * (9 << 20),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_manifests_are_refused_with_one_clear_error(text: bytes) -> None:
    with pytest.raises(CorruptTrajectoryError, match="here") as caught:
        decode(text, "here")
    assert len(str(caught.value)) < 600


def test_a_million_entries_are_refused_quickly() -> None:
    begin = time.perf_counter()
    with pytest.raises(CorruptTrajectoryError):
        decode(b'{"checkpoints":[' + b"1," * 1_000_000 + b"1]}", "m")
    with pytest.raises(CorruptTrajectoryError, match="more than"):
        decode(resealed(checkpoints=[{}] * 20_000), "m")
    assert time.perf_counter() - begin < 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_nothing_but_the_right_error_comes_out_of_any_bytes(text: bytes) -> None:
    with pytest.raises(CorruptTrajectoryError):
        decode(text, "m")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CONTENT)), json_values)
def test_a_sealed_manifest_with_any_field_replaced_is_read_or_refused(
    name: str, value: object
) -> None:
    try:
        text = _sealed({**CONTENT, name: value})
    except ValueError:  # infinities can't be written in the first place
        return
    with contextlib.suppress(CorruptTrajectoryError):
        decode(text, "m")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CONTENT["checkpoints"][0])), json_values)
def test_a_sealed_manifest_with_any_entry_replaced_is_read_or_refused(
    name: str, value: object
) -> None:
    try:
        text = with_first(**{name: value})
    except ValueError:
        return
    with contextlib.suppress(CorruptTrajectoryError):
        decode(text, "m")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=9), json_values, max_size=5))
def test_metadata_comes_back_as_it_was(metadata: dict[str, Any]) -> None:
    manifest = Manifest(metadata=metadata)
    try:
        text = encode(manifest)
    except InputError:  # an infinity inside
        return
    assert decode(text, "m") == manifest


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": object()},
        {"a": float("nan")},
        {1: 2, "1": 3},
        {"a": {1: 2, "1": 3}},
        {"a": {1: 2, "b": 3}},
        {"a": json.loads("[" * 40 + "]" * 40)},
        {"a": "x" * (9 << 20)},
    ],
)
def test_what_would_not_read_back_is_not_written(metadata: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="metadata"):
        check_representable(Manifest(metadata=metadata))

"""Parsers fed with what nobody meant for them: only errors of this package may come out.

Every parser gets its inputs three ways: random ones built by hypothesis from the format's own
parts, valid ones with a few bytes changed, and those that atheris finds by watching which lines
they reach, where it is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from safetensors.torch import save

from benchmarks.reliability.laws import Violation
from surfing import Solution
from surfing.architectures import generator_from_manifest
from surfing.cli.inputs import read_latent, read_measurements
from surfing.errors import SurfingError
from surfing.latents import latent_from_dict
from surfing.problem import as_operator
from surfing.trajectory.foreign import Selection, read_foreign
from surfing.trajectory.manifest import Entry, Manifest, StoredFile, _sealed, decode, encode
from surfing.trajectory.store import read_state
from surfing.trajectory.tensors import state_to_bytes

__all__ = ["PARSERS", "Parser", "coverage_guided", "fuzz", "run"]


@dataclass(frozen=True)
class Parser:
    """One thing that reads what others wrote.

    Args:
        read: the parser, given the bytes and a folder of its own.
        seeds: valid inputs.
        built: inputs made of the format's parts.
    """

    read: Callable[[bytes, Path], object]
    seeds: tuple[bytes, ...]
    built: SearchStrategy[bytes]


def run(*, inputs: int, seed: int) -> dict[str, Any]:
    """So many inputs for every parser: a third built, a third changed, a third found by coverage.

    Raises:
        Violation: something else than an error of this package came out.
    """
    third = inputs // 3
    guided = importlib.util.find_spec("atheris") is not None
    counts: dict[str, dict[str, int]] = {}
    for name, parser in PARSERS.items():
        rest = third if guided else inputs - third
        counts[name] = fuzz(parser, built=third, changed=rest, seed=seed)
        if guided:
            runs = inputs - 2 * third
            coverage_guided(name, runs=runs, seed=seed)
            counts[name]["guided"] = runs
        print(f"{name}: {counts[name]}", file=sys.stderr, flush=True)
    total = sum(n for c in counts.values() for k, n in c.items() if k != "accepted")
    return {"parsers": counts, "inputs": total, "coverage_guided": guided}


def fuzz(parser: Parser, *, built: int, changed: int, seed: int) -> dict[str, int]:
    """Inputs built and changed; how many of each, and how many were accepted."""
    counts = {"built": 0, "changed": 0, "accepted": 0}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")

        @settings(
            max_examples=built,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @with_seed(seed)
        @given(parser.built)
        def all_built(data: bytes) -> None:
            counts["accepted"] += accepts(parser, data, Path(folder))
            counts["built"] += 1

        if built:
            all_built()
        rng = random.Random(seed)
        for _ in range(changed):
            counts["accepted"] += accepts(parser, _changed(parser.seeds, rng), Path(folder))
            counts["changed"] += 1
    return counts


def accepts(parser: Parser, data: bytes, folder: Path) -> bool:
    """Whether the parser takes it.

    Raises:
        Violation: it raised something that is no error of this package.
    """
    try:
        parser.read(data, folder)
    except SurfingError:
        return False
    except Exception as error:
        kind = type(error).__name__
        raise Violation(f"only SurfingError comes out: {kind}: {error}: {data[:400]!r}") from error
    return True


def _changed(seeds: tuple[bytes, ...], rng: random.Random) -> bytes:
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[place : place + 1] = rng.randbytes(1)
            case 1:
                del data[place : place + rng.randrange(1, 9)]
            case 2:
                data[place:place] = rng.choice(_TOKENS)
            case 3:
                data[place : place + 8] = struct.pack("<Q", rng.choice(_NUMBERS))
            case 4:
                other = rng.choice(seeds)
                data[place : place + 16] = other[place : place + 16]
    return bytes(data)


_TOKENS = (b"-", b"0", b"1e999", b"NaN", b"[", b"{", b'"', b"null", b"../", b"\0", b"\xff", b":")
_NUMBERS = (0, 1, 8, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def coverage_guided(name: str, *, runs: int, seed: int) -> None:
    """Atheris in a process of its own, which it ends itself.

    Raises:
        Violation: with the end of what it said.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.reliability.guided", name, str(runs), str(seed)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    if ended.returncode != 0 or "DONE" not in ended.stderr.upper():
        raise Violation(f"guided fuzzing of {name}: {(ended.stdout + ended.stderr)[-2000:]}")


# --- what the parsers read


@contextlib.contextmanager
def _file(folder: Path, name: str, data: bytes) -> Iterator[Path]:
    path = folder / name
    path.write_bytes(data)
    try:
        yield path
    finally:
        path.unlink()


def _read_manifest(data: bytes, folder: Path) -> object:
    """As it is, and with a right seal, so that what lies behind the seal is reached."""
    try:
        content = json.loads(data)
        content.pop("sha256", None)
        sealed = _sealed(content)
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return decode(data, "here")
    with contextlib.suppress(SurfingError):
        decode(data, "here")
    manifest = decode(sealed, "here")
    _use_description(manifest)
    return manifest


def _use_description(manifest: Manifest) -> None:
    if manifest.latent is not None:
        latent_from_dict(manifest.latent)
    if manifest.architecture is not None:
        generator_from_manifest(manifest.architecture, {"w": torch.zeros(1)})


def _read_tensors(data: bytes, folder: Path) -> object:
    name = "step-000000000.safetensors"
    with _file(folder, name, data):
        stored = StoredFile(name, len(data), hashlib.sha256(data).hexdigest())
        return read_state(folder, stored)


def _read_operator(data: bytes, folder: Path) -> object:
    text = data.decode("utf-8", "replace")
    return as_operator(text, (1, 4, 4)), as_operator(text, (3, 2, 1))


def _read_law(data: bytes, folder: Path) -> object:
    return read_latent(data.decode("utf-8", "replace"))


def _measurements(suffix: str) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> object:
        with _file(folder, f"y{suffix}", data) as path:
            return np.asarray(read_measurements(path)[:2])

    return read


def _read_checkpoint(data: bytes, folder: Path) -> object:
    with _file(folder, "gen_1.pt", data) as path:
        return read_foreign(path, Selection())


def _read_solution(data: bytes, folder: Path) -> object:
    with _file(folder, "solution.safetensors", data) as path:
        return Solution.load(path)


# --- what they are given

_values: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["normal", "uniform", "mlp", "conv", "../x.safetensors", "F32", "0" * 64]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
_STORED = StoredFile("step-000000000.safetensors", 4, "0" * 64)
_MANIFEST = encode(
    Manifest(
        latent={"law": "uniform", "dim": 3, "low": -1.0, "high": 1.0},
        architecture={"name": "mlp", "arguments": {"latent_dim": 3, "hidden": 4}},
        average=0.9,
        probes={"count": 64, "seed": 0},
        entries=(Entry(0, _STORED),),
    )
)
_FIELDS = json.loads(_MANIFEST)


@st.composite
def _manifests(draw: Any) -> bytes:
    content = json.loads(_MANIFEST)
    place = draw(st.sampled_from(["top", "checkpoint", "latent", "architecture", "arguments"]))
    inside = {
        "top": content,
        "checkpoint": content["checkpoints"][0],
        "latent": content["latent"],
        "architecture": content["architecture"],
        "arguments": content["architecture"]["arguments"],
    }[place]
    key = draw(st.sampled_from(sorted(inside)) | st.text(max_size=5))
    inside[key] = draw(_values)
    return json.dumps(content).encode("utf-8", "replace")


@st.composite
def _safetensors(draw: Any) -> bytes:
    numbers = st.integers(-2, 6) | st.sampled_from([1 << 40, 1 << 63, (1 << 64) - 1])
    kinds = st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "C64", "X"])
    tensor = st.fixed_dictionaries(
        {
            "dtype": kinds | _values,
            "shape": st.lists(numbers, max_size=4),
            "data_offsets": st.lists(numbers, min_size=2, max_size=2),
        }
    )
    header = draw(st.dictionaries(st.sampled_from(["y", "w", "__metadata__"]), tensor | _values))
    text = json.dumps(header).encode("utf-8", "replace")
    length = draw(st.just(len(text)) | st.integers(0, (1 << 64) - 1))
    return struct.pack("<Q", length) + text + draw(st.binary(max_size=32))


@st.composite
def _npy(draw: Any) -> bytes:
    sizes = st.integers(-1, 5) | st.sampled_from([1 << 40, 1 << 63, 10**30])
    kinds = ["<f4", ">f8", "<f2", "<f16", "|O", "<c8", "|V0", "<U3", "<M8[s]", "|b1", "<i4"]
    described = st.sampled_from(kinds) | st.just([("a", "<f4"), ("b", "|O")]) | _values
    shape = draw(st.lists(sizes, max_size=4).map(tuple) | _values)
    header = {"descr": draw(described), "fortran_order": draw(st.booleans()), "shape": shape}
    text = draw(st.just(repr(header)) | st.text(max_size=40)).encode("utf-8", "replace") + b"\n"
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    length = struct.pack("<H" if version[0] == 1 else "<I", min(len(text), 65535))
    return b"\x93NUMPY" + bytes(version) + length + text + draw(st.binary(max_size=48))


def _zipped(name: str, data: bytes, *, compressed: bool) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


_npz = st.builds(
    _zipped, st.sampled_from(["y.npy", "y", "a.npy"]), _npy(), compressed=st.booleans()
)
_numbers = st.one_of(
    st.integers(-9, 9).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["1e400", "0x10", "nan", "-inf", "1_0", "٣", "", " ", "9" * 5000, "1e4", "1e9"]
    ),
    st.text(max_size=6),
)
_kinds = st.sampled_from(
    ["gaussian", "inpainting", "downsampling", "blur", "mri", "phase-retrieval"]
)
_operators = st.one_of(
    st.tuples(_kinds | st.text(max_size=8), _numbers).map(":".join), st.text(max_size=30)
).map(lambda text: text.encode("utf-8", "replace"))
_laws = st.one_of(
    st.lists(st.sampled_from(["normal", "uniform"]) | _numbers, max_size=5).map(":".join),
    st.text(max_size=20),
).map(lambda text: text.encode("utf-8", "replace"))


def _saved(write: Callable[[Any], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


_ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
_STATE = {"a": torch.ones(3), "b": torch.ones(2, 2)}
_NPY = _saved(lambda f: np.save(f, _ARRAY))
_NPZ = (_saved(lambda f: np.savez(f, y=_ARRAY)), _saved(lambda f: np.savez_compressed(f, a=_ARRAY)))
_PT = (
    _saved(lambda f: torch.save(_STATE, f)),
    _saved(lambda f: torch.save({"generator": _STATE}, f, _use_new_zipfile_serialization=False)),
)


def _a_solution() -> bytes:
    from benchmarks.reliability.corruption import _solution

    with tempfile.TemporaryDirectory() as folder:
        return _solution().save(Path(folder) / "s.safetensors").read_bytes()


PARSERS: dict[str, Parser] = {
    "manifest": Parser(_read_manifest, (_MANIFEST, encode(Manifest())), _manifests()),
    "checkpoint": Parser(
        _read_tensors,
        (state_to_bytes(_STATE, "float32"), state_to_bytes({"a": _STATE["a"]}, "float16")),
        _safetensors(),
    ),
    "operator": Parser(
        _read_operator, (b"gaussian:20", b"inpainting:0.5", b"phase-retrieval:9"), _operators
    ),
    "latent": Parser(_read_law, (b"normal:3", b"uniform:3:0:1"), _laws),
    "npy": Parser(_measurements(".npy"), (_NPY,), _npy()),
    "npz": Parser(_measurements(".npz"), _NPZ, _npz),
    "safetensors": Parser(
        _measurements(".safetensors"), (save({"y": torch.ones(2, 3)}),), _safetensors()
    ),
    "imported": Parser(_read_checkpoint, _PT, st.binary(max_size=64)),
    "solution": Parser(_read_solution, (_a_solution(),), _safetensors()),
}

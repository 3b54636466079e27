"""Files made to exhaust memory or time: one clear error each, within limits of both.

Every file is read in a process of its own, with limits that the system enforces on memory and
processor time; what it took is measured there.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reliability.laws import expect
from surfing import Solution
from surfing.cli.inputs import read_measurements
from surfing.errors import SurfingError
from surfing.problem import ForwardModel
from surfing.trajectory import Trajectory, import_checkpoints
from surfing.trajectory.manifest import Manifest, _sealed, encode

__all__ = ["HOSTILE", "MOST_MIB", "MOST_SECONDS", "Attack", "run", "withstand"]

MOST_MIB = 768
"""What any of them may take beyond what the imports took."""
MOST_SECONDS = 20


@dataclass(frozen=True)
class Attack:
    """A file, or a folder, and who reads it.

    Args:
        lay: puts it into a folder.
        read: reads it there, as a user would.
    """

    lay: Callable[[Path], object]
    read: Callable[[Path], object]


def run(*, seed: int) -> dict[str, Any]:
    """All of them; what each took, and what was said.

    Raises:
        Violation: one was accepted, broke a limit, or ended in something else than our error.
    """
    del seed
    return {
        "limits": {"mib": MOST_MIB, "seconds": MOST_SECONDS},
        "attacks": {name: withstand(attack) for name, attack in HOSTILE.items()},
    }


def withstand(attack: Attack) -> dict[str, Any]:
    """Read it in a child with limits; what it took."""
    with tempfile.TemporaryDirectory() as folder:
        attack.lay(Path(folder))
        answer = _in_child(lambda: _read(attack, Path(folder)))
    found: dict[str, Any] = json.loads(answer)
    expect(found["kind"] == "SurfingError", "one clear error of this package", found)
    expect(len(found["said"]) < 1000, "in a few lines", found["said"])
    expect(found["mib"] <= MOST_MIB, "within memory", found)
    expect(found["seconds"] <= MOST_SECONDS, "within time", found)
    return {key: found[key] for key in ("said", "mib", "seconds")}


def _in_child(work: Callable[[], dict[str, Any]]) -> str:
    """The child's answer; it also answers when a limit kills it, by nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer: dict[str, Any] = {"kind": "no answer", "said": ""}
        try:
            answer = work()
        finally:
            os.write(writing, json.dumps(answer).encode()[:60_000])
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        answer_text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    expect(status == 0 and answer_text != "", "it is survived", status)
    return answer_text


def _read(attack: Attack, folder: Path) -> dict[str, Any]:
    held = _status("VmSize")
    most = int((held + MOST_MIB) * (1 << 20))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    Path("/proc/self/clear_refs").write_text("5")
    before, began = _status("VmRSS"), time.process_time()
    kind, said = "accepted", ""
    try:
        attack.read(folder)
    except SurfingError as error:
        kind, said = "SurfingError", f"{type(error).__name__}: {error}".replace(str(folder), ".")
    except BaseException as error:
        kind, said = type(error).__name__, str(error)[:500]
    grown = max(0.0, _status("VmHWM") - before)
    seconds = round(time.process_time() - began, 2)  # a busy machine is no defect
    return {"kind": kind, "said": said, "mib": round(grown, 1), "seconds": seconds}


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status: expected a line {field}.")


# --- who reads


def _opened(folder: Path) -> object:
    return Trajectory.open(folder).verify()


def _used(folder: Path) -> object:
    trajectory = Trajectory.open(folder)
    y = torch.zeros(1, 1, 8, 8)
    return ForwardModel(trajectory).problem(y)


def _imported(folder: Path) -> object:
    return import_checkpoints(folder, folder / "out")


def _measured(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        y = read_measurements(folder / name)
        return np.asarray(y[:1]).sum()

    return read


def _solved(folder: Path) -> object:
    return Solution.load(folder / "s.safetensors")


# --- what they read


def _manifest(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "manifest.json").write_bytes(data)


def _resealed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def lay(folder: Path) -> object:
        content = _whole(folder)
        change(content)
        return (folder / "manifest.json").write_bytes(_sealed(content))

    return lay


def _whole(folder: Path) -> dict[str, Any]:
    state = {"1.weight": torch.ones(64, 3)}
    Trajectory.from_state_dicts([(0, state), (1, state)]).save(folder)
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    content.pop("sha256")
    content["latent"] = {"law": "normal", "dim": 3}
    return content


def _architecture(**arguments: int) -> Callable[[Path], object]:
    described = {"latent_dim": 3, "hidden": 4, "image_size": 8} | arguments
    return _resealed(
        lambda content: content.update(architecture={"name": "mlp", "arguments": described})
    )


def _entry(**changes: Any) -> Callable[[Path], object]:
    return _resealed(lambda content: content["checkpoints"][1].update(changes))


def _linked(folder: Path) -> None:
    _whole(folder)
    victim = folder / "step-000000001.safetensors"
    victim.rename(folder / "elsewhere")
    victim.symlink_to(folder / "elsewhere")


def _checkpoint(data: bytes, *, holes: int = 0) -> Callable[[Path], object]:
    """A trajectory whose second file is this, with a right hash; or one that is mostly a hole."""

    def lay(folder: Path) -> None:
        import hashlib

        content = _whole(folder)
        path = folder / "step-000000001.safetensors"
        path.write_bytes(data)
        if holes:
            os.truncate(path, holes)
        size = path.stat().st_size
        digest = "0" * 64 if holes else hashlib.sha256(data).hexdigest()
        content["checkpoints"][1].update(bytes=size, sha256=digest)
        (folder / "manifest.json").write_bytes(_sealed(content))

    return lay


def _named(name: str, data: bytes, *, holes: int = 0) -> Callable[[Path], object]:
    def lay(folder: Path) -> None:
        (folder / name).write_bytes(data)
        if holes:
            os.truncate(folder / name, holes)

    return lay


def _header(length: int | None = None, data: bytes = b"", **tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(*shape: int, end: int = 0) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [0, end]}


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _npy(shape: str, descr: str = "'<f4'", data: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _zip(members: dict[str, bytes], *, compressed: bool = True) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _overlapping(copies: int = 2000, size: int = 1 << 20) -> bytes:
    """A stored archive whose entries all are the same bytes: 1 MiB that claims to be 2 GiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data/0", bytes(size))
        first = archive.infolist()[0]
        for number in range(1, copies):
            twin = zipfile.ZipInfo(f"archive/data/{number}")
            for field in ("CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(twin, field, getattr(first, field))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    return buffer.getvalue()


def _pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class _Code:
    """What runs when an unwary reader unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os._exit, (9,))


_BLANK = encode(Manifest())

HOSTILE: dict[str, Attack] = {
    # the manifest
    "manifest: a million entries": Attack(
        _manifest(_BLANK.replace(b'"checkpoints": []', b'"checkpoints": [%b1]' % (b"1," * 10**6))),
        _opened,
    ),
    "manifest: eight million brackets": Attack(_manifest(b"[" * (8 << 20)), _opened),
    "manifest: four million empty lists": Attack(
        _manifest(b"[" + b"[]," * 2_700_000 + b"[]]"), _opened
    ),
    "manifest: one long number": Attack(_manifest(b"1" * (8 << 20)), _opened),
    "manifest: a sparse terabyte": Attack(_named("manifest.json", b"{", holes=1 << 40), _opened),
    "manifest: an absolute path": Attack(_entry(file="/etc/passwd.safetensors"), _opened),
    "manifest: a path upwards": Attack(_entry(file="../x.safetensors"), _opened),
    "manifest: a link": Attack(_linked, _opened),
    "manifest: a size beyond 64 bits": Attack(_entry(bytes=1 << 70), _opened),
    "manifest: a step beyond 64 bits": Attack(_entry(step=10**400), _opened),
    "manifest: a latent of 10^12": Attack(
        _resealed(lambda c: c["latent"].update(dim=10**12)), _used
    ),
    "architecture: 32,768 units wide": Attack(_architecture(hidden=1 << 15), _used),
    "architecture: 10^12 units wide": Attack(_architecture(hidden=10**12), _used),
    "architecture: 1,000 layers": Attack(_architecture(layers=1000, hidden=1 << 15), _used),
    "architecture: 10^9 layers": Attack(_architecture(layers=10**9), _used),
    # a checkpoint's file
    "checkpoint: a header of 2^62 bytes": Attack(_checkpoint(_header(1 << 62)), _opened),
    "checkpoint: a header of 14 MB of lists": Attack(
        _checkpoint(_text(b'{"a":[' + b"[]," * 4_600_000 + b"[]]}")), _opened
    ),
    "checkpoint: deep JSON": Attack(_checkpoint(_text(b"[" * 10**6)), _opened),
    "checkpoint: a shape of 2^40": Attack(_checkpoint(_header(w=_tensor(1 << 40))), _opened),
    "checkpoint: a shape that overflows": Attack(
        _checkpoint(_header(w=_tensor(1 << 32, 1 << 32))), _opened
    ),
    "checkpoint: a sparse terabyte": Attack(_checkpoint(b"", holes=1 << 40), _opened),
    "checkpoint: ties to nothing": Attack(
        _checkpoint(_header(__metadata__={"tied": '{"a": "b"}'})), _opened
    ),
    # somebody's files
    "import: code in a pickle": Attack(_named("g_1.pt", _pickled({"w": _Code()})), _imported),
    "import: a compressed archive": Attack(
        _named("g_1.pt", _zip({"archive/data.pkl": bytes(64 << 20)})), _imported
    ),
    "import: entries that share their bytes": Attack(_named("g_1.pt", _overlapping()), _imported),
    "import: a view of 10^11 numbers": Attack(
        _named("g_1.pt", _pickled({"w": torch.zeros(1).expand(10**11)})), _imported
    ),
    "import: a sparse terabyte": Attack(_named("g_1.safetensors", b"", holes=1 << 40), _imported),
    # measurements
    "npy: a shape of 10^12": Attack(_named("y.npy", _npy("(10**12,)")), _measured("y.npy")),
    "npy: 10^12 targets": Attack(_named("y.npy", _npy(f"({10**12}, 4)")), _measured("y.npy")),
    "npy: 10^12 targets of nothing": Attack(
        _named("y.npy", _npy(f"({10**12}, 0)")), _measured("y.npy")
    ),
    "npy: a shape that overflows": Attack(
        _named("y.npy", _npy(f"({1 << 63}, {1 << 63})")), _measured("y.npy")
    ),
    "npy: numbers of no size": Attack(
        _named("y.npy", _npy("(-1,)", "{}", bytes(16))), _measured("y.npy")
    ),
    "npy: a date's unit over zero": Attack(
        _named("y.npy", _npy("(2, 3)", "'<M8[s/0]'", bytes(48))), _measured("y.npy")
    ),
    "npy: objects": Attack(_named("y.npy", _npy("(2, 2)", "'|O'", b"\x80")), _measured("y.npy")),
    "npz: a bomb": Attack(
        _named("y.npz", _zip({"y.npy": _npy("(1, 67108864)", data=bytes(256 << 20))})),
        _measured("y.npz"),
    ),
    "npz: a member that claims 40 GB": Attack(
        _named("y.npz", _zip({"y.npy": _npy(f"(1, {10**10})")})), _measured("y.npz")
    ),
    "safetensors: a header of 2^62 bytes": Attack(
        _named("y.safetensors", _header(1 << 62)), _measured("y.safetensors")
    ),
    "safetensors: 10^12 targets of nothing": Attack(
        _named("y.safetensors", _header(y=_tensor(10**12, 0))), _measured("y.safetensors")
    ),
    "solution: a header of 2^62 bytes": Attack(_named("s.safetensors", _header(1 << 62)), _solved),
}


if __name__ == "__main__":
    json.dump(run(seed=0), sys.stdout, indent=1)

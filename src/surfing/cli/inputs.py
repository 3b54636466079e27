"""What the command line names, read and checked: runs, generators, laws, measurements, devices."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import os
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from surfing.architectures import generator_from_manifest
from surfing.errors import InputError, MeasurementError, SurfingError
from surfing.execution.parquet import Column
from surfing.generator import Generator, State
from surfing.latents import Latent, Normal, Uniform
from surfing.problem.operators import OPERATORS
from surfing.trajectory import Checkpoint, Trajectory
from surfing.trajectory.foreign import Selection, read_foreign
from surfing.trajectory.sharded import joined

__all__ = [
    "PACKAGED",
    "digest",
    "load_generator",
    "load_operator",
    "load_weights",
    "make_module",
    "open_run",
    "pick_device",
    "read_array",
    "read_given",
    "read_latent",
    "read_measurements",
    "read_noise",
    "read_prior",
    "read_rows",
    "source_digest",
    "state_digest",
]

_MAX_RATIO, _MAX_SMALL, _MAX_HEADER = 100, 64 << 20, 10_000
_NUMBERS = re.compile(r"[<>=|]?[a-z][1-9]\d?")

PACKAGED = "packaged"
"""The RUN that needs no folder: the trajectory that comes with the package."""


def open_run(run: str, device: torch.device, *, latent: str | None = None) -> Trajectory:
    """A trajectory by folder, or the packaged one, its tensors on a device.

    Raises:
        SurfingError: there is none, or it is damaged.
    """
    law = None if latent is None else read_latent(latent)
    if run == PACKAGED and not Path(run).exists():
        from surfing.zoo.packaged import packaged

        trajectory = packaged()
    else:
        trajectory = Trajectory.open(run, latent=law)
    if device.type == "cpu":
        return trajectory
    moved = [Checkpoint(c.step, _Moved(c, device), c.drift) for c in trajectory]
    return Trajectory(
        moved,
        latent=trajectory.latent,
        architecture=trajectory.architecture,
        metadata=trajectory.metadata,
        path=trajectory.path,
    )


@dataclass(frozen=True)
class _Moved:
    """A checkpoint's tensors, on another device each time they are asked for."""

    checkpoint: Checkpoint
    device: torch.device

    def load(self) -> State:
        """The tensors by name."""
        return {name: t.to(self.device) for name, t in self.checkpoint.state.items()}


def pick_device(name: str) -> torch.device:
    """A device by name, one that is there.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # each backend has its own ways to say no
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device: expected auto, cpu or a device of this machine, got {name!r} ({reason})."
        ) from error
    return device


def load_generator(spec: str | None, trajectory: Trajectory) -> nn.Module:
    """The generator's architecture: `package.module:callable`, or what the manifest names.

    Raises:
        InputError: nothing of that name, or it makes no module.
    """
    if spec is None:
        if trajectory.architecture is None:
            raise InputError(
                "--generator: the trajectory does not name an architecture of the zoo; say which "
                "module was trained: --generator package.module:callable"
            )
        return generator_from_manifest(trajectory.architecture, trajectory[-1].state)
    return make_module(spec)


def make_module(spec: str) -> nn.Module:
    """What ``package.module:callable`` makes, called without arguments; or a module itself.

    Raises:
        InputError: nothing of that name, or it makes no module.
    """
    made = _call(_resolve(spec), spec)
    if not isinstance(made, nn.Module):
        raise InputError(
            f"--generator: expected {spec} to make a torch.nn.Module, got {type(made).__name__}."
        )
    return made


def load_operator(spec: str | None) -> Any:
    """An operator: a name of ours as it is, or what ``package.module:callable`` is.

    Raises:
        InputError: nothing of that name, or it can't be called.
    """
    if spec is None or spec.partition(":")[0] in OPERATORS:
        return spec
    if "." not in spec.partition(":")[0] and not Path(f"{spec.partition(':')[0]}.py").is_file():
        return spec  # a name that nobody knows is said with those that are known
    found = _resolve(spec, "--operator")
    if not callable(found) and not hasattr(found, "A"):
        raise InputError(
            f"--operator: expected {spec} to be a function of signals, or an object with .A(x), "
            f"got {type(found).__name__}.",
            argument="--operator",
        )
    return found


def read_array(option: str, path: Path) -> np.ndarray:
    """An array of numbers from a .npy file.

    Raises:
        InputError: no such file, or not one of numbers.
    """
    if path.suffix != ".npy" or not path.is_file():
        raise InputError(f"{option}: expected a .npy file, got {path}.", argument=option)
    try:
        return np.array(_read_npy(path, bare=True))
    except SurfingError:
        raise
    except Exception as error:
        raise InputError(
            f"{option}: {path} could not be read ({_first(error)}).", argument=option
        ) from error


def read_noise(text: str | None) -> float | np.ndarray | None:
    """A number, or a file of standard deviations."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return read_array("--noise", Path(text))


def read_prior(text: str | None) -> float | str | None:
    """A weight, or law."""
    if text is None or text == "law":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--prior: expected a number or law, got {text!r}.", argument="--prior"
        ) from None


def read_given(pairs: list[str] | None) -> dict[str, np.ndarray] | None:
    """NAME=FILE.npy, each an array with one entry for each target."""
    if not pairs:
        return None
    read = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--given: expected NAME=FILE.npy, got {pair!r}.", argument="--given")
        read[name] = read_array("--given", Path(path))
    return read


def read_rows(option: str, path: Path, count: int | None = None) -> Tensor:
    """The first rows of a file in memory, or all of them; see :func:`read_measurements`.

    Raises:
        MeasurementError: as there, with the option's name.
    """
    try:
        y = read_measurements(path)
        if isinstance(y, Column):
            raise _refused("expected .npy, .npz or .safetensors, got .parquet.")
    except MeasurementError as error:
        said = str(error).removeprefix("--measurements: ")
        raise MeasurementError(f"{option}: {said}", argument=option) from error
    if count is not None and count > len(y):
        raise InputError(
            f"--targets: expected at most the {len(y)} lines of {path}, got {count}.",
            argument="--targets",
        )
    part = y[: len(y) if count is None else count]
    if isinstance(part, Tensor):
        return part
    return torch.from_numpy(np.array(part, dtype=part.dtype.newbyteorder("=")))


def load_weights(module: nn.Module, path: Path, *, prefix: str, key: str | None) -> None:
    """Put the weights of one file into a module; no code in the file is run.

    Raises:
        InputError: no such file, it is damaged, or holds no generator.
        GeneratorError: the weights don't fit the module.
    """
    if not path.is_file():
        raise InputError(f"--weights: {path} is no file.")
    beside = joined(p.name for p in path.parent.iterdir())
    parts = next((parts for parts in beside.values() if path.name in parts), (path.name,))
    state = read_foreign([path.parent / part for part in parts], Selection(prefix, key))
    Generator(module).check(state)
    module.load_state_dict(state)


def _resolve(spec: str, option: str = "--generator") -> object:
    module, _, name = spec.partition(":")
    if not module or not name:
        raise InputError(f"{option}: expected package.module:callable, got {spec!r}.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a script beside the user, as `python -m` would find it
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise InputError(f"{option}: {spec} could not be imported ({_first(error)}).") from error
    return found


def _call(found: object, spec: str) -> object:
    if isinstance(found, nn.Module) or not callable(found):
        return found
    try:
        return found()
    except Exception as error:
        raise InputError(
            f"--generator: {spec}() failed ({_first(error)}); it is called without arguments."
        ) from error


def read_latent(text: str) -> Latent:
    """``normal:K`` or ``uniform:K`` (on [-1, 1]) or ``uniform:K:LOW:HIGH``.

    Raises:
        InputError: neither.

    >>> read_latent("uniform:3:0:1")
    Uniform(dim=3, low=0.0, high=1.0)
    """
    law, *numbers = text.split(":")
    try:
        if law == "normal" and len(numbers) == 1:
            return Normal(int(numbers[0]))
        if law == "uniform" and len(numbers) in (1, 3):
            return Uniform(int(numbers[0]), *map(float, numbers[1:]))
    except ValueError as error:
        if isinstance(error, SurfingError):
            raise
    raise InputError(f"--latent: expected normal:K, uniform:K or uniform:K:LOW:HIGH, got {text!r}.")


def read_measurements(path: Path) -> np.ndarray | Tensor | Column:
    """Measurements from a file, one row per target, not yet in memory where that can be.

    Args:
        path: .npy; .npz or .safetensors with one array, or one that is called y; .parquet or a
            folder of such, with one column, or one that is called y.

    Raises:
        MeasurementError: no such file, of another kind, damaged, or holding no array or several.
    """
    readers: dict[str, Callable[[Path], np.ndarray | Tensor | Column]] = {
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".safetensors": _read_safetensors,
        ".parquet": Column.open,
    }
    kind = ".parquet" if path.is_dir() else path.suffix
    if not path.is_file() and not path.is_dir():
        raise _refused(f"{path} is no file.")
    if kind not in readers:
        raise _refused(f"expected a file that ends in {', '.join(readers)}, got {path.name}.")
    try:
        y = readers[kind](path)
    except MeasurementError as error:
        if error.argument == "--measurements":
            raise
        raise _refused(str(error)) from error
    except SurfingError:
        raise
    except Exception as error:  # each format, and each way to damage it, has its own
        raise _refused(f"{path} could not be read ({_first(error)}).") from error
    _check_dtype(y)
    if y.ndim < 2:
        raise _refused(
            f"expected (targets, ...), got shape {tuple(y.shape)}; a single "
            "target is one line: y[None]."
        )
    if 0 in y.shape:
        nothing = "target" if len(y) == 0 else "measurement"
        raise _refused(f"{path} holds no {nothing}: shape {(*y.shape,)}.")
    return y


def _refused(said: str) -> MeasurementError:
    return MeasurementError(f"--measurements: {said}", argument="--measurements")


def _check_dtype(y: np.ndarray | Tensor | Column) -> None:
    if isinstance(y, Tensor):
        known = y.dtype in (torch.float16, torch.float32, torch.float64) or y.is_complex()
    else:
        known = y.dtype.kind in "fc" and y.dtype.itemsize <= (8 if y.dtype.kind == "f" else 16)
    if not known:
        raise _refused(
            "expected floating point numbers of at most 64 bits, got "
            f"{y.dtype!s:.80}; convert them."
        )


def _read_npy(path: Path, *, bare: bool = False) -> np.ndarray:
    if not bare:
        with path.open("rb") as file:
            _check_header(file)
    y: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return y


def _check_header(file: IO[bytes]) -> None:
    """Numbers and sizes only: numpy divides by sizes and units of zero, which ends the process."""
    major, _ = np.lib.format.read_magic(file)
    length = int.from_bytes(file.read(2 if major == 1 else 4), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"a header of {length} bytes")
    header = ast.literal_eval(file.read(length).decode("latin-1").strip())
    if not (isinstance(header["descr"], str) and _NUMBERS.fullmatch(header["descr"])):
        raise _refused(
            "expected floating point numbers of at most 64 bits, got "
            f"{header['descr']!s:.80}; convert them."
        )
    if not all(type(size) is int and size >= 0 for size in header["shape"]):
        raise ValueError(f"a shape of {header['shape']!s:.80}")


def _read_npz(path: Path) -> np.ndarray:
    _refuse_bomb(path)
    with np.load(path, allow_pickle=False) as archive:
        name = _only(path, archive.files)
        inside = archive.zip.namelist()
        with archive.zip.open(name if name in inside else f"{name}.npy") as file:
            _check_header(file)
        y: np.ndarray = archive[name]
    return y


def _refuse_bomb(path: Path) -> None:
    """A small archive can claim to hold far more than the memory there is."""
    with zipfile.ZipFile(path) as archive:
        inside = sum(member.file_size for member in archive.infolist())
    if inside > max(_MAX_RATIO * path.stat().st_size, _MAX_SMALL):
        raise _refused(
            f"{path} of {path.stat().st_size} bytes claims to hold {inside}; save "
            "the array as .npy, which is read as it is needed."
        )


def _read_safetensors(path: Path) -> Tensor:
    with safe_open(path, framework="pt") as handle:
        y: Tensor = handle.get_tensor(_only(path, list(handle.keys())))
    return y.float() if y.dtype is torch.bfloat16 else y


def _only(path: Path, names: list[str]) -> str:
    if "y" in names:
        return "y"
    if len(names) != 1:
        raise _refused(
            f"expected one array, or one called y, in {path}; found "
            f"{', '.join(sorted(names)) or 'none'}."
        )
    return names[0]


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the files in a folder, by name."""
    if path.is_dir():
        lines = [f"{file.name} {digest(file)}" for file in sorted(path.glob("*.parquet"))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(made: nn.Module) -> str:
    """SHA-256 of what a generator is: its tensors' names and shapes, and its printed form."""
    shapes = [(name, tuple(t.shape)) for name, t in made.state_dict().items()]
    return hashlib.sha256(f"{shapes}\n{made!r}".encode()).hexdigest()


def state_digest(trajectory: Trajectory) -> str:
    """SHA-256 of the trajectory's manifest, which holds the hash of each of its files."""
    if trajectory.path is None:
        raise InputError("RUN: expected a trajectory in a folder, got one in memory.")
    return digest(trajectory.path / "manifest.json")


def _first(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {inspect.cleandoc(lines[0])}" if lines else repr(error)

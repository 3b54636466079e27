"""A state dict as the bytes of a safetensors file, and back.

Floating tensors are stored in the trajectory's dtype, everything else as it is. Tensors that share
their storage (tied weights) are stored once and are one object again when read, because a module
with tied weights takes one tensor for both names. Half precision comes back as single precision.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from surfing.errors import InputError
from surfing.generator import State

__all__ = [
    "combine",
    "signature",
    "snapshot",
    "state_from_bytes",
    "state_to_bytes",
    "without_wrappers",
]

MAX_HEADER_BYTES = 16 << 20
_TIED = "tied"
_WRAPPERS = ("module.", "_orig_mod.")


def snapshot(state: Mapping[str, object], what: str = "state_dict()") -> dict[str, Tensor]:
    """A copy of a live state dict that training can't change; shared tensors stay shared.

    Raises:
        InputError: it is no mapping of names to dense tensors.
    """
    if not isinstance(state, Mapping):
        raise InputError(f"{what}: expected a mapping of names to tensors, got {_kind(state)}.")
    copies: dict[Hashable, Tensor] = {}
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not _is_dense(tensor):
            raise InputError(
                f"{what}: expected a dense tensor under {name!r}, got {_kind(tensor)}. Keep "
                "parameters and buffers only."
            )
        assert isinstance(tensor, Tensor)  # for the type checker: _is_dense saw to it
        identity = _identity(name, tensor)
        if identity not in copies:
            copies[identity] = tensor.detach().clone(memory_format=torch.contiguous_format)
        out[name] = copies[identity]
    if not out:
        raise InputError(f"{what}: expected parameters or buffers, found none.")
    return out


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip what DDP, ``torch.compile`` and ``AveragedModel`` put before every key."""
    wrapped = any(name.startswith("module.") for name in state)
    out = {name: t for name, t in state.items() if not wrapped or name != "n_averaged"}
    for _ in _WRAPPERS:
        for wrapper in _WRAPPERS:
            if out and all(name.startswith(wrapper) for name in out):
                out = {name[len(wrapper) :]: tensor for name, tensor in out.items()}
    return out


def combine(states: Sequence[State], rule: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Apply a rule to the tensors of each name; tensors that are one object stay one object."""
    made: dict[tuple[int, ...], Tensor] = {}
    out: dict[str, Tensor] = {}
    for name in states[0]:
        tensors = [state[name] for state in states]
        identity = tuple(id(tensor) for tensor in tensors)
        if identity not in made:
            made[identity] = rule(*tensors)
        out[name] = made[identity]
    return out


def signature(state: State) -> dict[str, tuple[int, ...]]:
    """Names and shapes: what two checkpoints of one generator have in common."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def state_to_bytes(state: State, dtype: str) -> bytes:
    """The safetensors file of a checkpoint, the same bytes for the same state."""
    first: dict[int, str] = {}
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in state.items():
        if id(tensor) in first:
            tied[name] = first[id(tensor)]
            continue
        first[id(tensor)] = name
        stored[name] = _cast(tensor.detach().cpu(), getattr(torch, dtype)).contiguous()
    # One key only: the order of several is not deterministic.
    metadata = {_TIED: json.dumps(tied, sort_keys=True)} if tied else None
    return save(stored, metadata)


def state_from_bytes(data: bytes) -> dict[str, Tensor]:
    """Read what :func:`state_to_bytes` (or any other safetensors writer) wrote.

    Raises:
        ValueError: the bytes are no such file, or its header is unreasonable.
    """
    tied = _tied_names(data)
    try:
        state = load(data)
    except (SafetensorError, RuntimeError, ValueError, TypeError, OverflowError, KeyError) as error:
        raise ValueError(f"{error}") from error
    for name, tensor in state.items():
        if tensor.dtype == torch.float16:
            state[name] = tensor.float()
    for name, other in tied.items():
        if name in state or other not in state:
            raise ValueError(f"{name!r} can't be tied to {other!r}")
        state[name] = state[other]
    return dict(sorted(state.items()))


def _tied_names(data: bytes) -> dict[str, str]:
    if len(data) < 8:
        raise ValueError("it ends before its header")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise ValueError(f"its header claims {length} bytes")
    try:
        header = json.loads(data[8 : 8 + length])
        tied = json.loads(header.get("__metadata__", {}).get(_TIED, "{}"))
        pairs = {str(name): str(other) for name, other in tied.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"its header is not readable ({type(error).__name__})") from error
    return pairs


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    if dtype == torch.float16 and bool((cast.isinf() & tensor.isfinite()).any()):
        return (
            tensor.float()
        )  # out of half precision's range (6.5e4), e.g. a large running variance
    return cast


def _is_dense(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _identity(name: str, tensor: Tensor) -> Hashable:
    if tensor.numel() == 0:
        return name
    return (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor that is {value.layout}, on {value.device}"
    return f"{type(value).__name__}"

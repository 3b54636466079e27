"""Objects whose tensors the processes of a node share instead of each having a copy."""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surfing.errors import InputError, require

__all__ = ["Packed", "pack", "unpack"]


@dataclass(frozen=True)
class Packed:
    """An object without its tensors' bytes, and these.

    A cluster's object store hands arrays out without copying them, but not torch's tensors.
    """

    stream: bytes
    buffers: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.stream) + sum(buffer.nbytes for buffer in self.buffers)


def pack(value: object) -> Packed:
    """Take an object apart.

    Functions and classes of the caller's own script go along by value. This is between processes
    of one run: nothing of it is written to a file.

    Raises:
        InputError: it can't be sent to another process.
    """
    cloudpickle = require("ray", "ray").cloudpickle
    found: list[pickle.PickleBuffer] = []

    class Packer(cloudpickle.CloudPickler):  # type: ignore[misc, name-defined]
        def reducer_override(self, item: Any) -> Any:
            if type(item) is Tensor and item.layout is torch.strided and not item.requires_grad:
                flat = item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                facts = (item.dtype, tuple(item.shape), str(item.device))
                buffer = pickle.PickleBuffer(flat)  # type: ignore[arg-type]
                return _rebuild, (buffer, *facts)
            return super().reducer_override(item)

    stream = io.BytesIO()
    try:
        Packer(stream, protocol=5, buffer_callback=found.append).dump(value)
    except Exception as error:  # whatever the object's own parts say
        raise InputError(
            f"executor: the generator, operator or trajectory can't be sent to a worker ({error}); "
            "give an operator by name, or one that can be pickled."
        ) from error
    buffers = tuple(np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in found)
    return Packed(stream.getvalue(), buffers)


def unpack(packed: Packed) -> Any:
    """Put it together again; tensors use the buffers' own memory, which nobody may write to."""
    return pickle.loads(packed.stream, buffers=packed.buffers)


def _rebuild(buffer: Any, dtype: torch.dtype, shape: tuple[int, ...], device: str) -> Tensor:
    if 0 in shape:
        return torch.empty(shape, dtype=dtype, device=device)
    with warnings.catch_warnings():
        # torch warns that the memory is read-only. Nothing here writes into a theta.
        warnings.simplefilter("ignore", UserWarning)
        flat = torch.frombuffer(buffer, dtype=torch.uint8)
    return flat.view(dtype).reshape(shape).to(device)

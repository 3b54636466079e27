"""Networks of a ride, each brought to the device when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import torch

from surfing.generator import State
from surfing.trajectory import Trajectory
from surfing.trajectory.checkpoint import Checkpoint, InMemory

__all__ = ["Host", "Weights", "kept_on_host"]


@dataclass(frozen=True)
class Weights(Sequence[State]):
    """A sequence of thetas that is never in memory as a whole.

    Args:
        read: theta of a place.
        places: of the sequence, in order.
    """

    read: Callable[[int], State]
    places: Sequence[int]

    @classmethod
    def of(cls, trajectory: Trajectory) -> Weights:
        """All of a trajectory."""
        return cls(lambda place: trajectory[place].state, range(len(trajectory)))

    def at(self, places: Sequence[int]) -> Weights:
        """Others, or in another order."""
        return Weights(self.read, [self.places[place] for place in places])

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> Weights: ...
    def __getitem__(self, index: int | slice) -> State | Weights:
        if isinstance(index, slice):
            return Weights(self.read, self.places[index])
        return self.read(self.places[index])


@dataclass(frozen=True)
class Host:
    """Tensors that wait beside a device: a hundred networks at full size would fill 2.6 GB of it.

    Args:
        state: on the host, in pinned memory where the device is a GPU.
        device: where they are wanted.
    """

    state: State
    device: torch.device

    def load(self) -> State:
        """The tensors by name, on the device."""
        return {n: t.to(self.device, non_blocking=True) for n, t in self.state.items()}


def kept_on_host(step: int, state: State, device: torch.device) -> Checkpoint:
    """A checkpoint that leaves the memory of `device` alone; a plain one where that is the host."""
    host = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    if device.type == "cpu":
        return Checkpoint(step, InMemory(host))
    if device.type == "cuda":
        host = {name: value.pin_memory() for name, value in host.items()}
    return Checkpoint(step, Host(host, device))

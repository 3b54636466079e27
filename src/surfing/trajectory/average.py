"""A running average of weights and buffers, step by step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from surfing.generator import State
from surfing.trajectory.tensors import combine, snapshot

__all__ = ["RunningAverage"]


class RunningAverage:
    """theta_bar <- decay^n theta_bar + (1 - decay^n) theta, n the steps since the last update.

    Batch-norm statistics are averaged like weights, integers are copied. It starts at the random
    weights, so its first stages lag: about 1 / (1 - decay) steps behind.

    Args:
        state: where it starts.
        decay: in (0, 1), per step.
    """

    def __init__(self, state: State, decay: float) -> None:
        self.decay = decay
        self.restart(state, 0)

    def restart(self, state: State, step: int) -> None:
        """Begin again from a state at a step."""
        self.state: dict[str, Tensor] = snapshot(combine([state], _at_least_single))
        self.step: int = step

    @torch.no_grad()
    def follow(self, live: Mapping[str, Tensor], step: int) -> None:
        """Take the live state of a later step in."""
        if step <= self.step:
            return
        weight = 1 - self.decay ** (step - self.step)
        done: set[int] = set()
        for name, average in self.state.items():
            if id(average) in done:  # tied weights are one tensor: once is enough
                continue
            done.add(id(average))
            value = live[name].detach()
            if average.device != value.device:
                average.data = average.to(value.device)
            if average.is_floating_point() or average.is_complex():
                average.lerp_(value.to(average.dtype), weight)
            else:
                average.copy_(value)
        self.step = step


def _at_least_single(tensor: Tensor) -> Tensor:
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.float() if half else tensor

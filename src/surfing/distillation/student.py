"""The copy that is trained, level by level."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.check import integer, number
from surfing.errors import SurfingError
from surfing.generator import State
from surfing.trajectory.tensors import snapshot

if TYPE_CHECKING:
    from surfing.distillation.curriculum import Target
    from surfing.distillation.teacher import Teacher

__all__ = ["Student", "Training"]

_BETAS = (0.9, 0.99)
_LAST_RATE = 0.02
_FIRST_LEVEL = 0.1
FORWARD_AND_REVERSE = 3
"""Forward-equivalents of a forward pass and the reverse pass through it."""


@dataclass(frozen=True)
class Training:
    """How a copy is trained at one level: Adam, begun anew, its rate falling along half a cosine.

    The rate grows with the level: the first copies lie near the generator, and steps larger than
    that distance would open a gap before it (measured on two generators: 6% instead of 20% of its
    variation). Farther off, larger steps forget more.

    Attributes:
        steps: of Adam.
        batch_size: latents per step.
        learning_rate: of the first step at level 1; a tenth of it at level 0.

    Raises:
        InputError: a number out of range.
    """

    steps: int = 60
    batch_size: int = 128
    learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        integer("steps", self.steps, low=1)
        integer("batch_size", self.batch_size, low=1)
        number("learning_rate", self.learning_rate, low=0, open_low=True)

    def rate(self, step: int, level: float) -> float:
        """The learning rate of a step, counted from 0."""
        falling = (1 + math.cos(math.pi * step / self.steps)) / 2
        growing = _FIRST_LEVEL + (1 - _FIRST_LEVEL) * level
        return self.learning_rate * growing * (falling + _LAST_RATE)


class Student:
    """A copy of the generator, all of its parameters trainable.

    It stays in eval mode: batch norm keeps the generator's statistics, and its scale and shift are
    trained with the rest. So what a stage computes in eval mode is what its training saw, dropout
    is off, and a module that knows nothing of training will do.

    Args:
        teacher: the generator.
        training: how.
        seed: of the latents.
    """

    def __init__(self, teacher: Teacher, training: Training, *, seed: int) -> None:
        self._teacher = teacher
        self._training = training
        self._seed = seed
        self._module = copy.deepcopy(teacher.module).eval()
        self._parameters = [p for p in self._module.parameters() if p.is_floating_point()]
        for parameter in self._parameters:
            parameter.requires_grad_()

    @property
    def state(self) -> dict[str, Tensor]:
        """Its parameters and buffers, copied."""
        return snapshot(self._module.state_dict())

    def restore(self, state: State) -> None:
        """Go on from the weights of a stage."""
        self._module.load_state_dict(dict(state))

    def learn(self, target: Target, level: float, stage: int) -> float:
        """Train at one level, from the weights at hand.

        Args:
            target: what to imitate.
            level: of the curriculum.
            stage: its number, for the latents' seed.

        Returns:
            The last loss: the mean squared error of a signal's entries.

        Raises:
            SurfingError: the training diverged.
        """
        adam = torch.optim.Adam(self._parameters, lr=self._training.learning_rate, betas=_BETAS)
        loss = math.nan
        for step in range(self._training.steps):
            for group in adam.param_groups:
                group["lr"] = self._training.rate(step, level)
            loss = self._step(adam, target, level, stage * self._training.steps + step)
        if not math.isfinite(loss):
            raise SurfingError(
                f"distil: the copy diverged at stage {stage} (loss {loss}). Give a learning_rate "
                f"below {self._training.learning_rate}.",
                argument="learning_rate",
            )
        return loss

    def _step(self, adam: torch.optim.Adam, target: Target, level: float, number: int) -> float:
        count = self._training.batch_size
        z = self._teacher.draw(number, count, seed=self._seed)
        wanted = target(z, level)
        with torch.enable_grad():
            loss: Any = (self._module(z).flatten(1) - wanted).square().mean()
            adam.zero_grad()
            loss.backward()
        adam.step()
        self._teacher.spent += FORWARD_AND_REVERSE * count
        return float(loss.detach())

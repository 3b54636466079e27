"""What the copies imitate: the generator, made simpler and simpler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from surfing.check import integer
from surfing.distillation.affine import best_affine

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.distillation.teacher import Teacher

__all__ = ["Curriculum", "Linearisation", "Target"]

Target = Callable[["Float[Tensor, 'rows k']", float], Tensor]
"""(z, level) -> the signals to imitate at z, flattened: (rows, n)."""


@runtime_checkable
class Curriculum(Protocol):
    """A family of functions, from the generator at level 0 to the simplest at level 1.

    Any object with these members will do. Copies are trained level by level from the generator
    on, each from the one before; the trajectory has them in the other order.
    """

    @property
    def levels(self) -> tuple[float, ...]:
        """The level of every copy, rising from above 0 to at most 1."""
        ...

    def target(self, teacher: Teacher, *, seed: int) -> Target:
        """What is to be imitated, of this generator."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What the manifest keeps of it: JSON values."""
        ...


@dataclass(frozen=True)
class Linearisation:
    """(1 - w) G(z) + w L(z), L the best affine approximation of G under the law of z.

    At the last level the risk of a linear operator is that of a linear least-squares problem as
    far as the copy can imitate one: a bowl, where the first step goes to the bottom. Any law of
    z will do.

    Attributes:
        stages: copies, at the weights w = 1/stages ... 1.
        samples: latents that L is fitted to; at least eight times as many as z has numbers.
    """

    stages: int = 10
    samples: int = 4096

    def __post_init__(self) -> None:
        integer("stages", self.stages, low=1)
        integer("samples", self.samples, low=1)

    @property
    def levels(self) -> tuple[float, ...]:
        """Evenly spaced."""
        return tuple(i / self.stages for i in range(1, self.stages + 1))

    def target(self, teacher: Teacher, *, seed: int) -> Target:
        """See :class:`Curriculum`."""
        affine = best_affine(teacher, max(self.samples, 8 * teacher.latent.dim), seed=seed)

        def blend(z: Tensor, level: float) -> Tensor:
            return torch.lerp(teacher(z), affine(z), level)

        return blend

    def to_dict(self) -> dict[str, Any]:
        """See :class:`Curriculum`."""
        return {"name": "linearisation", **asdict(self)}

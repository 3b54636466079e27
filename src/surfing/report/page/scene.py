"""What a page is made from: a solution, and as much of its surroundings as is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.status import Status

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.problem.problem import Problem
    from surfing.solution import Solution
    from surfing.trajectory import Trajectory

__all__ = ["Scene"]


@dataclass(frozen=True)
class Scene:
    """A recovery and what is known around it.

    Args:
        solution: the ride.
        title: of the page.
        trajectory: the training that was ridden.
        problem: generator, operator and measurements; surfaces need it, and the trajectory.
        beside: another solution of the same targets, by direct descent.
        truth: the latents that the measurements came from.
        x: the true signals.
        success: by method, points (forward-equivalents per target, successes, trials); those
            without trials, at budgets that pay for no run, are left out.

    Raises:
        InputError: parts that don't belong together.
    """

    solution: Solution
    title: str
    trajectory: Trajectory | None = None
    problem: Problem | None = None
    beside: Solution | None = None
    truth: Float[Tensor, "targets k"] | None = None
    x: Float[Tensor, "targets ..."] | None = None
    success: Mapping[str, Sequence[tuple[float, int, int]]] | None = None

    def __post_init__(self) -> None:
        z, x = tuple(self.solution.z.shape), tuple(self.solution.x.shape)
        if self.beside is not None and tuple(self.beside.z.shape) != z:
            raise InputError(f"beside: expected latents {z}, got {tuple(self.beside.z.shape)}.")
        if self.truth is not None and tuple(self.truth.shape) != z:
            raise InputError(f"truth: expected latents {z}, got {tuple(self.truth.shape)}.")
        if self.x is not None and tuple(self.x.shape) != x:
            raise InputError(f"x: expected signals {x}, got {tuple(self.x.shape)}.")
        if self.problem is not None and len(self.problem) != len(self.solution):
            raise InputError(f"y: expected {len(self.solution)} targets, got {len(self.problem)}.")
        for name, points in (self.success or {}).items():
            sound = all(c > 0 and 0 <= met <= n for c, met, n in points)
            if not sound or not any(n > 0 for _, _, n in points):
                raise InputError(
                    f"success[{name!r}]: expected points (cost, successes, trials), cost positive, "
                    f"no more successes than trials, trials at some cost; got {points}."
                )
        last = max((record.stage for record in self.solution.stages), default=0.0)
        if self.trajectory is not None and last > len(self.trajectory) - 1:
            raise InputError(
                f"trajectory: the solution's last stage is {last:g}, beyond the last of its "
                f"{len(self.trajectory)} checkpoints; pass the trajectory that was ridden."
            )

    @property
    def has_surfaces(self) -> bool:
        """Whether there is what a surface is made of, and a plane to draw it over."""
        known = self.trajectory is not None and self.problem is not None
        return known and len(self.solution.stages) > 0 and self.solution.z.shape[1] >= 2

    def signals(self) -> Float[Tensor, "targets ..."] | None:
        """The true signals, where they are known."""
        if self.x is not None or self.problem is None or self.trajectory is None:
            return self.x
        if self.truth is not None:
            return self.problem.signals(self.trajectory[-1].state, self.truth)
        if self.problem.architecture.operator.name == "identity":
            return self.problem.y.reshape(self.solution.x.shape)
        return None

    def featured(self, count: int) -> list[int]:
        """The targets worth a surface: those that the ride met and direct descent did not, first.

        Of these the ones where it is stuck, rather than out of steps. Then the ride's failures, so
        that they can be looked at, then the rest; in order within.
        """
        met = self.solution.success.cpu()
        missed = torch.zeros_like(met) if self.beside is None else ~self.beside.success.cpu()
        rank = torch.where(met & missed, 0, torch.where(met, 2, 1))
        order = torch.argsort(rank + (self._unfinished() + self._stray()) / 2, stable=True).tolist()
        finite = torch.isfinite(self.solution.path).flatten(1).all(1).tolist()
        order = [target for target in order if finite[target]]
        won = [target for target in order if rank[target] == 0]
        lost = [target for target in order if rank[target] == 1]
        mixed = won[: max(1, 2 * count // 3)] + lost[: max(1, count // 3)]
        return (mixed + [target for target in order if target not in set(mixed)])[:count]

    def _unfinished(self) -> Tensor:
        """1 where direct descent ran out of steps: its end says little about the surface."""
        if self.beside is None:
            return torch.zeros(len(self.solution))
        limits = torch.tensor([int(Status.MAX_STEPS), int(Status.BUDGET_SPENT)])
        return torch.isin(self.beside.status.cpu(), limits).float()

    def _stray(self) -> Tensor:
        """How far out direct descent ended, in [0, 1): far ends make flat pictures."""
        if self.beside is None:
            return torch.zeros(len(self.solution))
        far = torch.nan_to_num((self.beside.z - self.solution.z).norm(dim=1).cpu().float(), 1e9)
        scale = float(self.solution.path.detach().cpu().float().norm(dim=-1).nanmedian()) + 1e-6
        return (far / (2 * scale)).floor().clamp(max=9) / 10

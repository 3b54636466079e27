"""The starts of one target as a population: they meet, one continues for all, and part at folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing import check
from surfing.problem.matrices import lowest_eigenvector

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.latents import Latent

__all__ = ["Population", "other_side"]

_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Population:
    """What the rows of one target do for one another; rows of other targets never matter.

    Where two of them stand at the same node within `merge` of each other they have become one: the
    one with the lower risk continues, the other rests and costs nothing. Where a row meets a fold,
    a resting row of its target is sent to the other side: from where the row was before, against
    the way that it was carried, along the direction that the measurements determine least.

    Args:
        merge: root mean square distance by coordinate, in standard deviations of the law; 0 for
            none.
        branch: whether resting rows are sent out again.
        mirror: whether every second start is the one before, mirrored at the law's mean: for
            networks near their random beginning z and -z lie in opposite basins.

    Source: pruning of near-duplicate starts as in botorch's homotopy; the mirrored point after
    Huang et al., "A provably convergent scheme for compressive sensing under random generative
    priors" (2018).
    """

    merge: float = 0.1
    branch: bool = True
    mirror: bool = False

    def __post_init__(self) -> None:
        check.number("merge", self.merge, low=0)

    def begin(self, z: Float[Tensor, "rows k"], *, starts: int, law: Latent) -> Tensor:
        """The starts, every second one mirrored where that is asked for."""
        if not self.mirror:
            return z
        paired = z.reshape(-1, starts, z.shape[-1]).clone()
        whole = starts - starts % 2
        paired[:, 1:whole:2] = law.project(2 * law.mean - paired[:, 0:whole:2])
        return paired.reshape(z.shape)

    def duplicates(
        self,
        z: Float[Tensor, "rows k"],
        misfit: Float[Tensor, " rows"],
        present: Bool[Tensor, " rows"],
        *,
        starts: int,
        law: Latent,
    ) -> Bool[Tensor, " rows"]:
        """Rows that lie where a better row of their target does; of equals the first continues.

        Args:
            z: of all rows, those of one target side by side.
            misfit: by which they are compared.
            present: who may be merged.
            starts: rows per target.
            law: whose standard deviation is the unit.
        """
        if self.merge == 0 or starts == 1:
            return torch.zeros_like(present)
        grouped = z.double().reshape(-1, starts, z.shape[-1])
        here, risk = present.reshape(-1, starts), misfit.reshape(-1, starts)
        size = max(
            1, _BLOCK_BYTES // (16 * starts**2 * z.shape[-1])
        )  # all pairs, and their squares
        blocks = zip(*(torch.split(t, size) for t in (grouped, here, risk)), strict=True)
        within = self.merge * law.std
        return torch.cat([_outdone(*block, within=within) for block in blocks]).flatten()

    def recruits(
        self, lost: Int[Tensor, " l"], resting: Bool[Tensor, " rows"], *, starts: int
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Lost rows that get a resting one of their target, and which."""
        waiting: dict[int, list[int]] = {}
        pairs: list[tuple[int, int]] = []
        if self.branch and len(lost):
            for row in resting.nonzero().flatten().tolist():
                waiting.setdefault(row // starts, []).append(row)
            for row in lost.tolist():
                if free := waiting.get(row // starts):
                    pairs.append((row, free.pop(0)))
        both = torch.tensor(pairs, dtype=torch.int64, device=resting.device).reshape(-1, 2)
        return both[:, 0], both[:, 1]


def _outdone(
    z: Float[Tensor, "t n k"],
    here: Bool[Tensor, "t n"],
    risk: Float[Tensor, "t n"],
    *,
    within: float,
) -> Bool[Tensor, "t n"]:
    """Who stands within a distance of a better one of the same target."""
    gap = (z[:, :, None] - z[:, None]).square().mean(-1).sqrt()
    near = (gap <= within) & here[:, :, None] & here[:, None]
    order = torch.arange(z.shape[1], device=z.device)
    tied = (risk[:, :, None] == risk[:, None]) & (order < order[:, None])
    better = (risk[:, :, None] > risk[:, None]) | tied  # [t, i, j]: j is better than i
    return (near & better).any(-1)


def other_side(
    before: Float[Tensor, "r k"],
    carried: Float[Tensor, "r k"],
    curvature: Float[Tensor, "r k k"] | None,
) -> Float[Tensor, "r k"]:
    """From `before` as far as it was carried, along the softest direction, the other way.

    Where J'J is not known, straight back along the way that it was carried.
    """
    move = carried - before
    if curvature is None:
        return before - move
    finite = torch.isfinite(curvature).all(-1).all(-1)
    safe = torch.where(finite[:, None, None], curvature, 0.0)
    soft = lowest_eigenvector(safe).to(before.dtype)
    way = torch.where((move * soft).sum(-1, keepdim=True) > 0, -1.0, 1.0).to(before.dtype)
    away = before + way * move.norm(dim=-1, keepdim=True) * soft
    return torch.where(finite[:, None], away, before - move)

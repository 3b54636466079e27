"""Linear regions of ReLU networks: the piece at z, and all pieces near z.

For fixed sides s of all neurons G is affine on the polytope P(s, theta). The neighbourhood

    S(z, theta, tau) = { s : s_i = sign a_i(z) wherever |a_i(z)| > tau }

is found layer by layer: inside a polytope of the earlier layers' sides a layer's neurons are
hyperplanes, and only those that cut the polytope branch. Source: Song et al. (2019), section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surfing import check
from surfing.descent.regions.piecewise import Images, PiecewiseAffine, unit_points
from surfing.descent.regions.polytope import TOLERANCE, Cell, Polytope, ProgramCount
from surfing.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy import ndarray

__all__ = ["Piece", "Search", "enumerate_pieces", "piece_at", "tau_needed"]


@dataclass(frozen=True)
class Piece:
    """One linear region and the affine map on it: G(z) = offset + jacobian z."""

    pattern: tuple[Bool[Tensor, " neurons"], ...]
    """Sides, kink by kink."""
    polytope: Polytope
    inside: Float[ndarray, " k"]
    """A point of the region."""
    images: Float[Tensor, "points ..."]
    """What the piece's affine map makes of 0, e_1, ..., e_k."""

    @property
    def offset(self) -> Float[Tensor, "*signal"]:
        """G's value at 0, were the piece everywhere."""
        offset: Tensor = self.images[0]
        return offset

    @property
    def jacobian(self) -> Float[Tensor, "n k"]:
        """J, with the signal flattened."""
        columns: Tensor = (self.images[1:] - self.images[:1]).flatten(1)
        return columns.T

    def __call__(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows ..."]:
        """The piece's affine map, in double precision."""
        z = z.double()
        weights = torch.cat([1 - z.sum(1, keepdim=True), z], 1)
        signal: Tensor = torch.tensordot(weights, self.images, 1)
        return signal

    def key(self) -> bytes:
        """The pattern as bytes, to compare and count pieces."""
        return torch.cat(self.pattern).numpy().tobytes() if self.pattern else b""


@dataclass
class Search:
    """How an enumeration went."""

    programs: ProgramCount = field(default_factory=ProgramCount)
    pieces: int = 0
    complete: bool = True
    """False where the limit on pieces was met."""


def piece_at(network: PiecewiseAffine, z: Float[Tensor, " k"]) -> Piece:
    """The piece that z lies in, with one half-space for every neuron that can change side.

    A neuron that is exactly at its kink counts as off.

    Raises:
        InputError: z is not one latent.
    """
    point = _one_latent(z)
    sides = [kink[0] > 0 for kink in network.preactivations(point[None])]
    images, rows, bounds = network.start(unit_points(len(point))), [], []
    for active in sides:
        weight, bias = _forms(images)
        sign = np.where(active.numpy(), -1.0, 1.0)
        rows.append(sign[:, None] * weight)
        bounds.append(-sign * bias)
        images = network.cross(images, active)
    none = np.zeros((0, len(point)))
    polytope = Polytope.from_rows(
        np.concatenate([none, *rows]), np.concatenate([none[:, 0], *bounds])
    )
    return Piece(tuple(sides), polytope, point.numpy(), network.signal(images))


def enumerate_pieces(
    network: PiecewiseAffine,
    z: Float[Tensor, " k"],
    *,
    tau: float,
    max_pieces: int = 10_000,
    reach: float = 1e3,
    search: Search | None = None,
) -> Iterator[Piece]:
    """All non-empty pieces of S(z, theta, tau), the one around z among the first.

    Args:
        network: G at theta.
        z: the centre, usually the last stage's minimiser.
        tau: neurons whose pre-activation at z is at most tau may change side; ``inf`` frees all.
        max_pieces: after this many the enumeration ends, and says so in `search`.
        reach: half the edge of the box about z that bounds the search.
        search: filled while the enumeration runs.

    Yields:
        Pieces whose polytopes have interior (inradius above 1e-8).

    Raises:
        InputError: tau is negative, or z is not one latent.
    """
    tau = check.number("tau", tau, low=0, finite=False)
    point = _one_latent(z)
    sides = [_fixed_sides(kink[0].numpy(), tau) for kink in network.preactivations(point[None])]
    search = search if search is not None else Search()
    cell = Cell.box(point.numpy(), reach, search.programs)
    for piece in _descend(network, cell, network.start(unit_points(len(point))), sides, ()):
        if search.pieces >= max_pieces:
            search.complete = False
            return
        search.pieces += 1
        yield piece


def _one_latent(z: Tensor) -> Tensor:
    if z.ndim != 1 or not bool(torch.isfinite(z).all()):
        raise InputError(f"z: expected one finite latent of shape (k,), got {tuple(z.shape)}.")
    return z.detach().double().cpu()


def _fixed_sides(values: Float[ndarray, " q"], tau: float) -> Float[ndarray, " q"]:
    """+1 or -1 where the side is fixed, 0 where it is free."""
    return np.where(np.abs(values) > tau, np.where(values > 0, 1.0, -1.0), 0.0)


def _forms(images: Images) -> tuple[Float[ndarray, "q k"], Float[ndarray, " q"]]:
    """The kink's pre-activations as w z + c."""
    if images.kink is None:
        raise InputError("images: expected a kink ahead, got the output.")
    values = images.kink.numpy()
    return (values[1:] - values[0]).T, values[0]


def _descend(
    network: PiecewiseAffine,
    cell: Cell,
    images: Images,
    sides: list[Float[ndarray, " q"]],
    pattern: tuple[Tensor, ...],
) -> Iterator[Piece]:
    if images.kink is None:
        yield Piece(pattern, cell.polytope, cell.inside, network.signal(images))
        return
    weight, bias = _forms(images)
    for child, active in _cells(cell, weight, bias, sides[0]):
        chosen = torch.from_numpy(active)
        yield from _descend(
            network, child, network.cross(images, chosen), sides[1:], (*pattern, chosen)
        )


def _cells(
    cell: Cell,
    weight: Float[ndarray, "q k"],
    bias: Float[ndarray, " q"],
    sides: Float[ndarray, " q"],
) -> Iterator[tuple[Cell, Bool[ndarray, " q"]]]:
    """The parts that one layer's hyperplanes cut a cell into, with each part's active neurons."""
    length = np.linalg.norm(weight, axis=1)
    moving = length > 1e-12
    still = bias > 0  # a neuron that z can't move stays where its bias puts it
    if np.any(~moving & (sides != 0) & (still != (sides > 0))):
        return
    scale = np.where(moving, length, 1.0)
    weight, bias = weight / scale[:, None], bias / scale
    fixed = np.flatnonzero(moving & (sides != 0))
    kept = _impose(cell, -sides[fixed, None] * weight[fixed], sides[fixed] * bias[fixed])
    if kept is None:
        return
    free = np.flatnonzero(moving & (sides == 0))
    start = np.where(moving, sides > 0, still)
    yield from _branch(kept, weight, bias, free, start)


def _impose(
    cell: Cell, normals: Float[ndarray, "q k"], offsets: Float[ndarray, " q"]
) -> Cell | None:
    """The cell within all half-spaces, those that change nothing left out; None where empty."""
    order = np.argsort(offsets - normals @ cell.inside)
    normals, offsets = normals[order], offsets[order]
    while len(offsets):
        if np.any(cell.bound(-normals) < -offsets - TOLERANCE):
            return None
        cutting = cell.bound(normals) > offsets
        normals, offsets = normals[cutting], offsets[cutting]
        if len(offsets):
            cell = cell.shrink(normals[0], float(offsets[0]))
            normals, offsets = normals[1:], offsets[1:]
    return cell.centred()


def _branch(
    cell: Cell,
    weight: Float[ndarray, "q k"],
    bias: Float[ndarray, " q"],
    free: ndarray,
    start: Bool[ndarray, " q"],
) -> Iterator[tuple[Cell, Bool[ndarray, " q"]]]:
    stack = [(cell, free, start)]
    while stack:
        cell, free, active = stack.pop()
        if len(free):
            reach = cell.bound(np.concatenate([weight[free], -weight[free]])).reshape(2, -1)
            above = reach[0] + bias[free] > TOLERANCE
            below = reach[1] - bias[free] > TOLERANCE
            active = active.copy()
            active[free] = np.where(above & below, active[free], above)
            free = free[above & below]
        if not len(free):
            yield cell, active
            continue
        height = weight[free] @ cell.inside + bias[free]
        i = free[np.argmin(np.abs(height))]
        stack += _split(cell, weight[i], float(bias[i]), int(i), free[free != i], active)


def _split(
    cell: Cell,
    normal: Float[ndarray, " k"],
    bias: float,
    i: int,
    free: ndarray,
    active: Bool[ndarray, " q"],
) -> list[tuple[Cell, ndarray, Bool[ndarray, " q"]]]:
    """The parts of a cell on either side of neuron i; the one around `inside` comes last."""
    on = bool(normal @ cell.inside + bias > 0)
    sign = 1.0 if on else -1.0
    near, far = active.copy(), active.copy()
    near[i], far[i] = on, not on
    other = cell.beyond(sign * normal, -sign * bias)
    if other is None:
        return [(cell, free, near)]
    same = cell.shrink(-sign * normal, sign * bias).centred()
    parts = [(other, free, far)]
    return parts if same is None else [*parts, (same, free, near)]


def tau_needed(
    network: PiecewiseAffine, z: Float[Tensor, " k"], target: Float[Tensor, " k"]
) -> float:
    """The least tau for which S(z, theta, tau) holds a piece that `target` lies in.

    max |a_i(z)| over the neurons i that are on one side at z and on the other at `target`. A
    neuron that `target` holds at its kink, as constrained minimisers do, can go either way.
    """
    both = torch.stack([_one_latent(z), _one_latent(target)])
    needed = 0.0
    for here, there in network.preactivations(both):
        differs = ((here > 0) != (there > 0)) & (there.abs() > 10 * TOLERANCE)
        if bool(differs.any()):
            needed = max(needed, float(here[differs].abs().max()))
    return needed

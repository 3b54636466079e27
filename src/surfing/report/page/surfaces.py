"""The residual on a plane through latent space, at every stage of the ride and between them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.report.page.detail import Detail, residual_norms

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.report.page.scene import Scene

__all__ = ["Plane", "surfaces"]

_CLOSE = 0.05
"""Points nearer than this, as a share of the path's extent, don't span a plane."""
_FAR = 4.0
"""Ends further out, as a multiple of the path's extent, would make the path a dot."""


@dataclass(frozen=True)
class Plane:
    """Two directions through the end of a ride, and what they are.

    Args:
        origin: the ride's end.
        basis: orthonormal.
        spanned: in words, for people.
    """

    origin: Float[Tensor, " k"]
    basis: Float[Tensor, "2 k"]
    spanned: str

    @classmethod
    def through(
        cls,
        path: Float[Tensor, "stages k"],
        direct: Float[Tensor, " k"] | None = None,
        truth: Float[Tensor, " k"] | None = None,
        mean: Float[Tensor, " k"] | None = None,
    ) -> Plane:
        """The latent plane itself for k = 2; else through the ends that differ.

        Through the ride's end, the direct end, and the truth or, where the ride found that, the
        ride's start. What is missing is filled up by the main directions of the path, or, for a
        path of one point, by the law's mean, if it is given, and any direction.
        """
        origin, k = path[-1], path.shape[1]
        if k == 2:
            return cls(origin, torch.eye(2, dtype=path.dtype), "the latent space itself (k = 2)")
        extent = float((path - origin).norm(dim=1).max()) or 1.0
        named = [("the direct end", direct), ("the true latent", truth), ("the start", path[0])]
        if mean is not None:
            named[-1] = ("the law's mean", mean)
        basis, names = path.new_zeros(0, k), ["the latent that was found"]
        for name, point in named:
            if point is None or len(basis) == 2 or not bool(point.isfinite().all()):
                continue
            rest = point - origin - (point - origin) @ basis.T @ basis
            if float(rest.norm()) > _CLOSE * extent:
                basis = torch.cat([basis, (rest / rest.norm())[None]])
                names.append(name)
        if len(basis) == 2:
            return cls(origin, basis, f"the plane through {', '.join(names[:2])} and {names[2]}")
        filled = _complete(basis, path - origin)
        if len(path) == len(basis) == 1:
            return cls(origin, filled, f"a plane through {names[0]} and {names[1]}")
        return cls(origin, filled, "the plane of the path's principal directions")

    def project(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows 2"]:
        """Coordinates of the nearest points of the plane."""
        return (z - self.origin) @ self.basis.T


def _complete(basis: Tensor, offsets: Tensor) -> Tensor:
    """Orthonormal directions up to two: first those given, then the main ones of what is left."""
    k = offsets.shape[1]
    rest = torch.cat([offsets, 1e-6 * torch.eye(k, dtype=offsets.dtype)])
    rest = rest - rest @ basis.T @ basis
    directions = torch.linalg.svd(rest, full_matrices=False)[2]
    return torch.cat([basis, directions])[:2]


def surfaces(scene: Scene, wanted: Detail) -> dict[str, Any]:
    """Residual norms ||A G_t(z) - y|| on a plane for each of the targets, quantised to 16 bits.

    Args:
        scene: with a trajectory and a problem.
        wanted: which targets, moments and points.
    """
    trajectory, problem = scene.trajectory, scene.problem
    if trajectory is None or problem is None:
        raise InputError("surfaces: expected a scene with a trajectory and measurements.")
    patches = [_Patch.of(scene, target, wanted.size) for target in wanted.targets]
    heights: list[list[Tensor]] = [[] for _ in patches]
    for frame in wanted.frames:
        state = trajectory.at(frame)
        for patch, mine in zip(patches, heights):
            mine.append(residual_norms(problem, dict(state), patch.points(), patch.target))
    items = [patch.document(scene, torch.stack(mine)) for patch, mine in zip(patches, heights)]
    return {"size": wanted.size, "frames": wanted.frames, "items": items}


@dataclass(frozen=True)
class _Patch:
    """A square of a plane, wide enough for the path and the ends."""

    target: int
    plane: Plane
    path: Float[Tensor, "stages 2"]
    low: Float[Tensor, " 2"]
    width: float
    size: int

    @classmethod
    def of(cls, scene: Scene, target: int, size: int) -> _Patch:
        path = scene.solution.path[target]
        direct = None if scene.beside is None else scene.beside.z[target]
        truth = None if scene.truth is None else scene.truth[target]
        mean = None
        if len(path) == 1 and scene.problem is not None:
            mean = torch.full_like(path[0], scene.problem.latent.mean)
        plane = Plane.through(path, direct, truth, mean)
        flat = plane.project(path)
        extent = path if mean is None else torch.cat([path, mean[None]])
        reach = _FAR * max(1.0, float((extent - path[-1]).norm(dim=1).max()))
        ends = (z for z in (direct, truth, mean) if z is not None and bool(z.isfinite().all()))
        known = [z for z in ends if float((z - path[-1]).norm()) < reach]
        seen = torch.cat([flat, *(plane.project(z[None]) for z in known)])
        middle = (seen.amin(0) + seen.amax(0)) / 2
        width = max(1.0, 1.5 * float((seen.amax(0) - seen.amin(0)).max()))
        return cls(target, plane, flat, middle - width / 2, width, size)

    def points(self) -> Tensor:
        """Latents of the grid: lines go up, columns across."""
        marks = torch.linspace(0, self.width, self.size, dtype=self.low.dtype)
        marks = marks.to(self.low.device)
        up, across = torch.meshgrid(marks, marks, indexing="ij")
        flat = torch.stack([across, up], -1).reshape(-1, 2) + self.low
        return self.plane.origin + flat @ self.plane.basis

    def document(self, scene: Scene, norms: Float[Tensor, "frames points"]) -> dict[str, Any]:
        finite = norms[norms.isfinite()]
        top = float(finite.max()) if len(finite) else 1.0
        shares = torch.nan_to_num(norms / max(top, 1e-12), nan=1.0, posinf=1.0).clamp(0, 1)
        packed = (shares * 65535).round().numpy().astype("<u2").tobytes()
        stages = scene.solution.stages
        heights = [float((2 * record.risk[self.target]).sqrt()) for record in stages]
        offsets = scene.solution.path[self.target] - self.plane.origin
        total = float(offsets.square().sum())
        inside = float(self.path.square().sum()) / total if total > 0 else 1.0
        return {
            "target": self.target,
            "spanned": self.plane.spanned,
            "inside": min(1.0, inside),
            "width": self.width,
            "top": top,
            "norms": base64.b64encode(packed).decode(),
            "path": [[*self._at(p), h] for p, h in zip(self.path, heights)],
            "direct": self._end(scene),
            "truth": self._truth(scene),
        }

    def _at(self, flat: Tensor) -> list[float]:
        """Plane coordinates in [0, 1]."""
        shares: list[float] = ((flat - self.low) / self.width).tolist()
        return shares

    def _end(self, scene: Scene) -> list[float] | None:
        if scene.beside is None:
            return None
        flat = self.plane.project(scene.beside.z[self.target][None])[0]
        return [*self._at(flat), float((2 * scene.beside.risk[self.target]).sqrt())]

    def _truth(self, scene: Scene) -> list[float] | None:
        if scene.truth is None:
            return None
        return self._at(self.plane.project(scene.truth[self.target][None])[0])

"""Polytopes {z : N z <= b} in a few dimensions, and the programs solved on them.

The dimension is small and the constraints are few hundreds, so each program takes a fraction of a
millisecond with an interior-point solver; what matters is to solve few of them. A :class:`Vertices`
pool sees to that: every basis of k constraints whose normals span a cone bounds, by LP duality,
every direction in that cone, and every feasible vertex is a witness.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from surfing.errors import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy import ndarray

__all__ = ["TOLERANCE", "Polytope", "ProgramCount", "solve_program"]

TOLERANCE = 1e-8
"""Length below which a polytope counts as flat. Normals have length 1, latents are of order 1."""


@dataclass
class ProgramCount:
    """Programs solved so far: `linear` (feasibility) and `quadratic` (minimisers, projections)."""

    linear: int = 0
    quadratic: int = 0


@dataclass(frozen=True)
class Polytope:
    """{z : normals z <= offsets}, rows of unit length.

    >>> square = Polytope.box(np.zeros(2), 1.0)
    >>> bool(square.contains(np.array([0.5, -1.0]))), bool(square.contains(np.array([0.0, 2.0])))
    (True, False)
    """

    normals: Float[ndarray, "c k"]
    offsets: Float[ndarray, " c"]

    @classmethod
    def box(cls, centre: Float[ndarray, " k"], reach: float) -> Polytope:
        """{z : |z_j - centre_j| <= reach}."""
        eye = np.eye(len(centre))
        return cls(np.concatenate([eye, -eye]), np.concatenate([centre + reach, reach - centre]))

    @classmethod
    def from_rows(cls, rows: Float[ndarray, "c k"], bounds: Float[ndarray, " c"]) -> Polytope:
        """{z : rows z <= bounds}; rows are scaled to length 1, and rows of zeros dropped."""
        length = np.linalg.norm(rows, axis=1)
        keep = length > np.finfo(float).tiny
        return cls(rows[keep] / length[keep, None], bounds[keep] / length[keep])

    @property
    def dim(self) -> int:
        """k."""
        return int(self.normals.shape[1])

    def slack(self, z: Float[ndarray, "... k"]) -> Float[ndarray, "... c"]:
        """Signed distance to every facet, positive inside."""
        slack: ndarray = self.offsets - z @ self.normals.T
        return slack

    def contains(
        self, z: Float[ndarray, "... k"], *, tolerance: float = TOLERANCE
    ) -> Bool[ndarray, ...]:
        """Whether no facet is passed by more than `tolerance`."""
        return np.asarray((self.slack(z) >= -tolerance).all(-1))

    def cut(self, normal: Float[ndarray, " k"], offset: float) -> Polytope:
        """The part where normal z <= offset."""
        return Polytope(
            np.concatenate([self.normals, normal[None]]), np.append(self.offsets, offset)
        )

    def centre(self, count: ProgramCount) -> tuple[Float[ndarray, " k"], float]:
        """Centre and radius (at most 1) of a largest ball inside; a radius <= 0 means empty."""
        lifted = np.c_[self.normals, np.ones(len(self.offsets))]
        lifted = np.r_[lifted, np.eye(self.dim + 1)[-1:]]
        goal = -np.eye(self.dim + 1)[-1]
        count.linear += 1
        solution, _ = solve_program(None, goal, lifted, np.r_[self.offsets, 1.0])
        return solution[:-1], float(self.slack(solution[:-1]).min())


@dataclass(frozen=True)
class Vertices:
    """Bases of k constraints of one polytope, and where they meet.

    A basis with normals N_B and vertex v satisfies: d = N_B' l with l >= 0 implies d z <= d v on
    the whole polytope. That holds whether v itself lies in the polytope (`feasible`) or not.
    """

    inverses: Float[ndarray, "b k k"]
    points: Float[ndarray, "b k"]
    feasible: Bool[ndarray, " b"]
    members: Any  # (b, k) of int: the constraints of each basis, sorted

    @classmethod
    def none(cls, dim: int) -> Vertices:
        """An empty pool."""
        shape = (0, dim)
        return cls(
            np.zeros((0, dim, dim)), np.zeros(shape), np.zeros(0, bool), np.zeros(shape, int)
        )

    @classmethod
    def of(cls, polytope: Polytope, members: Any) -> Vertices:
        """The bases with these constraints; those that don't meet in a point are left out."""
        members = np.sort(members, 1)
        members = members[np.abs(np.linalg.det(polytope.normals[members])) > 1e-9]
        inverses = np.linalg.inv(polytope.normals[members])
        points = (inverses @ polytope.offsets[members][:, :, None])[:, :, 0]
        return cls(inverses, points, polytope.contains(points), members)

    def bound(self, directions: Float[ndarray, "u k"]) -> Float[ndarray, " u"]:
        """An upper bound of direction z over the polytope; infinite where no basis knows."""
        if not len(self.points):
            return np.full(len(directions), np.inf)
        weights = np.einsum("uk,bkj->ubj", directions, self.inverses)
        known = (weights >= -1e-12).all(-1)
        return np.asarray(np.where(known, directions @ self.points.T, np.inf).min(1))

    def __getitem__(self, index: Any) -> Vertices:
        return Vertices(
            self.inverses[index], self.points[index], self.feasible[index], self.members[index]
        )

    def join(self, other: Vertices, *, limit: int) -> Vertices:
        """Both pools, the feasible vertices first; what exceeds the limit is forgotten."""
        both = Vertices(
            np.concatenate([self.inverses, other.inverses]),
            np.concatenate([self.points, other.points]),
            np.concatenate([self.feasible, other.feasible]),
            np.concatenate([self.members, other.members]),
        )
        if len(both.feasible) <= limit:
            return both
        return both[np.argsort(~both.feasible, kind="stable")[:limit]]

    def after_cut(self, polytope: Polytope, *, limit: int) -> Vertices:
        """The pool after the polytope's last constraint was added.

        Where an edge from a feasible vertex meets the new facet, the two bases differ in one
        constraint: the one that the edge leaves is exchanged for the new one.
        """
        new = len(polytope.offsets) - 1
        normal, offset = polytope.normals[new], polytope.offsets[new]
        height = self.points @ normal - offset  # positive: cut off
        kept = Vertices(
            self.inverses, self.points, self.feasible & (height <= TOLERANCE), self.members
        )
        rate = -np.einsum("k,bkj->bj", normal, self.inverses)  # along the edge that leaves j
        with np.errstate(divide="ignore", invalid="ignore"):
            step = -height[:, None] / rate
        crossing = (np.abs(rate) > 1e-9) & (step >= -TOLERANCE) & self.feasible[:, None]
        basis, leaving = np.nonzero(crossing)
        if not len(basis):
            return kept
        members = self.members[basis].copy()
        members[np.arange(len(basis)), leaving] = new
        fresh = Vertices.of(polytope, _distinct(np.sort(members, 1)))
        return kept.join(fresh[fresh.feasible], limit=limit)


_MULTIPLIERS = np.random.default_rng(0).integers(1 << 62, size=64) | 1


def _distinct(members: Any) -> Any:
    """Rows without repetitions; two that share a hash lose one: a bound less, never a piece."""
    hashes = (members * _MULTIPLIERS[np.arange(members.shape[1]) % 64]).sum(1)
    return members[np.unique(hashes, return_index=True)[1]]


def solve_program(
    hessian: Float[ndarray, "k k"] | None,
    gradient: Float[ndarray, " k"],
    normals: Float[ndarray, "c k"],
    offsets: Float[ndarray, " c"],
) -> tuple[Float[ndarray, " k"], Float[ndarray, " c"]]:
    """argmin 1/2 z'Hz + g'z subject to N z <= b, by Clarabel, and the constraints' multipliers.

    Args:
        hessian: positive semidefinite; None for a linear program.
        gradient: g.
        normals: N.
        offsets: b.

    Raises:
        MissingExtraError: Clarabel is not installed.
    """
    clarabel, sparse = require("clarabel", "theory"), require("scipy.sparse", "theory")
    k = len(gradient)
    quadratic = sparse.csc_matrix((k, k)) if hessian is None else sparse.csc_matrix(hessian)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    cones = [clarabel.NonnegativeConeT(len(offsets))]
    solver = clarabel.DefaultSolver(
        sparse.triu(quadratic, format="csc"),
        gradient,
        sparse.csc_matrix(normals),
        offsets,
        cones,
        settings,
    )
    solution = solver.solve()
    return np.array(solution.x), np.array(solution.z)


@dataclass
class Cell:
    """A polytope being refined: constraints, a point strictly inside, and its known vertices."""

    polytope: Polytope
    inside: Float[ndarray, " k"]
    vertices: Vertices
    limit: int = 96
    count: ProgramCount = field(default_factory=ProgramCount)

    @classmethod
    def box(cls, centre: Float[ndarray, " k"], reach: float, count: ProgramCount) -> Cell:
        """The box that bounds every search; its corners are known while they are few."""
        k = len(centre)
        polytope = Polytope.box(centre, reach)
        vertices = Vertices.none(k)
        if k <= 5:
            corners = np.stack(np.meshgrid(*[[0, 1]] * k), -1).reshape(-1, k)
            vertices = Vertices.of(polytope, np.arange(k) + k * corners)
        return cls(polytope, centre, vertices, count=count)

    def bound(self, directions: Float[ndarray, "u k"]) -> Float[ndarray, " u"]:
        """An upper bound of direction z over the cell, without solving anything."""
        k = self.polytope.dim
        high, low = self.polytope.offsets[:k], -self.polytope.offsets[k : 2 * k]
        box = np.where(directions > 0, directions * high, directions * low).sum(1)
        bound: ndarray = np.minimum(box, self.vertices.bound(directions))
        return bound

    def shrink(self, normal: Float[ndarray, " k"], offset: float) -> Cell:
        """The part where normal z <= offset; its `inside` still has to be found."""
        polytope = self.polytope.cut(normal, offset)
        vertices = self.vertices.after_cut(polytope, limit=self.limit)
        return Cell(polytope, self.inside, vertices, self.limit, self.count)

    def centred(self, point: Float[ndarray, " k"] | None = None) -> Cell | None:
        """The same cell with a point well inside; None where it is flat or empty.

        A given point, then the centroid of the known vertices, are tried before a program.
        """
        candidates = [self.inside] if point is None else [point, self.inside]
        known = self.vertices.points[self.vertices.feasible]
        if len(known) > self.polytope.dim:
            candidates.append(known.mean(0))
        for candidate in candidates:
            if self.polytope.slack(candidate).min() > 1e3 * TOLERANCE:
                return Cell(self.polytope, candidate, self.vertices, self.limit, self.count)
        centre, radius = self.polytope.centre(self.count)
        if radius <= TOLERANCE:
            return None
        return Cell(self.polytope, centre, self.vertices, self.limit, self.count)

    def beyond(self, normal: Float[ndarray, " k"], offset: float) -> Cell | None:
        """The part where normal z <= offset, which `inside` does not meet; None where it is flat.

        Solved as max t, normal z + t <= offset, t <= cap. Either way the optimum's vertex is
        learned, so that the next hyperplane can often be decided without a program.
        """
        child = self.shrink(normal, offset)
        known = child.vertices.points[child.vertices.feasible]
        if len(known) > child.polytope.dim:
            centroid = known.mean(0)
            if child.polytope.slack(centroid).min() > 1e3 * TOLERANCE:
                return Cell(child.polytope, centroid, child.vertices, self.limit, self.count)
        height = float(normal @ self.inside - offset)
        cap = max(height, 1e-3)
        depth, far = self._reach(normal, offset, cap)
        if depth <= TOLERANCE:
            return None
        mix = (max(height, 0.0) + depth / 2) / (max(height, 0.0) + depth)
        return child.centred(self.inside + mix * (far - self.inside))

    def _reach(
        self, normal: Float[ndarray, " k"], offset: float, cap: float
    ) -> tuple[float, Float[ndarray, " k"]]:
        """How far (at most `cap`) the cell reaches past the plane, and a point that does."""
        c, k = self.polytope.normals.shape
        rows = np.zeros((c + 2, k + 1))
        rows[:c, :k], rows[c, :k], rows[c:, k] = self.polytope.normals, normal, 1.0
        self.count.linear += 1
        bounds = np.r_[self.polytope.offsets, offset, cap]
        solution, multipliers = solve_program(None, -np.eye(k + 1)[-1], rows, bounds)
        self._learn(multipliers[:c])
        return float(solution[-1]), solution[:k]

    def _learn(self, multipliers: Float[ndarray, " c"]) -> None:
        k = self.polytope.dim
        active = np.sort(np.argsort(-multipliers)[:k])
        known = (self.vertices.members == active).all(1).any()
        if multipliers[active].min() > 1e-7 and not known:
            learned = Vertices.of(self.polytope, active[None])
            # The pool is the one part of a cell that grows in place: it only ever says more.
            self.vertices = learned.join(self.vertices, limit=self.limit)

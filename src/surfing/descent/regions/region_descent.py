"""Descent inside linear regions: Algorithm 2, after Song et al. (2019).

On each piece f is a convex quadratic and the piece a polytope, so the best point of a piece is a
quadratic program, and the best of a neighbourhood S(z, theta, tau) is the best of its pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from surfing import check
from surfing.descent.base import AbstractDescent, State, fresh
from surfing.descent.regions.pieces import Piece, Search, enumerate_pieces, piece_at
from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.descent.regions.polytope import TOLERANCE, Polytope, ProgramCount, solve_program
from surfing.errors import GeneratorError
from surfing.status import Status

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray

    from surfing.problem.risk import Risk

__all__ = [
    "ExactProgram",
    "PieceRisk",
    "ProjectedGradient",
    "RegionDescent",
    "RegionStep",
    "best_over_pieces",
    "project",
]


@dataclass(frozen=True)
class PieceRisk:
    """f on one piece: 1/2 z'Hz + g'z + c, exact there and only there."""

    hessian: Float[ndarray, "k k"]
    gradient: Float[ndarray, " k"]
    constant: float

    @classmethod
    def of(
        cls, images: Float[Tensor, "points m"], y: Float[Tensor, " m"], *, ridge: float = 0.0
    ) -> PieceRisk:
        """1/2 ||A G(z) - y||^2 + ridge/2 ||z||^2 from the measurements of 0, e_1, ..., e_k."""
        values = images.double().flatten(1).cpu().numpy()
        jacobian, residual = values[1:] - values[0], values[0] - y.double().cpu().numpy()
        hessian = jacobian @ jacobian.T + ridge * np.eye(len(jacobian))
        return cls(hessian, jacobian @ residual, float(residual @ residual) / 2)

    def __call__(self, z: Float[ndarray, " k"]) -> float:
        """f(z), were the piece everywhere."""
        slope: ndarray = self.hessian @ z / 2 + self.gradient
        return float(z @ slope) + self.constant

    def unconstrained(self) -> Float[ndarray, " k"]:
        """The minimiser over all of R^k, the shortest if there are many: a lower bound of f."""
        solution: ndarray = np.linalg.lstsq(self.hessian, -self.gradient, rcond=1e-12)[0]
        return solution


def project(
    polytope: Polytope, z: Float[ndarray, " k"], count: ProgramCount | None = None
) -> Float[ndarray, " k"]:
    """The nearest point of a polytope: argmin ||p - z|| subject to p in P.

    >>> project(Polytope.box(np.zeros(2), 1.0), np.array([3.0, 0.5])).round(6)
    array([1. , 0.5])
    """
    if polytope.contains(z, tolerance=0.0):
        return z
    if count is not None:
        count.quadratic += 1
    # Solved about z: the distance then keeps its digits when z is far away.
    step, _ = solve_program(np.eye(len(z)), np.zeros(len(z)), polytope.normals, polytope.slack(z))
    nearest: ndarray = z + step
    return nearest


class PieceSolver(Protocol):
    """The best point of one piece."""

    def __call__(
        self,
        risk: PieceRisk,
        polytope: Polytope,
        start: Float[ndarray, " k"],
        count: ProgramCount,
    ) -> Float[ndarray, " k"]:
        """A minimiser of `risk` over `polytope`, by a loop from `start` where it is one."""
        ...


@dataclass(frozen=True)
class ExactProgram:
    """One quadratic program per piece, and none where the unconstrained minimiser is inside."""

    def __call__(
        self,
        risk: PieceRisk,
        polytope: Polytope,
        start: Float[ndarray, " k"],
        count: ProgramCount,
    ) -> Float[ndarray, " k"]:
        """The minimiser."""
        free = risk.unconstrained()
        if polytope.contains(free, tolerance=0.0):
            return free
        count.quadratic += 1
        gradient = risk.gradient + risk.hessian @ start
        scale = max(float(np.abs(risk.hessian).max()), 1e-30)
        step, _ = solve_program(
            risk.hessian / scale, gradient / scale, polytope.normals, polytope.slack(start)
        )
        lowest: ndarray = start + step
        return lowest


@dataclass(frozen=True)
class ProjectedGradient:
    """z <- Proj_P(z - eta grad f), eta = 1 / lambda_max(H), until z stays: the paper's own loop.

    Args:
        max_steps: gradient steps per piece.
        tolerance: converged where a step is shorter than this.
    """

    max_steps: int = 500
    tolerance: float = 1e-8

    def __call__(
        self,
        risk: PieceRisk,
        polytope: Polytope,
        start: Float[ndarray, " k"],
        count: ProgramCount,
    ) -> Float[ndarray, " k"]:
        """Where the loop ends."""
        rate = 1 / max(float(np.linalg.eigvalsh(risk.hessian)[-1]), 1e-30)
        z = project(polytope, start, count)
        for _ in range(self.max_steps):
            moved = project(polytope, z - rate * (risk.hessian @ z + risk.gradient), count)
            if np.linalg.norm(moved - z) <= self.tolerance:
                return moved
            z = moved
        return z


@dataclass(frozen=True)
class RegionStep:
    """What one step did for one row: told to `observe`, for the record."""

    row: int
    z: Float[ndarray, " k"]
    value: float
    """f at the best point, as the piece's quadratic has it."""
    pieces: int
    linear_programs: int
    quadratic_programs: int
    complete: bool


def best_over_pieces(
    pieces: list[tuple[PieceRisk, Polytope]],
    start: Float[ndarray, " k"],
    *,
    solver: PieceSolver,
    count: ProgramCount,
) -> tuple[Float[ndarray, " k"], float]:
    """The lowest point over all pieces, and f there.

    Pieces are taken by their unconstrained minimum, which bounds them from below: once it exceeds
    the best value found, none of the others can hold the minimiser and no more programs are solved.
    """
    bounds = np.array([risk(risk.unconstrained()) for risk, _ in pieces])
    best, lowest = start, np.inf
    for i in np.argsort(bounds, kind="stable"):
        if bounds[i] >= lowest:
            break
        risk, polytope = pieces[i]
        z = solver(risk, polytope, start, count)
        if risk(z) < lowest and polytope.contains(z, tolerance=10 * TOLERANCE):
            best, lowest = z, risk(z)
    return best, lowest


@dataclass(frozen=True)
class _State(State):
    limited: Bool[Tensor, " r"]
    """The limit on pieces was met."""


@dataclass(frozen=True)
class RegionDescent(AbstractDescent[_State]):
    """z <- argmin of f over all pieces of S(z, theta, tau): Algorithm 2 inside :func:`surf`.

    Under the theorem's condition max(M, 1)^d L delta <= tau the stage's global minimiser is among
    the pieces, so one step per stage follows it. The paper finds the first minimiser by plain
    descent; here, with `recentre`, steps from any start go on until z stays.

    Args:
        tau: neurons whose pre-activation at z is at most tau may change side.
        recentre: search again around the new z until it stays; False takes one step per stage, to
            the letter of Algorithm 2, and needs starts at the first stage's minimisers.
        max_pieces: pieces searched in one step; where there are more the row ends with
            ``Status.PIECE_LIMIT`` at the best point so far.
        solver: :class:`ExactProgram`, or :class:`ProjectedGradient` as printed in the paper.
        reach: half the edge of the box about z that bounds the search.
        observe: called with a :class:`RegionStep` for every row and step.

    Raises:
        GeneratorError: at the first step, where G is not piecewise affine (a Sigmoid or Tanh
            output included) or the operator is not affine.

    Source: Algorithm 2, after Song et al. (2019).

    >>> RegionDescent(tau=0.1).max_pieces
    10000
    """

    tau: float
    recentre: bool = True
    max_pieces: int = 10_000
    solver: PieceSolver = dataclasses.field(default_factory=ExactProgram)
    reach: float = 1e3
    observe: Callable[[RegionStep], None] | None = None
    stage_steps: ClassVar[int] = 20
    final_steps: ClassVar[int] = 20

    def __post_init__(self) -> None:
        check.number("tau", self.tau, low=0, finite=False)
        check.integer("max_pieces", self.max_pieces, low=1)
        check.number("reach", self.reach, low=0, open_low=True)

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> _State:
        """Value at the start."""
        value = risk.value(z, rows)
        return _State(**fresh(rows, z, value), limited=torch.zeros_like(rows, dtype=torch.bool))

    def ended(self, state: _State) -> Int[Tensor, " r"]:
        """Rows whose search was cut off at `max_pieces`."""
        return torch.where(state.limited, int(Status.PIECE_LIMIT), int(Status.RUNNING))

    def step(self, risk: Risk, state: _State) -> _State:
        """The best point of every row's neighbourhood; the risk of no row rises."""
        network = _network(risk)
        z, limited, empty = state.z.clone(), state.limited.clone(), state.failed.clone()
        for i, row in enumerate(state.rows.tolist()):
            found = self._search(risk, network, state.z[i], row)
            z[i] = torch.from_numpy(found.z).to(z)
            limited[i], empty[i] = not found.complete, not np.isfinite(found.value)
            if self.observe is not None:
                self.observe(found)
        value = risk.value(z, state.rows)
        better = value < state.value
        z = torch.where(better[:, None], z, state.z)
        return dataclasses.replace(
            state,
            z=z,
            value=torch.where(better, value, state.value),
            step_norm=(z - state.z).double().norm(dim=-1),
            predicted_decrease=state.predicted_decrease
            if self.recentre
            else torch.zeros_like(value),
            failed=empty,
            limited=limited,
        )

    def _search(
        self, risk: Risk, network: PiecewiseAffine, z: Float[Tensor, " k"], row: int
    ) -> RegionStep:
        search, pieces = Search(), []
        for piece in enumerate_pieces(
            network,
            z,
            tau=self.tau,
            max_pieces=self.max_pieces,
            reach=self.reach,
            search=search,
        ):
            pieces.append((_piece_risk(risk, piece, row), piece.polytope))
        # A piece's affine map is one forward and k tangents.
        risk.meter.add(torch.tensor([row], device=z.device), len(pieces) * (1 + len(z)))
        start = z.detach().double().cpu().numpy()
        best, value = best_over_pieces(pieces, start, solver=self.solver, count=search.programs)
        return RegionStep(
            row,
            best,
            value,
            search.pieces,
            search.programs.linear,
            search.programs.quadratic,
            search.complete,
        )


def _network(risk: Risk) -> PiecewiseAffine:
    """G at the risk's theta, once it is known that f is quadratic on its pieces."""
    bound = risk.forward.bound
    network = PiecewiseAffine(bound.module, bound.state)
    if network.output is not None:
        raise GeneratorError(
            f"generator: {network.output} bends the signal, so the risk is not quadratic on the "
            "linear regions. Leave that layer out of the generator, and for A = identity give the "
            "measurements before it (their inverse sigmoid or tanh)."
        )
    images = piece_at(network, torch.zeros(risk.latent.dim)).images
    measured = _measure(risk, torch.cat([images, images.mean(0, keepdim=True)]))
    gap = (measured[:-1].mean(0) - measured[-1]).norm()
    if not bool(gap <= 1e-4 * (1e-12 + measured.norm())):
        raise GeneratorError(
            f"operator {risk.forward.operator.name}: linear regions need an affine operator, "
            "and the measurements of a mean are not the mean of the measurements."
        )
    return network


def _measure(risk: Risk, x: Float[Tensor, "points ..."]) -> Float[Tensor, "points m"]:
    with torch.no_grad():
        return risk.forward.operator(x.to(risk.y)).flatten(1)


def _piece_risk(risk: Risk, piece: Piece, row: int) -> PieceRisk:
    y = risk.y[risk.owner[row]]
    bare = PieceRisk.of(_measure(risk, piece.images), y)
    if risk.reg is None:
        return bare
    law = risk.latent
    ridge = float(risk.reg[row]) / law.std**2
    return PieceRisk(
        bare.hessian + ridge * np.eye(law.dim),
        bare.gradient - ridge * law.mean,
        bare.constant + ridge * law.mean**2 * law.dim / 2,
    )

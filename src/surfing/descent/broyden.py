"""Levenberg-Marquardt with Broyden's updates: most steps cost one forward."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from surfing import check
from surfing.descent.base import AbstractDescent, State, fresh
from surfing.descent.levenberg_marquardt import cholesky_step
from surfing.errors import InputError
from surfing.latents import blocked, bounds
from surfing.problem.matrices import product, squared_norms

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from surfing.problem.risk import Quadratic, Risk

__all__ = ["Broyden"]

_ROWS = 32


@dataclass(frozen=True)
class _State(State):
    gradient: Float[Tensor, "r k"]
    hessian: Float[Tensor, "r k k"]
    """J'J, the penalty's own left out."""
    residual: Float[Tensor, "r m"]
    jacobian: Float[Tensor, "r m k"]
    """Taken where `exact`; updated along the steps since."""
    exact: Bool[Tensor, " r"]
    due: Bool[Tensor, " r"]
    """The Jacobian is to be taken before the next trial."""
    damping: Float[Tensor, " r"]
    rejections: Int[Tensor, " r"]
    """In a row, with a Jacobian taken at z; each raises the damping faster than the one before."""
    bend: Float[Tensor, " r"]
    """The penalty's second derivative along every latent."""
    age: Int[Tensor, " r"]
    """Networks since the one where the Jacobian was taken."""


@dataclass(frozen=True)
class Broyden(AbstractDescent[_State]):
    """Levenberg-Marquardt whose Jacobian is taken once, then updated along its own steps.

    After a trial d the Jacobian gets the least change that maps d to the difference of residuals
    that was seen. The next trial costs one forward instead of k + 2. The Jacobian is taken anew
    where a trial is refused, or leaves more than `pace` of the residual's norm. Only with a
    Jacobian taken at z a row is called converged or stalled.

    With `carry` above 1 a ride takes the Jacobian along from network to network, updated by what
    each step shows of the new one, and takes it anew at every `carry`-th and at the last; until
    then a row whose trial is refused rests. Where the networks lie near each other,
    ``surf(..., schedule=EveryCheckpoint(), descent=Broyden(carry=5), stage_steps=1)`` visits every
    one of them for two forwards and a fifth of a Jacobian. Step control takes nothing along.

    Residual and Jacobian of every row stay in memory: m (k + 1) numbers. With measurements that
    are not met in the end (noise, signals out of range) the Jacobian is taken more often, and
    little is saved.

    Args:
        damping: first damping, relative to the largest diagonal entry of J'J.
        pace: in (0, 1): the share of the residual's norm that a step may leave.
        shrink: least factor that a successful step multiplies the damping by, in (0, 1).
        max_rejections: rejected steps in a row before a row is called stalled.
        carry: networks of a ride that share a Jacobian.

    Source: Broyden, "A class of methods for solving nonlinear simultaneous equations" (1965);
    Madsen, Nielsen and Tingleff, "Methods for non-linear least squares problems" (2004), 3.5.

    >>> Broyden().stage_steps
    5
    """

    damping: float = 1e-2
    pace: float = 0.9
    shrink: float = 0.1
    max_rejections: int = 10
    carry: int = 1

    exact_curvature: ClassVar[bool] = False
    stage_steps: ClassVar[int] = 5
    final_steps: ClassVar[int] = 100

    def __post_init__(self) -> None:
        for name in ("pace", "shrink"):
            check.number(name, getattr(self, name), low=0, high=1, open_low=True)
        check.number("damping", self.damping, low=0, open_low=True)
        check.integer("max_rejections", self.max_rejections, low=1)
        check.integer("carry", self.carry, low=1)

    def init(self, risk: Risk, z: Float[Tensor, "r k"], rows: Int[Tensor, " r"]) -> _State:
        """The Gauss-Newton model at the start.

        Raises:
            InputError: a robust loss, whose weights change with the residuals.
        """
        if risk.loss is not None:
            raise InputError(
                "descent: Broyden expects a sum of squares, got "
                f"loss={risk.loss}. Use surfing.LevenbergMarquardt().",
                argument="descent",
            )
        model = risk.quadratic(z, rows, keep=True)
        bend = _bend(risk, rows)
        gradient, hessian, residual, jacobian = _parts(risk, model, z, bend)
        peak = model.hessian.diagonal(dim1=-2, dim2=-1).amax(-1)
        return _State(
            **fresh(rows, z, model.value),
            gradient=gradient,
            hessian=hessian,
            residual=residual,
            jacobian=jacobian,
            exact=torch.ones_like(rows, dtype=torch.bool),
            due=torch.zeros_like(rows, dtype=torch.bool),
            damping=self.damping * peak.clamp(min=torch.finfo(torch.float64).tiny),
            rejections=torch.zeros_like(rows),
            bend=bend,
            age=torch.zeros_like(rows),
        )

    @property
    def resumes(self) -> bool:
        """Whether a Jacobian outlives its network."""
        return self.carry > 1

    def resume(self, risk: Risk, z: Float[Tensor, "r k"], state: _State) -> _State:
        """The Jacobian of a network before, the residual of this one."""
        age = state.age + 1
        if len(age) == 0 or int(age.max()) >= self.carry:
            return self.init(risk, z, state.rows)
        residual = risk.residual(z, state.rows)
        bend = _bend(risk, state.rows)
        never = torch.zeros_like(state.exact)
        return dataclasses.replace(
            state,
            **fresh(state.rows, z, squared_norms(residual) / 2 + risk.penalty(z, state.rows)),
            residual=residual,
            gradient=(state.jacobian * residual.unsqueeze(-1)).sum(1).double(),
            exact=never,
            due=never,
            rejections=torch.zeros_like(state.rejections),
            bend=bend,
            age=age,
        )

    def step(self, risk: Risk, state: _State) -> _State:
        """One trial for every row; f never rises."""
        state = _refreshed(risk, state)
        gradient = state.gradient + state.bend[:, None] * (state.z.double() - risk.latent.mean)
        hessian = state.hessian + _diagonal(state.bend, state.z)
        resting = blocked(risk.latent, state.z, gradient)
        d, solved = cholesky_step(hessian, gradient, state.damping, resting)
        trial = state.z + torch.where(solved[:, None], d, 0.0).to(state.z.dtype)
        if bounds(risk.latent) is not None:
            trial = risk.latent.project(trial)
        d = trial.double() - state.z.double()
        residual = risk.residual(trial, state.rows)
        value = squared_norms(residual) / 2 + risk.penalty(trial, state.rows)
        predicted = -((gradient * d).sum(-1) + (d * product(hessian, d)).sum(-1) / 2)
        accept = solved & (value < state.value)  # false for NaN
        rejections = torch.where(accept, 0, state.rejections + state.exact)
        sure = solved & state.exact
        moved = dataclasses.replace(
            state,
            z=torch.where(accept[:, None], trial, state.z),
            value=torch.where(accept, value, state.value),
            due=torch.where(accept, value > self.pace**2 * state.value, ~state.exact),
            exact=state.exact & ~accept,
            damping=self._next_damping(state, (state.value - value) / predicted, accept),
            rejections=rejections,
            failed=rejections >= self.max_rejections,
            step_norm=torch.where(sure, d.norm(dim=-1), torch.inf),
            predicted_decrease=torch.where(sure, predicted / state.value, torch.inf),
        )
        return _updated(moved, d, residual, accept)

    def max_step_cost(self, risk: Risk) -> float:
        """A Jacobian and a trial."""
        return 2 + risk.forward.tangent_passes(risk.latent.dim, risk.y.shape[1])

    def curvature(self, state: _State) -> Float[Tensor, "r k k"]:
        """J'J of the Jacobian as it was last updated, the penalty's own included."""
        # Summed anew: the rounding of the updates would hide a direction that is open.
        squares = torch.empty_like(state.hessian)
        parts = torch.split(squares, _ROWS), torch.split(state.jacobian, _ROWS)
        for place, part in zip(*parts, strict=True):
            exact = part.double()
            torch.matmul(exact.mT, exact, out=place)
        return squares + _diagonal(state.bend, state.z)

    def current_damping(self, state: _State) -> Float[Tensor, " r"]:
        """Of the next trial."""
        return state.damping

    def _next_damping(self, state: _State, gain: Tensor, accept: Tensor) -> Tensor:
        relax = (1 - (2 * gain - 1) ** 3).clamp(self.shrink, 2.0)
        # What an updated Jacobian did not foresee may be its own fault.
        raised = torch.where(state.exact, 2.0 * 2.0 ** state.rejections.double(), 1.0)
        return state.damping * torch.where(accept, relax, raised)


def _parts(risk: Risk, model: Quadratic, z: Tensor, bend: Tensor) -> tuple[Tensor, ...]:
    """Gradient and J'J without the penalty's own, residual and Jacobian."""
    if model.residual is None or model.jacobian is None:
        raise AssertionError
    gradient = model.gradient - bend[:, None] * (z.double() - risk.latent.mean)
    return gradient, model.hessian - _diagonal(bend, z), model.residual, model.jacobian


def _bend(risk: Risk, rows: Tensor) -> Float[Tensor, " r"]:
    if risk.reg is None:
        return torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    return risk.reg[rows].double() / risk.latent.std**2


def _diagonal(bend: Tensor, z: Tensor) -> Float[Tensor, "r k k"]:
    return torch.diag_embed(bend[:, None].expand(-1, z.shape[1]))


def _refreshed(risk: Risk, state: _State) -> _State:
    """Take the Jacobian anew where it is due."""
    stale = state.due.nonzero().flatten()
    if len(stale) == 0:
        return state
    z, rows = state.z[stale], state.rows[stale]
    parts = _parts(risk, risk.quadratic(z, rows, keep=True), z, state.bend[stale])
    names = ("gradient", "hessian", "residual", "jacobian")
    new = {n: getattr(state, n).index_copy(0, stale, p) for n, p in zip(names, parts, strict=True)}
    due = torch.zeros_like(state.due)
    return dataclasses.replace(state, **new, exact=state.exact | state.due, due=due)


def _updated(state: _State, d: Tensor, residual: Tensor, accept: Tensor) -> _State:
    """Broyden's update of J and J'J by what the trial showed, refused or not; then J'r.

    J + u s' with s = d / ||d||^2 and u = r(z + d) - r - J d.
    """
    jacobian, low = state.jacobian, d.to(residual.dtype)
    square = low.square().sum(-1)
    told = (square > 0) & torch.isfinite(residual).all(-1) & ~state.due
    s = torch.where(told[:, None], low / square[:, None], 0.0)
    u = residual - state.residual - (jacobian * low[:, None]).sum(-1)
    u = torch.where(told[:, None], u, 0.0)
    pulled = (jacobian * u.unsqueeze(-1)).sum(1).double()
    s64 = s.double()
    outer = pulled.unsqueeze(-1) * s64.unsqueeze(1)
    bend = squared_norms(u)[:, None, None] * s64.unsqueeze(-1) * s64.unsqueeze(1)
    jacobian = torch.addcmul(jacobian, u.unsqueeze(-1), s.unsqueeze(1))
    residual = torch.where(accept[:, None], residual, state.residual)
    # With a Jacobian of this very z the gradient is exact; else it follows.
    gradient = (jacobian * residual.unsqueeze(-1)).sum(1).double()
    return dataclasses.replace(
        state,
        hessian=state.hessian + outer + outer.mT + bend,
        jacobian=jacobian,
        residual=residual,
        gradient=torch.where(accept[:, None], gradient, state.gradient),
    )

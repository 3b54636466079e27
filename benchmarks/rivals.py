"""What one would use without us: scipy, torch, deepinv and CMA-ES, one target at a time.

Each is stopped by the same residual as ours where its interface allows it; each begins where ours
begin. Settings that matter are fields, so that :mod:`benchmarks.tuning` can try them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import jacfwd

from benchmarks.cells import Cell, Objective, Outcome, Reached
from surfing.errors import require

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

__all__ = ["CMAES", "CSGM", "ScipyTRF", "TorchLBFGS", "endless_lbfgs"]


def _each(cell: Cell, solve: Callable[[int], tuple[Tensor, float]]) -> Outcome:
    found, costs = zip(*(solve(index) for index in range(len(cell))))
    return Outcome(torch.stack(found), torch.tensor(costs, dtype=torch.float64))


@dataclass(frozen=True)
class ScipyTRF:
    """``scipy.optimize.least_squares(method="trf")``.

    Args:
        jacobian: "2-point" (scipy's own) or "jacfwd" (``torch.func``).
        double: evaluate in float64; finite differences of float32 are rough.
        difference: relative step of the finite differences; None for scipy's choice.
        tolerance: scipy's ftol, xtol and gtol.
        max_evaluations: scipy's max_nfev, Jacobians not counted.
        at_floor: stop it where ours stop; else it goes on to its own tolerance.
    """

    jacobian: str = "jacfwd"
    double: bool = False
    difference: float | None = None
    tolerance: float = 1e-8
    max_evaluations: int = 100
    at_floor: bool = True

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        return _each(cell, lambda index: self._one(cell, index))

    def _one(self, cell: Cell, index: int) -> tuple[Tensor, float]:
        dtype = torch.float64 if self.double else torch.float32
        target = Objective(cell, index, dtype=dtype)
        if not self.at_floor:
            target.floor = 0.0
        least_squares = require("scipy.optimize", "theory").least_squares
        derivative = _Forward(target, dtype) if self.jacobian == "jacfwd" else self.jacobian
        try:
            result = least_squares(
                _Residual(target, dtype),
                target.start.double().numpy(),
                jac=derivative,
                method="trf",
                diff_step=self.difference,
                ftol=self.tolerance,
                xtol=self.tolerance,
                gtol=self.tolerance,
                max_nfev=self.max_evaluations,
            )
        except Reached as end:
            return end.z.double(), target.cost
        return torch.from_numpy(result.x), target.cost


@dataclass(frozen=True)
class _Residual:
    target: Objective
    dtype: torch.dtype

    def __call__(self, z: np.ndarray) -> np.ndarray:
        self.target.spend(1)
        point = torch.from_numpy(z).to(self.dtype)
        with torch.no_grad():
            residual = self.target.residual(point[None])[0].double()
        self.target.stop_at_floor(float(residual @ residual) / 2, point)
        return residual.numpy()


@dataclass(frozen=True)
class _Forward:
    target: Objective
    dtype: torch.dtype

    def __call__(self, z: np.ndarray) -> np.ndarray:
        self.target.spend(1 + len(z))
        with torch.no_grad():
            jacobian: Tensor = jacfwd(lambda point: self.target.residual(point[None])[0])(
                torch.from_numpy(z).to(self.dtype)
            )
        return jacobian.double().numpy()


def endless_lbfgs(z: Tensor, *, history: int = 100) -> torch.optim.LBFGS:
    """torch's, with strong Wolfe, for one row that is stopped by a clock alone."""
    return torch.optim.LBFGS(
        [z],
        max_iter=100_000,
        max_eval=100_000,
        history_size=history,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )


@dataclass(frozen=True)
class TorchLBFGS:
    """``torch.optim.LBFGS(line_search_fn="strong_wolfe")``.

    Args:
        history: pairs kept.
        max_iterations: of the optimiser; it may evaluate 1.25 times as often, torch's default.
        tolerance: of the change between steps; the gradient's is the same.
        scale: the loss is 1/2 ||r||^2 times this.
    """

    history: int = 10
    max_iterations: int = 200
    tolerance: float = 1e-9
    scale: float = 1.0

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        return _each(cell, lambda index: self._one(cell, index))

    def _one(self, cell: Cell, index: int) -> tuple[Tensor, float]:
        target = Objective(cell, index)
        z = target.start[None].clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [z],
            max_iter=self.max_iterations,
            history_size=self.history,
            tolerance_grad=self.tolerance,
            tolerance_change=self.tolerance,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            target.spend(3)
            optimiser.zero_grad()
            risk = target.residual(z).square().sum() / 2
            target.stop_at_floor(float(risk.detach()), z[0])
            (risk * self.scale).backward()  # type: ignore[no-untyped-call]
            return risk.detach() * self.scale

        try:
            optimiser.step(closure)  # type: ignore[arg-type]
        except Reached as end:
            return end.z, target.cost
        return z.detach()[0], target.cost


@dataclass(frozen=True)
class CSGM:
    """deepinv's ``CSGMGenerator`` in eval mode: Adam on the mean squared error, one at a time.

    Its own loop runs untouched, but from our start instead of one from the unit cube.

    Args:
        step_size: `inf_lr`.
        max_iterations: `inf_max_iter`.
        tolerance: `inf_tol`, of the relative change of the loss from one step to the next.
    """

    step_size: float = 0.1
    max_iterations: int = 2500
    tolerance: float = 1e-4

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        return _each(cell, lambda index: self._one(cell, index))

    def _one(self, cell: Cell, index: int) -> tuple[Tensor, float]:
        models, physics = require("deepinv.models", "deepinv"), cell.physics
        backbone = _Backbone(cell.net, cell.starts.shape[1])
        if physics is None:
            physics = require("deepinv.physics", "deepinv").LinearPhysics()
        csgm = models.CSGMGenerator(
            backbone,
            inf_max_iter=self.max_iterations,
            inf_tol=self.tolerance,
            inf_lr=self.step_size,
        ).eval()
        start = cell.starts[index].reshape(1, -1, 1, 1).clone()
        z = csgm.optimize_z(start, cell.y[index : index + 1], physics)
        return z.detach().flatten(), 3.0 * backbone.calls


class _Backbone(nn.Module):
    """What deepinv expects of a generator: `nz`, and latents of shape (1, nz, 1, 1)."""

    def __init__(self, net: nn.Module, nz: int) -> None:
        super().__init__()
        self.net, self.nz, self.calls = net, nz, 0

    def forward(self, z: Float[Tensor, "rows nz 1 1"]) -> Float[Tensor, "rows ..."]:
        self.calls += 1
        x: Tensor = self.net(z.flatten(1))
        return x


@dataclass(frozen=True)
class CMAES:
    """CMA-ES of the `cmaes` library; a generation is evaluated as one batch.

    Args:
        sigma: first step size.
        evaluations: at most.
        population: a generation; None for the library's 4 + 3 log k.
        seed: of its draws.
    """

    sigma: float = 0.5
    evaluations: int = 4000
    population: int | None = None
    seed: int = 0

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        return _each(cell, lambda index: self._one(cell, index))

    def _one(self, cell: Cell, index: int) -> tuple[Tensor, float]:
        target = Objective(cell, index)
        search: Any = require("cmaes", "bench").CMA(
            mean=target.start.double().numpy(),
            sigma=self.sigma,
            population_size=self.population,
            seed=self.seed + index,
        )
        best, best_z = float("inf"), target.start
        while target.cost < self.evaluations and not search.should_stop():
            asked = [search.ask() for _ in range(search.population_size)]
            z = torch.stack([torch.from_numpy(point).float() for point in asked])
            target.spend(len(z))
            with torch.no_grad():
                risks = target.residual(z).double().square().sum(-1) / 2
            lowest = int(risks.argmin())
            if float(risks[lowest]) < best:
                best, best_z = float(risks[lowest]), z[lowest]
            if best <= target.floor:
                break
            search.tell(list(zip(asked, risks.tolist())))
        return best_z, target.cost

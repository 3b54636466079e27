"""The problems that all methods are given alike: targets, measurements, starts, one operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from surfing.architectures import build_generator
from surfing.descent import Stopping
from surfing.errors import InputError, require
from surfing.generator import Generator
from surfing.problem.measurements import Measurements

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.trajectory import Trajectory

__all__ = ["Cell", "Objective", "Outcome", "Reached", "Solver", "build_cells", "open_generator"]

SUCCESS = 0.01
"""A target counts as recovered where ||z - z*|| is below this."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a method, target by target."""

    z: Float[Tensor, "targets k"]
    cost: Float[Tensor, " targets"]
    """Forward-equivalents: forward 1, reverse pass 2 more, tangent pass 1 more."""


class Solver(Protocol):
    """A method with its settings."""

    def __call__(self, cell: Cell) -> Outcome:
        """Recover every target of the cell."""
        ...


@dataclass(frozen=True)
class Cell:
    """y = A G(z*) for targets in the range of G, and one start a target."""

    name: str
    trajectory: Trajectory
    net: nn.Module
    """The trained generator in eval mode, without gradients for its parameters."""
    physics: Any
    """The deepinv physics, the same object for every method; None for all pixels."""
    y: Float[Tensor, "targets ..."]
    truth: Float[Tensor, "targets k"] = field(repr=False)
    starts: Float[Tensor, "targets k"] = field(repr=False)

    def __len__(self) -> int:
        return len(self.truth)

    def head(self, count: int) -> Cell:
        """The first targets only."""
        return replace(self, y=self.y[:count], truth=self.truth[:count], starts=self.starts[:count])

    def measure(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """A(x)."""
        measured: Tensor = x if self.physics is None else self.physics.A(x)
        return measured

    def recovered(self, outcome: Outcome) -> list[bool]:
        """||z - z*|| < .01, by target; NaN is no success."""
        found: list[bool] = (self.errors(outcome) < SUCCESS).tolist()
        return found

    def errors(self, outcome: Outcome) -> Float[Tensor, " targets"]:
        """||z - z*||."""
        return (outcome.z.double() - self.truth.double()).norm(dim=-1)


def open_generator(trajectory: Trajectory, weights: nn.Module | None = None) -> nn.Module:
    """The trained network as a user would hold it: eval mode, last checkpoint loaded.

    Args:
        trajectory: its last checkpoint is loaded.
        weights: the module, where the manifest names no zoo architecture.
    """
    if weights is None:
        described = trajectory.architecture
        if described is None:
            raise InputError(
                "RUN: its manifest names no zoo architecture; benchmark one that does."
            )
        weights = build_generator(described["name"], **described["arguments"])
    net = Generator(weights).module
    net.load_state_dict(trajectory[-1].state)
    return net.eval().requires_grad_(False)


def build_cells(
    trajectory: Trajectory,
    net: nn.Module,
    *,
    operators: Sequence[str],
    targets: int,
    seed: int,
) -> list[Cell]:
    """A cell for each operator, with the same latents and the same starts.

    Args:
        trajectory: of training.
        net: see :func:`open_generator`.
        operators: "all pixels" or "gaussian:M".
        targets: in each cell.
        seed: of targets and operator; other seeds give disjoint streams.
    """
    latent = trajectory.latent
    if latent is None:
        raise InputError("RUN: its manifest tells no law of the latents; benchmark one that does.")
    # Two starts of one stream: the first is the target, the second where the search begins.
    drawn = latent.sample(range(targets), 2, seed=seed)
    with torch.no_grad():
        x = net(drawn[:, 0])
    cells = []
    for name in operators:
        physics = _physics(name, tuple(x.shape[1:]), seed)
        y = x if physics is None else physics.A(x)
        cells.append(Cell(name, trajectory, net, physics, y, drawn[:, 0], drawn[:, 1]))
    return cells


def _physics(name: str, shape: tuple[int, ...], seed: int) -> Any:
    if name == "all pixels":
        return None
    kind, _, count = name.partition(":")
    if kind != "gaussian" or not count.isdigit():
        raise InputError(f"operator: expected 'all pixels' or 'gaussian:M', got {name!r}.")
    rng = torch.Generator().manual_seed(seed)
    return require("deepinv.physics", "deepinv").CompressedSensing(
        m=int(count), img_size=shape, rng=rng
    )


class Reached(Exception):
    """Raised inside a rival at the residual where ours stop: it need not go on."""

    def __init__(self, z: Tensor) -> None:
        super().__init__("residual reached")
        self.z = z


class Objective:
    """The residual r(z) = A G(z) - y of one target, with a meter on it.

    Args:
        cell: the problem.
        index: which target.
        dtype: float64 evaluates G and A in double precision.
    """

    def __init__(self, cell: Cell, index: int, *, dtype: torch.dtype = torch.float32) -> None:
        self._net, self._measure = cell.net, cell.measure
        if dtype is torch.float64:
            self._net, self._measure = _in_double(cell)
        self.y = cell.y[index].to(dtype)
        self.start = cell.starts[index].to(dtype)
        floor = Stopping().floor(Measurements.of(cell.y[index : index + 1]).level)
        self.floor = float(floor[0])
        self.cost = 0.0

    def residual(self, z: Float[Tensor, "rows k"]) -> Float[Tensor, "rows m"]:
        """Costs nothing by itself: the caller knows what passes it makes."""
        return (self._measure(self._net(z)) - self.y).flatten(1)

    def spend(self, passes: float) -> None:
        """Charge forward-equivalents."""
        self.cost += passes

    def stop_at_floor(self, value: float, z: Tensor) -> None:
        """Raise :class:`Reached` where 1/2 ||r||^2 is as low as ours are asked to go."""
        if value <= self.floor:
            raise Reached(z.detach().clone())


def _in_double(cell: Cell) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    net = Generator(cell.net).module.double()
    if cell.physics is None:
        return net, lambda x: x
    matrix = cell.physics._A.double()
    return net, lambda x: x.flatten(1) @ matrix.T

"""Algorithm 2 against the truth: small trained generators, and their global minimisers by force."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surfing.descent.regions.pieces import Piece, Search, enumerate_pieces, tau_needed
from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.descent.regions.polytope import ProgramCount
from surfing.descent.regions.region_descent import ExactProgram, PieceRisk, best_over_pieces
from surfing.errors import InputError
from surfing.latents import Normal
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = [
    "GlobalPath",
    "global_path",
    "small_generator",
    "small_trajectory",
    "sufficient_tau",
    "tau_along",
]

_LATENTS = 256


def small_generator(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLUs between them, in float64.

    >>> len(small_generator([2, 8, 5]))
    3
    """
    if len(widths) < 2:
        raise InputError(f"widths: expected k, ..., n, at least two numbers, got {list(widths)}.")
    layers: list[nn.Module] = []
    for fan_in, width in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, width, dtype=torch.float64), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small_trajectory(
    widths: Sequence[int], *, stages: int = 16, steps: int = 400, seed: int = 0
) -> tuple[nn.Sequential, Trajectory]:
    """A generator trained, in well under a second, to follow a wavy surface in R^n.

    The surface is sin(B z + c) with a random B. Checkpoints stand at steps that grow like the
    square of their number, since training moves fastest at first.

    Args:
        widths: k, the hidden widths, n.
        stages: checkpoints, the untrained network included, at least 2.
        steps: Adam steps on 256 fixed latents.
        seed: of the weights, the surface and the latents.

    Returns:
        The module with its trained weights, and the trajectory.
    """
    if stages < 2 or steps < stages:
        raise InputError(f"stages, steps: expected 2 <= stages <= steps, got {stages}, {steps}.")
    rng = torch.Generator().manual_seed(seed)
    net = small_generator(widths)
    with torch.no_grad():
        for parameter in net.parameters():
            # He's scale: the untrained signals are then as large as the trained ones, and the
            # minimisers of the first stages don't lie far out.
            std = (2 / parameter.shape[-1]) ** 0.5 if parameter.ndim == 2 else 0.1
            parameter.normal_(0, std, generator=rng)
    k, n = widths[0], widths[-1]
    z, turn, shift = (
        torch.randn(size, generator=rng, dtype=torch.float64)
        for size in ((_LATENTS, k), (k, n), (n,))
    )
    signal = torch.sin(z @ turn + shift)
    wanted = {round(steps * (i / (stages - 1)) ** 2): i for i in range(stages)}
    kept = []
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(steps + 1):
        if step in wanted:
            kept.append((step, {name: t.clone() for name, t in net.state_dict().items()}))
        loss = (net(z) - signal).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.load_state_dict(kept[-1][1])
    return net.requires_grad_(False), Trajectory.from_state_dicts(kept, latent=Normal(k))


@dataclass(frozen=True)
class GlobalPath:
    """The global minimiser of every stage, for every target."""

    z: Float[Tensor, "stages targets k"]
    risk: Float[Tensor, "stages targets"]
    pieces: tuple[int, ...]
    """All linear regions of each stage's network, within reach."""
    tau: Float[Tensor, "stages targets"]
    """The least tau that takes Algorithm 2 from the stage before to this one; 0 at the first."""


def global_path(
    module: nn.Module,
    trajectory: Trajectory,
    y: Float[Tensor, "targets n"],
    *,
    reach: float = 100.0,
    max_pieces: int = 20_000,
) -> GlobalPath:
    """Minimise 1/2 ||G_t(z) - y||^2 over all of the box, stage by stage, by enumerating all pieces.

    Args:
        module: the generator.
        trajectory: its checkpoints.
        y: signals.
        reach: half the edge of the box about 0.
        max_pieces: of one network.

    Raises:
        InputError: a network has more pieces than `max_pieces`, or the trajectory names no latent
            law.
    """
    if trajectory.latent is None:
        raise InputError("trajectory: expected one that knows its latent law, got none.")
    dim = trajectory.latent.dim
    zs: list[Tensor] = []
    risks: list[Tensor] = []
    taus: list[Tensor] = []
    counts: list[int] = []
    for checkpoint in trajectory:
        network = PiecewiseAffine(module, checkpoint.state)
        pieces = _all_pieces(network, dim, reach=reach, max_pieces=max_pieces)
        found = [_lowest(pieces, target) for target in y]
        z = torch.stack([point for point, _ in found])
        needed = [tau_needed(network, a, b) for a, b in zip(zs[-1], z)] if zs else [0.0] * len(y)
        zs.append(z)
        risks.append(torch.tensor([value for _, value in found], dtype=torch.float64))
        taus.append(torch.tensor(needed, dtype=torch.float64))
        counts.append(len(pieces))
    return GlobalPath(torch.stack(zs), torch.stack(risks), tuple(counts), torch.stack(taus))


def tau_along(
    module: nn.Module,
    trajectory: Trajectory,
    ridden: Float[Tensor, "stages k"],
    lowest: Float[Tensor, "stages k"],
) -> Float[Tensor, " leaps"]:
    """The least tau that each stage but the first needs, from where a ride stood before it.

    Algorithm 2 is exact at a stage if and only if the pieces that it searches about its last point
    hold a global minimiser: whether its last point was one, and whether there is only one, does
    not matter. So it is exact wherever this is at most tau.

    Args:
        module: the generator.
        trajectory: its checkpoints.
        ridden: where the ride ended each stage.
        lowest: a global minimiser of each stage.
    """
    networks = [PiecewiseAffine(module, checkpoint.state) for checkpoint in trajectory]
    leaps = zip(networks[1:], ridden, lowest[1:], strict=False)
    needed = [tau_needed(network, here, there) for network, here, there in leaps]
    return torch.tensor(needed, dtype=torch.float64)


def sufficient_tau(
    module: nn.Module,
    trajectory: Trajectory,
    lowest: Float[Tensor, "stages k"],
    ride: Callable[[float], Float[Tensor, "stages k"]],
) -> float:
    """A tau that is enough for the ride made with it: the path's own, or raised until it is.

    They differ where a stage has several global minimisers: the ride may stand at another one than
    `lowest`, from which the next is farther away.

    Args:
        module: the generator.
        trajectory: its checkpoints.
        lowest: a global minimiser of each stage.
        ride: Algorithm 2 with this tau from the first of them; where it ended each stage.
    """
    z = lowest
    tau = -1.0
    while (needed := float(tau_along(module, trajectory, z, lowest).max())) > tau:
        tau = needed * 1.001 + 1e-6  # beyond rounding
        z = ride(tau)
    return tau


def _all_pieces(
    network: PiecewiseAffine, dim: int, *, reach: float, max_pieces: int
) -> list[Piece]:
    search = Search()
    everything = enumerate_pieces(
        network,
        torch.zeros(dim),
        tau=float("inf"),
        max_pieces=max_pieces,
        reach=reach,
        search=search,
    )
    pieces = list(everything)
    if not search.complete:
        raise InputError(
            f"max_pieces: the network has more than {max_pieces} pieces; take a smaller one."
        )
    return pieces


def _lowest(pieces: list[Piece], y: Float[Tensor, " n"]) -> tuple[Float[Tensor, " k"], float]:
    risks = [(PieceRisk.of(piece.images, y), piece.polytope) for piece in pieces]
    start = pieces[0].inside
    z, value = best_over_pieces(risks, start, solver=ExactProgram(), count=ProgramCount())
    return torch.from_numpy(z), value

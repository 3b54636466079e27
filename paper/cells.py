"""The cells of the paper's tables: which trained models there are, and where they lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from surfing.architectures import generator_from_manifest
from surfing.errors import InputError
from surfing.latents import Latent, Uniform
from surfing.problem import ForwardModel
from surfing.problem.operators import OperatorLike
from surfing.trajectory import Trajectory

__all__ = ["ENVIRONMENT", "PACKAGED", "ZOO", "Bed", "available", "open_cell", "zoo"]

ENVIRONMENT = "SURFING_ZOO"
PACKAGED = "packaged"
ZOO = tuple(f"{model}-k{k}" for model in ("vae", "dcgan", "wgan", "wgan-gp") for k in (5, 10, 20))
"""The paper's twelve cells; the folder of each has this name."""


@dataclass(frozen=True)
class Bed:
    """A trained model to experiment on.

    Args:
        name: of the cell.
        trajectory: its checkpoints.
        generator: its architecture.
    """

    name: str
    trajectory: Trajectory
    generator: nn.Module

    @property
    def law(self) -> Latent:
        """The law that it was trained with."""
        if self.trajectory.latent is None:
            raise InputError(f"{self.name}: the trajectory does not say what law its latents have.")
        return self.trajectory.latent

    def model(self, operator: OperatorLike = None, *, seed: int = 0) -> ForwardModel:
        """Measured by an operator, or all of the signal; the seed is a named operator's."""
        return ForwardModel(
            self.trajectory, generator=self.generator, operator=operator, operator_seed=seed
        )

    def operator(self, name: str) -> str:
        """An operator's name, with "2k" in it for twice the latent dimension."""
        return name.replace("2k", str(2 * self.law.dim))

    def boxed(self) -> Bed:
        """With targets and starts uniform on [-1, 1]^k, as in the paper [reconstructed]."""
        trained = self.trajectory
        boxed = Trajectory(
            trained[:],
            latent=Uniform(self.law.dim, -1.0, 1.0),
            architecture=trained.architecture,
            metadata=trained.metadata,
            path=trained.path,
        )
        return Bed(self.name, boxed, self.generator)


def zoo() -> Path:
    """Where trained models lie: $SURFING_ZOO, else a folder in the user's cache."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT])
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "surfing" / "zoo"


def available(names: tuple[str, ...]) -> list[str]:
    """Those of the names that are trained to their end, in their order.

    Raises:
        InputError: none is.
    """
    found = [name for name in names if name == PACKAGED or _finished(zoo() / name)]
    if not found:
        raise InputError(
            f"none of {', '.join(names)} is trained in {zoo()}: run python -m paper zoo, or "
            f"name another folder with {ENVIRONMENT}."
        )
    return found


def open_cell(name: str) -> Bed:
    """A trained model by name."""
    if name == PACKAGED:
        from surfing.zoo.packaged import packaged

        trajectory = packaged()
    else:
        trajectory = Trajectory.open(zoo() / name)
    if trajectory.architecture is None:
        raise InputError(f"{name}: its manifest names no architecture of the zoo.")
    module = generator_from_manifest(trajectory.architecture, trajectory[-1].state)
    return Bed(name, trajectory, module)


def _finished(folder: Path) -> bool:
    """The sample sheet is written last."""
    return (folder / "samples.png").is_file() and not (folder / "training.ckpt").exists()

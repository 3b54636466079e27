"""The trajectory that comes with the package, so that everything can be tried at once."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from surfing.trajectory.trajectory import Trajectory

__all__ = ["packaged", "packaged_path"]

NAME = "fashion-wgan-gp-k10"


def packaged_path() -> Path:
    """The directory of the packaged trajectory."""
    return Path(str(files("surfing.zoo"))) / "data_files" / NAME


def packaged() -> Trajectory:
    """A small WGAN-GP on Fashion-MNIST, k = 10, from its random weights to its last.

    Its manifest names the command, the recipe, the seed and the versions that made it, and the
    architecture, so that no generator need be given with it. Signals are (1, 28, 28), in [0, 1].

    >>> packaged().latent
    Normal(dim=10)
    """
    return Trajectory.open(packaged_path())

"""Recover the latent codes of generative networks by surfing the checkpoints of their training."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import surfing._threads  # noqa: F401  before anything that imports torch
from surfing._version import __version__
from surfing.continuation import (
    AbstractPredictor,
    AbstractSchedule,
    Constant,
    EqualDrift,
    EveryCheckpoint,
    EveryNth,
    Final,
    Population,
    Secant,
    Stages,
    StepControl,
    Tangent,
    direct,
    surf,
)
from surfing.descent import (
    AbstractDescent,
    Armijo,
    Broyden,
    GradientDescent,
    LevenbergMarquardt,
    Stopping,
    TorchOptim,
)
from surfing.descent.lbfgs import LBFGS
from surfing.descent.negation import NegationCheck
from surfing.descent.regions.region_descent import RegionDescent
from surfing.distillation import Linearisation, distil
from surfing.errors import (
    CorruptTrajectoryError,
    EmptyTrajectoryError,
    GeneratorError,
    InputError,
    LockedTrajectoryError,
    MeasurementError,
    MissingExtraError,
    NotATrajectoryError,
    OutputExistsError,
    RecoveryError,
    SurfingError,
    TrajectoryError,
    UnknownNameError,
    WorkerLostError,
)
from surfing.latents import Latent, Normal, Uniform
from surfing.portfolio import Attempt, Rung, recover
from surfing.posterior import Draws, DrawsStatus, Poisson, sample
from surfing.problem import ForwardModel, Huber, StudentT
from surfing.solution import Solution, StageRecord, Status
from surfing.starts import LearnedStarts, Scouting, learn
from surfing.trajectory import (
    ByDrift,
    Checkpoint,
    Every,
    LogSpaced,
    QuadraticSpaced,
    Recorder,
    Trajectory,
    import_checkpoints,
)

__all__ = [
    "LBFGS",
    "AbstractDescent",
    "AbstractPredictor",
    "AbstractSchedule",
    "Armijo",
    "Attempt",
    "Broyden",
    "ByDrift",
    "Checkpoint",
    "Constant",
    "CorruptTrajectoryError",
    "Draws",
    "DrawsStatus",
    "EmptyTrajectoryError",
    "EqualDrift",
    "Every",
    "EveryCheckpoint",
    "EveryNth",
    "Final",
    "ForwardModel",
    "GeneratorError",
    "GradientDescent",
    "Huber",
    "InputError",
    "Latent",
    "LearnedStarts",
    "LevenbergMarquardt",
    "Linearisation",
    "LockedTrajectoryError",
    "LogSpaced",
    "MeasurementError",
    "MissingExtraError",
    "NegationCheck",
    "Normal",
    "NotATrajectoryError",
    "OutputExistsError",
    "Poisson",
    "Population",
    "QuadraticSpaced",
    "Recorder",
    "RecoveryError",
    "RegionDescent",
    "Rung",
    "Scouting",
    "Secant",
    "Solution",
    "StageRecord",
    "Stages",
    "Status",
    "StepControl",
    "Stopping",
    "StudentT",
    "SurfingError",
    "Tangent",
    "TorchOptim",
    "Trajectory",
    "TrajectoryError",
    "Uniform",
    "UnknownNameError",
    "WorkerLostError",
    "__version__",
    "direct",
    "distil",
    "import_checkpoints",
    "learn",
    "recover",
    "sample",
    "surf",
]

_LAZY = ("evaluation", "integrations", "report", "theory", "zoo")
"""Subpackages that need more than torch: imported when they are first asked for."""


def _view(solution: Solution, path: str | os.PathLike[str] | None, **options: Any) -> Path:
    from surfing.report.page import view

    return view(solution, path, **options)


def _solution_html(solution: Solution) -> str:
    from surfing.report.notebook import solution_html

    return solution_html(solution)


def _trajectory_html(trajectory: Trajectory) -> str:
    from surfing.report.notebook import trajectory_html

    return trajectory_html(trajectory)


Solution.viewer = staticmethod(_view)
Solution.pictured = staticmethod(_solution_html)
Trajectory.pictured = staticmethod(_trajectory_html)


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})

"""A continuation rides a sequence of risks."""

from surfing.continuation.adaptive import StepControl
from surfing.continuation.population import Population
from surfing.continuation.predictor import AbstractPredictor, Constant, Secant, Tangent
from surfing.continuation.schedule import (
    AbstractSchedule,
    EqualDrift,
    EveryCheckpoint,
    EveryNth,
    Final,
    Stages,
)
from surfing.continuation.surf import direct, surf

__all__ = [
    "AbstractPredictor",
    "AbstractSchedule",
    "Constant",
    "EqualDrift",
    "EveryCheckpoint",
    "EveryNth",
    "Final",
    "Population",
    "Secant",
    "Stages",
    "StepControl",
    "Tangent",
    "direct",
    "surf",
]

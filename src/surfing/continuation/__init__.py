"""A continuation rides a sequence of risks."""

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
    "Secant",
    "Stages",
    "Tangent",
    "direct",
    "surf",
]

"""A continuation rides a sequence of risks."""

from surfing.continuation.adaptive import StepControl
from surfing.continuation.attempt import Attempt, Heat
from surfing.continuation.pilot import Mix, Pilot
from surfing.continuation.population import Population
from surfing.continuation.predictor import AbstractPredictor, Constant, Secant, Tangent
from surfing.continuation.recover import recover
from surfing.continuation.schedule import (
    AbstractSchedule,
    EqualDrift,
    EveryCheckpoint,
    EveryNth,
    Final,
    Stages,
)
from surfing.continuation.scouting import Scouting
from surfing.continuation.surf import direct, surf

__all__ = [
    "AbstractPredictor",
    "AbstractSchedule",
    "Attempt",
    "Constant",
    "EqualDrift",
    "EveryCheckpoint",
    "EveryNth",
    "Final",
    "Heat",
    "Mix",
    "Pilot",
    "Population",
    "Scouting",
    "Secant",
    "Stages",
    "StepControl",
    "Tangent",
    "direct",
    "recover",
    "surf",
]

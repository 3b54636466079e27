"""What training leaves behind: recording it, opening it, walking along it."""

from surfing.trajectory.checkpoint import Checkpoint
from surfing.trajectory.importing import import_checkpoints
from surfing.trajectory.recorder import Recorder
from surfing.trajectory.schedules import ByDrift, Every, LogSpaced, QuadraticSpaced, Schedule
from surfing.trajectory.trajectory import Trajectory
from surfing.trajectory.verification import Verification, repair

__all__ = [
    "ByDrift",
    "Checkpoint",
    "Every",
    "LogSpaced",
    "QuadraticSpaced",
    "Recorder",
    "Schedule",
    "Trajectory",
    "Verification",
    "import_checkpoints",
    "repair",
]

"""Algorithm 2: the linear regions of a ReLU network, and a descent from region to region."""

from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.descent.regions.region_descent import (
    ExactProgram,
    ProjectedGradient,
    RegionDescent,
    RegionStep,
)

__all__ = [
    "ExactProgram",
    "PiecewiseAffine",
    "ProjectedGradient",
    "RegionDescent",
    "RegionStep",
]

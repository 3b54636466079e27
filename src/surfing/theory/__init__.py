"""Why stage 0 is easy: random expansive networks, their landscape, and the laws that shape it."""

from surfing.theory.conditions import (
    expected_overlap,
    gaussian_operator,
    range_isometry,
    weight_distribution,
)
from surfing.theory.critical import CriticalPoints, critical_points
from surfing.theory.landscape import (
    angle_map,
    expected_gradient,
    expected_risk,
    layer_angles,
    rho,
)
from surfing.theory.networks import ExpansiveReLU
from surfing.theory.tracking import (
    GlobalPath,
    global_path,
    small_generator,
    small_trajectory,
    sufficient_tau,
    tau_along,
)

__all__ = [
    "CriticalPoints",
    "ExpansiveReLU",
    "GlobalPath",
    "angle_map",
    "critical_points",
    "expected_gradient",
    "expected_overlap",
    "expected_risk",
    "gaussian_operator",
    "global_path",
    "layer_angles",
    "range_isometry",
    "rho",
    "small_generator",
    "small_trajectory",
    "sufficient_tau",
    "tau_along",
    "weight_distribution",
]

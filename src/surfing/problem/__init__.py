"""What is to be recovered: a generator at one theta, an operator, measurements, and the risk."""

from surfing.problem.operators import Operator, as_operator
from surfing.problem.problem import Problem
from surfing.problem.risk import CostMeter, Quadratic, Risk

__all__ = ["CostMeter", "Operator", "Problem", "Quadratic", "Risk", "as_operator"]

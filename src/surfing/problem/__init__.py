"""What is to be recovered: a forward model, measurements, and the risk."""

from surfing.problem.loss import AbstractLoss, Huber, StudentT
from surfing.problem.model import ForwardModel, as_model
from surfing.problem.operators import Operator, as_operator
from surfing.problem.problem import Problem
from surfing.problem.risk import CostMeter, Quadratic, Risk

__all__ = [
    "AbstractLoss",
    "CostMeter",
    "ForwardModel",
    "Huber",
    "Operator",
    "Problem",
    "Quadratic",
    "Risk",
    "StudentT",
    "as_model",
    "as_operator",
]

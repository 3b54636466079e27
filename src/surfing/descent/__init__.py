"""A descent minimises one risk, for many targets at once."""

from surfing.descent.base import AbstractDescent, State
from surfing.descent.broyden import Broyden
from surfing.descent.gradient import Armijo, GradientDescent
from surfing.descent.levenberg_marquardt import LevenbergMarquardt
from surfing.descent.minimise import Minimum, minimise
from surfing.descent.stopping import Stopping
from surfing.descent.torch_optim import TorchOptim

__all__ = [
    "AbstractDescent",
    "Armijo",
    "Broyden",
    "GradientDescent",
    "LevenbergMarquardt",
    "Minimum",
    "State",
    "Stopping",
    "TorchOptim",
    "minimise",
]

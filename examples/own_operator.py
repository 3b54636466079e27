"""
Your own operator
=================

Anything that maps a batch of signals to a batch of measurements can be the operator, as long as
torch can differentiate it. This one is a coarse detector that saturates: 49 numbers per picture,
all bright pixels alike. That it is not linear need not be said; it only makes the run slower.
"""

import torch
from torch.nn.functional import avg_pool2d

import surfing


class SaturatingDetector:
    """A forward operator is a callable, or has a method A, as a deepinv physics does."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def A(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, 1, 28, 28) -> (rows, 1, 7, 7)."""
        return torch.tanh(self.gain * avg_pool2d(x, 4))


model = surfing.ForwardModel(surfing.zoo.packaged(), operator=SaturatingDetector(gain=3.0))
z, x = model.draw(8)

solution = surfing.recover(model, model.measure(x))
print(solution.summary())
error = (solution.z - z).norm(dim=1)
print(f"latents found: {int((error < 0.01).sum())} of {len(error)}")
assert solution.success.float().mean() >= 0.5

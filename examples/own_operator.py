"""
Your own operator
=================

Anything that maps a batch of signals to a batch of measurements can be the operator, as long as
torch can differentiate it. This one is a coarse detector that saturates: 49 numbers a picture, and
bright pixels all look alike. That it is not linear needs no word: it is only slower.
"""

import torch
from torch.nn.functional import avg_pool2d

import surfing
from surfing.evaluation.selftest import own_samples


class SaturatingDetector:
    """A forward operator is a callable, or has a method A, as a deepinv physics does."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def A(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, 1, 28, 28) -> (rows, 1, 7, 7)."""
        return torch.tanh(self.gain * avg_pool2d(x, 4))


trajectory = surfing.zoo.packaged()
generator = surfing.zoo.generator_from_manifest(trajectory.architecture)
truth = own_samples(trajectory, generator, 8)
detector = SaturatingDetector(gain=3.0)

solution = surfing.recover(
    trajectory,
    detector.A(truth.x),
    operator=detector,
)
print(solution.summary())
error = (solution.z - truth.z).norm(dim=1)
print(f"latents found: {int((error < 0.01).sum())} of {len(error)}")
assert solution.success.float().mean() >= 0.5

"""
Recover latents from fifty numbers
==================================

The trajectory that comes with the package is a small WGAN-GP on Fashion-MNIST, from its random
weights to its last. We draw latents, keep fifty random projections of each picture, and ask for
the latents back.
"""

import matplotlib.pyplot as plt

import surfing
from surfing.evaluation.selftest import own_samples
from surfing.problem import as_operator
from surfing.report import recovery_grid

trajectory = surfing.zoo.packaged()
generator = surfing.zoo.generator_from_manifest(trajectory.architecture)
truth = own_samples(trajectory, generator, 8)  # latents z and pictures x = G(z)
operator = as_operator("gaussian:50", tuple(truth.x.shape[1:]))
y = operator(truth.x)  # (8, 50)

# %%
# One call. The generator may be left out here, because the manifest names its architecture.
solution = surfing.recover(trajectory, y, operator=operator, budget=1000)
print(solution.summary())

# %%
# The truth is known in this experiment, so that we can say how far the latents are from it.
error = (solution.z - truth.z).norm(dim=1)
print(f"latents found: {int((error < 0.01).sum())} of {len(error)}")
assert solution.success.float().mean() >= 0.75

# %%
# Targets, reconstructions, and their difference.
figure = plt.figure(figsize=(8, 3))
recovery_grid(truth.x, {"recovered": solution.x}, figure=figure)
plt.show()

"""
Recover latents from fifty numbers
==================================

The trajectory that comes with the package is a small WGAN-GP on Fashion-MNIST, from its random
weights to its last. We draw latents, keep fifty random projections of each picture, and ask for
the latents back.
"""

import matplotlib.pyplot as plt

import surfing
from surfing.report import recovery_grid

# The generator may be left out here, because the manifest names its architecture.
model = surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:50")
z, x = model.draw(8)  # latents, and pictures x = G(z)
y = model.measure(x)  # (8, 50)

# %%
# One call.
solution = surfing.recover(model, y, budget=1000)
print(solution.summary())

# %%
# The truth is known in this experiment, so that we can say how far the latents are from it.
error = (solution.z - z).norm(dim=1)
print(f"latents found: {int((error < 0.01).sum())} of {len(error)}")
assert solution.success.float().mean() >= 0.75

# %%
# Targets, reconstructions, and their difference.
figure = plt.figure(figsize=(8, 3))
recovery_grid(x, {"recovered": solution.x}, figure=figure)
plt.show()

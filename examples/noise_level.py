"""
Noise, and how sure a latent is
===============================

Where the measurements are noisy, say how much: the descent then stops where going on would fit
the noise, and the solution carries a Laplace covariance, noise² (J'J)⁻¹ with J the Jacobian of
A G at the latent.
"""

import torch

import surfing

noise = 0.02
model = surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:100")
truth, x = model.draw(16)
clean = model.measure(x)
y = clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))

solution = surfing.recover(model, y, noise=noise, budget=1000)
print(solution.summary())

# %%
# The covariance's diagonal is an error bar for each coordinate.
for i in range(3):
    bar = solution.covariance[i].diagonal().sqrt()
    print(f"target {i}: z_0 = {solution.z[i, 0]:+.3f} ± {bar[0]:.3f}, true {truth[i, 0]:+.3f}")

# %%
# Are the error bars right? If the errors were normal with that covariance, their squared
# Mahalanobis lengths would be k on average. The linearisation is good where the noise is small.
error = (solution.z - truth)[solution.success].double()
covariance = solution.covariance[solution.success].double()
length = torch.einsum("ti,tij,tj->t", error, torch.linalg.inv(covariance), error)
print(f"squared Mahalanobis length: median {float(length.median()):.1f}, k = {error.shape[1]}")

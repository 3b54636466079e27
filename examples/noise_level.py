"""
Noise, and how sure a latent is
===============================

Where the measurements are noisy, say how much: the descent then stops where going on would fit
the noise, and the solution carries a Laplace covariance, noise² (J'J)⁻¹ with J the Jacobian of
A G at the latent.
"""

import torch

import surfing
from surfing.evaluation.selftest import own_samples
from surfing.problem import as_operator

noise = 0.02
trajectory = surfing.zoo.packaged()
generator = surfing.zoo.generator_from_manifest(trajectory.architecture)
truth = own_samples(trajectory, generator, 16)
operator = as_operator("gaussian:100", tuple(truth.x.shape[1:]))
clean = operator(truth.x)
y = clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))

solution = surfing.recover(trajectory, y, operator=operator, noise=noise, budget=1000)
print(solution.summary())

# %%
# The covariance's diagonal is an error bar for each coordinate.
for i in range(3):
    bar = solution.covariance[i].diagonal().sqrt()
    print(f"target {i}: z_0 = {solution.z[i, 0]:+.3f} ± {bar[0]:.3f}, true {truth.z[i, 0]:+.3f}")

# %%
# Are the bars honest? Were the errors normal with that covariance, their squared lengths measured
# by it would be k on average. The linearisation is good where the noise is small.
error = (solution.z - truth.z)[solution.success].double()
covariance = solution.covariance[solution.success].double()
length = torch.einsum("ti,tij,tj->t", error, torch.linalg.inv(covariance), error)
print(f"squared Mahalanobis length: median {float(length.median()):.1f}, k = {error.shape[1]}")

"""
How many measurements are enough?
=================================

A compressed-sensing curve: the share of latents that are found, by the number of random
measurements, for one direct descent, one ride, and the default strategy.
"""

import matplotlib.pyplot as plt

import surfing
from surfing.evaluation.selftest import FOUND, own_samples
from surfing.problem import as_operator
from surfing.report import wilson

trajectory = surfing.zoo.packaged()
generator = surfing.zoo.generator_from_manifest(trajectory.architecture)
truth = own_samples(trajectory, generator, 16)
METHODS = {
    "direct": lambda y, A: surfing.direct(trajectory, y, operator=A),
    "surf": lambda y, A: surfing.surf(trajectory, y, operator=A),
    "recover": lambda y, A: surfing.recover(trajectory, y, operator=A, budget=800),
}
COUNTS = (12, 20, 40)

# %%
# All methods get the same measurements. Wilson intervals say how little 16 targets prove.
found = {name: [] for name in METHODS}
for m in COUNTS:
    operator = as_operator(f"gaussian:{m}", tuple(truth.x.shape[1:]))
    for name, method in METHODS.items():
        error = (method(operator(truth.x), operator).z - truth.z).norm(dim=1)
        found[name].append(int((error < FOUND).sum()))
        print(f"m = {m:3d}  {name:8s} {found[name][-1]:2d} of {len(error)}")

# %%
axes = plt.figure(figsize=(5, 3.2), layout="constrained").subplots()
for name, counts in found.items():
    bands = [wilson(count, len(truth.z)) for count in counts]
    axes.fill_between(COUNTS, *zip(*bands), alpha=0.15)
    axes.plot(COUNTS, [count / len(truth.z) for count in counts], marker="o", label=name)
axes.set(xlabel="measurements m (k = 10)", ylabel="latents found", ylim=(-0.02, 1.02))
axes.legend()
plt.show()
assert found["recover"][-1] >= found["recover"][0]

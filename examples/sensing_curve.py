"""
How many measurements are enough?
=================================

A compressed-sensing curve: the share of latents that are found, by the number of random
measurements, for one direct descent, one ride, and the default strategy.
"""

import matplotlib.pyplot as plt

import surfing
from surfing.report import wilson

trajectory = surfing.zoo.packaged()
z, x = surfing.ForwardModel(trajectory).draw(16)
METHODS = {
    "direct": surfing.direct,
    "surf": surfing.surf,
    "recover": lambda model, y: surfing.recover(model, y, budget=800),
}
COUNTS = (12, 20, 40)

# %%
# All methods get the same measurements. Wilson intervals say how little 16 targets prove.
found = {name: [] for name in METHODS}
for m in COUNTS:
    model = surfing.ForwardModel(trajectory, operator=f"gaussian:{m}")
    for name, method in METHODS.items():
        error = (method(model, model.measure(x)).z - z).norm(dim=1)
        found[name].append(int((error < 0.01).sum()))
        print(f"m = {m:3d}  {name:8s} {found[name][-1]:2d} of {len(error)}")

# %%
axes = plt.figure(figsize=(5, 3.2), layout="constrained").subplots()
for (name, counts), colour in zip(found.items(), ("#0072b2", "#d55e00", "#009e73")):
    bands = [wilson(count, len(z)) for count in counts]
    axes.fill_between(COUNTS, *zip(*bands), color=colour, alpha=0.1)
    axes.plot(COUNTS, [count / len(z) for count in counts], color=colour, marker="o", label=name)
axes.set(xlabel="measurements m (k = 10)", ylabel="latents found", ylim=(-0.02, 1.02))
axes.legend(loc="lower right", frameon=False)
plt.show()
assert found["recover"][-1] >= found["recover"][0]

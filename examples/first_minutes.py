"""
From an untrained network to a recovered picture
================================================

A small generator is trained on scikit-learn's digits while a recorder looks on. Then pictures are
recovered from their upper half, and the surface that was ridden is drawn. With two latents the
surface is all of latent space.
"""

import tempfile

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import surfing
from surfing.report import recovery_grid

torch.manual_seed(0)
digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8)
encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 4))
layers = [nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64)]
generator = nn.Sequential(*layers, nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
optimizer = torch.optim.Adam([*encoder.parameters(), *generator.parameters()], lr=2e-3)

# %%
# The generator is the decoder of a VAE. One line in the loop records its training.
run = tempfile.mkdtemp()
with surfing.Recorder(run, generator, latent=surfing.Normal(2), every=100) as recorder:
    for _ in range(4000):
        x = digits[torch.randint(len(digits), (128,))]
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
        loss = (20 * (generator(z) - x).square().sum((1, 2, 3)) + divergence).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step()
trajectory = surfing.Trajectory.open(run)
print(f"{len(trajectory)} checkpoints, steps 0 to {trajectory.steps[-1]}")

# %%
# The operator measures the upper half. We look for latents from one start each: on the trained
# network alone, along the training, and by `recover`, which chooses its starts.
model = surfing.ForwardModel(trajectory, generator=generator, operator=lambda x: x[:, :, :4])
truth, x = model.draw(24)
y = model.measure(x)
found = {"direct": surfing.direct(model, y), "surfing": surfing.surf(model, y)}
found["recover"] = surfing.recover(model, y)
for name, solution in found.items():
    print(f"{name}: {int(solution.success.sum())} of {len(y)} targets met")
recovery_grid(
    x[:10],
    {name: solution.x[:10] for name, solution in found.items()},
    figure=plt.figure(figsize=(8, 5.4)),
)
plt.show()

# %%
# The surface of one target that surfing met and direct descent did not: minus the residual over
# latent space, at four moments of the training. The ball is the surfer, the diamond the place
# where direct descent ended on the last network.
met, missed = found["surfing"].success, ~found["direct"].success
target = int((met & missed).nonzero()[0])
path, end = found["surfing"].path[target], found["direct"].z[target]
every = torch.cat([path, end[None]])
sides = [torch.linspace(float(c.min()) - 1, float(c.max()) + 1, 61) for c in every.T]
across, up = torch.meshgrid(*sides, indexing="xy")
flat = {"projection": "3d", "computed_zorder": False}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), subplot_kw=flat)
for ax, number in zip(axes, (0, 3, 6, 9)):
    record = found["surfing"].stages[number]
    z = torch.cat([torch.stack([across.flatten(), up.flatten()], 1), path[number][None], end[None]])
    seen = model.measure(model.signals(z, stage=record.stage))
    height = -(seen - y[target]).flatten(1).norm(dim=1)
    surface = height[:-2].reshape(across.shape)
    ax.plot_surface(across.numpy(), up.numpy(), surface.numpy(), cmap="GnBu_r", alpha=0.8)
    ax.scatter(*path[number].tolist(), float(height[-2]), color="#d55e00", s=60, zorder=5)
    ax.scatter(*end.tolist(), float(height[-1]), color="#7b3fa0", marker="D", zorder=5)
    ax.set(title=f"step {record.step:.0f}", xticklabels=[], yticklabels=[], zticklabels=[])
figure.subplots_adjust(0, 0, 1, 0.92, wspace=0)
plt.show()

# %%
# The same as a page on which the surface can be turned, and played from the first step to the last.
page = found["surfing"].view(
    f"{run}/page.html", model=model, y=y, truth=truth, beside=found["direct"]
)
print(f"{page.stat().st_size / 1e6:.1f} MB")

"""
Crosshole tomography with a training image
==========================================

Train a generator on crops of a training image, recorded; then recover a section from the travel
times of rays between two boreholes. Put your own image (0 and 1) and ray ends in place of these.
"""

import numpy as np
import torch
from torch import nn

import surfing

# The training image: winding channels. Crops of it are sections of 32 x 16 cells of .25 m.
down, across = np.mgrid[0:300, 0:300]
middle = 7 * np.sin(across / 23 + down // 20) + 20 * (down // 20) + 10
image = torch.from_numpy(np.abs(down - middle) < 3.5).float()
# Rays: sources left, receivers right. The length in each cell, from 400 points along each ray.
depths, share = np.arange(0.5, 8, 0.5), (np.arange(400) + 0.5) / 400
ends = [(0.01, source, 3.99, receiver) for source in depths for receiver in depths]
lengths = torch.zeros(len(ends), 32 * 16)
for ray, (x0, y0, x1, y1) in enumerate(ends):
    cells = (y0 + share * (y1 - y0)) // 0.25 * 16 + (x0 + share * (x1 - x0)) // 0.25
    pieces = torch.full((400,), np.hypot(x1 - x0, y1 - y0) / 400)
    lengths[ray].index_add_(0, torch.from_numpy(cells).long(), pieces)


def travel_times(section: torch.Tensor) -> torch.Tensor:
    """(rows, 1, 32, 16) shares of channel to times in ns: .06 m/ns in channels, .08 outside."""
    return (1 / (0.08 - 0.02 * section)).flatten(1) @ lengths.T


# A variational autoencoder on crops: its decoder is the generator, and the recorder keeps its path.
torch.manual_seed(0)
k, law = 8, surfing.Normal(8)
layers = [nn.Linear(k, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 512)]
net = nn.Sequential(*layers, nn.Sigmoid(), nn.Unflatten(1, (1, 32, 16)))
encoder = nn.Sequential(nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 2 * k))
adam = torch.optim.Adam([*net.parameters(), *encoder.parameters()], lr=1e-3)
with surfing.Recorder("channels", net, latent=law, every=100, overwrite=True) as recorder:
    for _ in range(2000):
        places = zip(torch.randint(268, (64,)), torch.randint(284, (64,)), strict=True)
        real = torch.stack([image[None, top : top + 32, left : left + 16] for top, left in places])
        mean, spread = encoder(real).chunk(2, dim=1)
        made = net(mean + (spread / 2).exp() * torch.randn_like(mean))
        misfit = nn.functional.binary_cross_entropy(made, real, reduction="sum")
        adam.zero_grad()
        (misfit + (mean.square() + spread.exp() - 1 - spread).sum() / 2).backward()
        adam.step()
        recorder.step()
# Twenty sections that the generator makes, and their travel times with noise of .2 ns.
truth = net(law.sample(range(20), 1, seed=1)[:, 0]).detach()
times = travel_times(truth) + 0.2 * torch.randn(20, len(ends))
trajectory = surfing.Trajectory.open("channels")
solution = surfing.recover(trajectory, times, generator=net, operator=travel_times, noise=0.2)
print(solution.summary())
print("wrong cells:", float(((solution.x > 0.5) != (truth > 0.5)).float().mean()))
assert solution.success.float().mean() >= 0.5

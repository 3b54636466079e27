"""
Your own generator, recorded and recovered
==========================================

Any ``nn.Module`` that maps latents (rows, k) to signals will do. Here it is the decoder of a small
VAE on scikit-learn's digits; one line in the training loop records it.
"""

import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn

import surfing

torch.manual_seed(0)
digits = torch.tensor(load_digits().data, dtype=torch.float32) / 16  # (1797, 64)
latent = surfing.Normal(6)
encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2 * latent.dim))
decoder = nn.Sequential(
    nn.Linear(latent.dim, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64)
)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)

# %%
# The recorder keeps the random weights, every hundredth step and the last, whole and hashed.
run = tempfile.mkdtemp()
with surfing.Recorder(run, decoder, latent=latent, every=100) as recorder:
    for _ in range(1500):
        x = digits[torch.randint(len(digits), (64,))]
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
        loss = (10 * (decoder(z) - x).square().sum(1) + divergence).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step()

# %%
# Recover from the lower half of the picture alone: a slice is an operator.
trajectory = surfing.Trajectory.open(run)
model = surfing.ForwardModel(trajectory, generator=decoder, operator=lambda x: x[:, 32:])
z, x = model.draw(16)
solution = surfing.recover(model, model.measure(x))
print(solution.summary())
print(f"upper half, RMS error: {float((solution.x - x)[:, :32].square().mean().sqrt()):.1e}")
assert solution.success.float().mean() >= 0.75

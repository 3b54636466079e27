"""
A repository with one revision per step
=======================================

Some trainings are published with a branch or tag for each step, ``step0``, ``step20`` and so on.
``fetch_revisions`` downloads one file of weights of each; ``import_checkpoints`` makes a trajectory
of them. Here such a repository is laid out by hand in a cache of its own, and the hub is not asked.
In a shell: ``surfing import hub:somebody/decoder --out runs/decoder``.
"""

import hashlib
import os
import tempfile
from pathlib import Path

# %%
# Before the hub's library is imported: where its cache is, and that the network is not to be used.
folder = Path(tempfile.mkdtemp())
os.environ |= {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import surfing  # noqa: E402
from surfing.integrations.hub import fetch_revisions  # noqa: E402

# %%
# What its owner did: train, and push a branch every twenty steps.
repository = folder / "hub" / "models--somebody--decoder"
(repository / "refs").mkdir(parents=True)
torch.manual_seed(0)
net, teacher = torch.nn.Linear(2, 8), torch.nn.Linear(2, 8)
adam = torch.optim.Adam(net.parameters(), lr=0.02)
for step in range(101):
    if step % 20 == 0:
        commit = hashlib.sha1(f"step{step}".encode()).hexdigest()
        (repository / "snapshots" / commit).mkdir(parents=True)
        save_file(net.state_dict(), repository / "snapshots" / commit / "model.safetensors")
        (repository / "refs" / f"step{step}").write_text(commit)
    z = torch.randn(64, 2)
    loss = (net(z) - teacher(z)).square().mean()
    adam.zero_grad()
    loss.backward()
    adam.step()

# %%
# What you do.
cached = fetch_revisions("somebody/decoder")
trajectory = surfing.import_checkpoints(cached, folder / "run", latent=surfing.Normal(2))
print(trajectory.steps)
net.load_state_dict(dict(trajectory[-1].state))
with torch.no_grad():
    y = net(torch.randn(3, 2))
solution = surfing.recover(trajectory, y, generator=net)
print(solution.summary())

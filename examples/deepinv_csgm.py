"""
Beside deepinv's CSGM
=====================

deepinv's ``CSGMGenerator`` descends with Adam from one random latent, on the last network.
``SurfingReconstructor`` is a deepinv model as well, so that ``deepinv.test`` scores both on the
same measurements, fifty random projections of each picture. CSGM takes one picture at a time; its
step size is the best of 0.01, 0.03, 0.1 and 0.3 on these very pictures. Six pictures are an
example, and no evidence.
"""

import warnings

import deepinv
import torch
from torch.utils.data import DataLoader

import surfing
from surfing.generator import Generator
from surfing.integrations.deepinv import SurfingReconstructor

warnings.filterwarnings("ignore", module="deepinv")

trajectory = surfing.zoo.packaged()
net = surfing.zoo.generator_from_manifest(trajectory.architecture)
z, x = surfing.ForwardModel(trajectory, generator=net).draw(6)
rng = torch.Generator().manual_seed(0)
physics = deepinv.physics.CompressedSensing(m=50, img_size=tuple(x.shape[1:]), rng=rng)
data = [{"x": one, "y": y} for one, y in zip(x, physics.A(x), strict=True)]


class Backbone(torch.nn.Module):
    """The last network as CSGM expects it: `nz`, and latents of shape (1, nz, 1, 1)."""

    nz = trajectory.latent.dim
    last = Generator(net).at(trajectory[-1].state)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.last(z.flatten(1))


torch.manual_seed(0)  # of CSGM's starts
csgm = deepinv.models.CSGMGenerator(Backbone(), inf_lr=0.3, inf_max_iter=670)
psnr = deepinv.metric.PSNR()  # of pictures in [0, 1]; it ends at 80 dB
surfer = SurfingReconstructor(trajectory, net)

# %%
# A step of Adam costs a forward and a reverse pass, 3 forward-equivalents: 670 of them are the 2000
# that `SurfingReconstructor` may spend on a target.
for name, model, batch in (("CSGM", csgm, 1), ("surfing", surfer, 6)):
    loader = DataLoader(data, batch_size=batch)
    quiet = {"verbose": False, "show_progress_bar": False}
    result = deepinv.test(model, loader, physics, metrics=[psnr], **quiet)
    print(f"{name}: PSNR {result['PSNR']:.1f} +- {result['PSNR_std']:.1f} dB")
print(surfer.solution.summary())

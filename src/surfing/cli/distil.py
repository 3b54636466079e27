"""``surfing distil``: a trajectory for a generator of which there is one checkpoint."""

from __future__ import annotations

from pathlib import Path

from surfing.cli.common import Common, Report, Screen, as_typed
from surfing.cli.inputs import load_weights, make_module, pick_device, read_latent
from surfing.cli.inspect import summary_line
from surfing.distillation import Linearisation
from surfing.distillation.distil import distil as make_path
from surfing.errors import InputError
from surfing.latents import Latent, Normal

__all__ = ["distil"]


def distil(
    *,
    generator: str,
    out: Path,
    weights: Path | None = None,
    latent: str | None = None,
    latent_dim: int | None = None,
    prefix: str = "generator.",
    key: str | None = None,
    stages: int = 10,
    steps: int = 60,
    batch_size: int = 128,
    learning_rate: float = 5e-3,
    overwrite: bool = False,
    common: Common | None = None,
) -> Report:
    """Make a trajectory for a generator of which there is one checkpoint.

    No training data are needed: copies of the generator are trained on its own samples. The same
    command continues after an interruption.

    Args:
        generator: the architecture, package.module:callable; called without arguments.
        out: folder for the trajectory.
        weights: .safetensors, .pt, .pth or .ckpt file of its weights; those that the callable
            gives where left out.
        latent: the law of z: normal:K, uniform:K or uniform:K:LOW:HIGH.
        latent_dim: K of a normal law, instead of --latent.
        prefix: of the generator's keys in the file; it is stripped.
        key: where the state dict lies inside the file, dotted; by default the usual places.
        stages: copies to be made.
        steps: training steps of each.
        batch_size: latents per step.
        learning_rate: of the training.
        overwrite: start again, deleting the trajectory that OUT holds.
    """
    common = common or Common()
    law = _law(latent, latent_dim)
    device = pick_device(common.device)
    module = make_module(generator)
    if weights is not None:
        load_weights(module, weights, prefix=prefix, key=key)
    screen = Screen(common)
    options = ("stages", "steps", "batch_size", "learning_rate", "seed", "generator", "out")
    with as_typed(*options), screen.progress("stages") as tick:
        trajectory = make_path(
            module,
            law,
            out=out,
            curriculum=Linearisation(stages),
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=common.seed,
            device=device,
            overwrite=overwrite,
            progress=tick,
        )
    cost = trajectory.metadata["distillation"]["cost"]
    screen.say(summary_line(trajectory), f"It took {cost:,} forward-equivalents, once.")
    return {"out": out, "checkpoints": len(trajectory), "cost": cost, "latent": law.to_dict()}


def _law(latent: str | None, latent_dim: int | None) -> Latent:
    if (latent is None) == (latent_dim is None):
        raise InputError("--latent: give either --latent normal:K or --latent-dim K.")
    return Normal(latent_dim) if latent_dim is not None else read_latent(str(latent))

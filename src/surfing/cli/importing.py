"""``surfing import``: checkpoints that something else saved, as a trajectory."""

from __future__ import annotations

from pathlib import Path

from surfing.cli.common import Common, Report, Screen
from surfing.cli.inputs import read_latent
from surfing.cli.inspect import summary_line
from surfing.trajectory import import_checkpoints

__all__ = ["import_"]

_HUB = "hub:"


def import_(
    source: Path,
    /,
    *,
    out: Path,
    prefix: str = "generator.",
    latent: str | None = None,
    key: str | None = None,
    pattern: str | None = None,
    dtype: str | None = None,
    common: Common | None = None,
) -> Report:
    """Turn a folder of .pt, .pth, .ckpt or .safetensors files into a trajectory.

    One folder per step, as in step-1000/model.safetensors, will do as well (weights in parts,
    model-00001-of-00002.safetensors, are joined), and so will
    hub:OWNER/NAME, a repository on a model hub that has one branch or tag per step.

    The files are only read, no code in them is run, and they are ordered by the training step in
    their names, as a number.

    Args:
        source: the folder, or hub:OWNER/NAME.
        out: folder for the trajectory.
        prefix: of the generator's keys; it is stripped, and other keys are left out.
        latent: the law of z: normal:K, uniform:K or uniform:K:LOW:HIGH.
        key: where the state dict lies inside each file, dotted; by default the usual places.
        pattern: regular expression for the file names; its first group is the step.
        dtype: float16, float32 or float64; by default as wide as needed.
    """
    common = common or Common()
    trajectory = import_checkpoints(
        _fetched(source, pattern),
        out,
        prefix=prefix,
        key=key,
        pattern=pattern,
        latent=None if latent is None else read_latent(latent),
        dtype=dtype,
    )
    screen = Screen(common)
    screen.say(summary_line(trajectory))
    kept = str(trajectory.metadata["imported_prefix"])
    if trajectory.latent is None:
        screen.say("Its latents' law is not known: give --latent here, or each time it is used.")
    return {
        "out": out,
        "checkpoints": len(trajectory),
        "steps": list(trajectory.steps),
        "prefix": kept,
        "latent": None if trajectory.latent is None else trajectory.latent.to_dict(),
    }


def _fetched(source: Path, pattern: str | None) -> Path:
    if not str(source).startswith(_HUB):
        return source
    from surfing.integrations.hub import fetch_revisions

    return fetch_revisions(str(source).removeprefix(_HUB), pattern=pattern)

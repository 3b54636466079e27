"""What was measured, as a picture or as numbers, so that a page shows what there was to go by."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from surfing.report.page.pictures import Atlas, is_image
from surfing.report.palette import value_range

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from surfing.report.page.scene import Scene

__all__ = ["depends", "measurements"]

_NUMBERS = 96
"""As many bars as can be told apart."""
_UNSEEN = (0.55, 0.68, 0.74)
"""Pixels that were not measured: a colour that no grey picture has."""


def depends(scene: Scene) -> Bool[Tensor, "targets m"]:
    """Which measurements of each target depend on its signal at all; a masked pixel does not."""
    problem = scene.problem
    if problem is None:
        return torch.ones(len(scene.solution), 0, dtype=torch.bool)
    weights = problem.data.weights
    if weights is None:
        return torch.ones(problem.y.shape, dtype=torch.bool)
    return (weights > 0).cpu().expand(problem.y.shape)


def measurements(scene: Scene) -> dict[str, Any] | None:
    """The measurements of as many targets as there is room for; None where they are the signal."""
    problem = scene.problem
    if problem is None or problem.architecture.operator.name == "identity":
        return None
    y, shape = problem.y.detach().cpu().float(), tuple(problem.measurement_shape)
    seen = depends(scene)
    signal = tuple(problem.architecture.signal_shape)
    if is_image(shape):
        images = y.reshape(-1, *shape)
        name = f"{shape[1]} × {shape[2]} pixels" if bool(seen.all()) else "measured"
        return _pictures(_shown(images, seen.reshape(-1, *shape)), signal, name)
    if len(shape) == 3 and shape[0] == 2 and len(signal) == 3 and shape[1:] == signal[1:]:
        size = y.reshape(-1, *shape).square().sum(1, keepdim=True).sqrt()
        mask = seen.reshape(-1, *shape).any(1, keepdim=True)
        logs = (size + 1e-3 * size.amax()).log()
        return _pictures(_shown(logs, mask), signal, "k-space, magnitude")
    counted = seen.any(0)
    return _bars(y[:, counted], int(counted.sum()))


def _shown(images: Float[Tensor, "n c h w"], seen: Bool[Tensor, "n c h w"]) -> Tensor:
    """In colour, in [0, 1], what was not measured in a colour of its own."""
    known = images[seen]
    low, high = value_range(known) if known.numel() else (0.0, 1.0)
    scaled = ((images - low) / max(high - low, 1e-12)).nan_to_num().clamp(0, 1)
    unseen = torch.tensor(_UNSEEN)[:, None, None]
    return torch.where(seen.any(1, keepdim=True), scaled.expand(-1, 3, -1, -1), unseen)


def _pictures(images: Tensor, signal: tuple[int, ...], name: str) -> dict[str, Any]:
    """In an atlas of their own: few pixels are drawn larger, not smoother."""
    if len(signal) == 3 and max(images.shape[-2:]) < max(signal[-2:]):
        factor = max(1, round(max(signal[-2:]) / max(images.shape[-2:])))
        images = interpolate(images, scale_factor=factor, mode="nearest")
    atlas = Atlas(images, low=0.0, high=1.0)
    places = atlas.add(images[: atlas.room])
    return {"kind": "picture", "name": name, **atlas.document(), "places": places}


def _bars(y: Float[Tensor, "targets m"], m: int) -> dict[str, Any]:
    """The first numbers of each target, one byte each, on the scale of all targets."""
    shown = y[:, :_NUMBERS]
    scale = float(shown[shown.isfinite()].abs().max()) if shown.isfinite().any() else 1.0
    scaled = (shown / max(scale, 1e-12)).nan_to_num().clamp(-1, 1)
    packed = (scaled * 127).round().to(torch.int8).numpy().tobytes()
    return {
        "kind": "numbers",
        "name": f"{m} numbers" if m <= _NUMBERS else f"the first {_NUMBERS} of {m} numbers",
        "count": shown.shape[1],
        "scale": scale if math.isfinite(scale) else 1.0,
        "bars": base64.b64encode(packed).decode(),
    }

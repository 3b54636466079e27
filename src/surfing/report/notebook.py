"""What a notebook shows of a solution and of a trajectory: small pictures, and words beside them.

Nothing here needs a script: the output stays as it is when a notebook is saved and opened again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.architectures import generator_from_manifest
from surfing.errors import SurfingError
from surfing.generator import Generator
from surfing.report.page.pictures import Atlas, is_image
from surfing.report.tables import number
from surfing.solution import Status

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.solution import Solution
    from surfing.trajectory import Trajectory

__all__ = ["solution_html", "trajectory_html"]

_TARGETS, _MOMENTS, _SAMPLES = 12, 6, 4
_PARAMETERS = 5_000_000
"""Of a generator whose samples are made without being asked for."""
_SIDE = 72
_MET, _MISSED = "#0072b2", "#d55e00"
_CELL = "display: inline-block; margin: 0 12px 10px 0; vertical-align: top; line-height: 1.35"
_SMALL = "font-size: 12px"
_WRAP = "white-space: pre-wrap"


def solution_html(solution: Solution) -> str:
    """The first signals with their status and residual, and the summary."""
    shown = min(_TARGETS, len(solution))
    pictures = _pictures(solution.x[:shown])
    norms = (2 * solution.risk[:shown]).sqrt().tolist()
    cells = [
        f'<span style="{_CELL}">{picture}'
        f'<span style="{_SMALL}">{target} {_dot(status)} {escape(status.label)}<br>'
        f"residual {number(norm)}</span></span>"
        for target, (picture, norm, status) in enumerate(
            zip(pictures, norms, (Status(int(s)) for s in solution.status[:shown]))
        )
    ]
    more = len(solution) - shown
    rest = f'<div style="{_SMALL}">and {more} more targets</div>' if more else ""
    summary = f'<pre style="{_WRAP}">{escape(solution.summary())}</pre>'
    return f"<div>{''.join(cells)}{rest}{summary}</div>"


def trajectory_html(trajectory: Trajectory) -> str:
    """What its generator makes, from the first checkpoint to the last, and how far it moves."""
    parts = [f'<pre style="{_WRAP}">{escape(repr(trajectory))}</pre>']
    moments = _moments(len(trajectory))
    samples = _samples(trajectory, moments)
    if samples is not None:
        pictures = _pictures(samples.flatten(0, 1))
        for row, moment in enumerate(moments):
            mine = "".join(pictures[row * _SAMPLES : (row + 1) * _SAMPLES])
            step = f'<span style="{_SMALL}">step {trajectory.steps[moment]}</span>'
            parts.append(f'<span style="{_CELL}">{step}<br>{mine}</span>')
    known = [d for d in trajectory.recorded_drift if d is not None]
    if len(known) > 1:
        title = "drift from each checkpoint to the next (RMS change of G)"
        parts.append(f'<div style="{_SMALL}">{_line(known, 3 * _SIDE)}<br>{title}</div>')
    return f"<div>{''.join(parts)}</div>"


def _moments(count: int) -> list[int]:
    """A few checkpoints, first and last among them."""
    if count <= _MOMENTS:
        return list(range(count))
    return [round(i * (count - 1) / (_MOMENTS - 1)) for i in range(_MOMENTS)]


def _samples(trajectory: Trajectory, moments: Sequence[int]) -> Float[Tensor, "t n c h w"] | None:
    """The same latents at each moment; None where that takes a module, or a while."""
    if trajectory.architecture is None or trajectory.latent is None:
        return None
    first = trajectory[0].state
    if sum(t.numel() for t in first.values()) > _PARAMETERS:
        return None
    try:
        generator = Generator(generator_from_manifest(trajectory.architecture, first))
    except SurfingError:  # of a version that knows more
        return None
    z = trajectory.latent.sample(range(_SAMPLES), 1, seed=0)[:, 0]
    made = []
    for moment in moments:
        state = trajectory[moment].state
        like = next((t for t in state.values() if t.is_floating_point()), z)
        generator.module.to(like.device)
        with torch.no_grad():
            made.append(generator.at(state)(z.to(like)).float().cpu())
    stacked = torch.stack(made)
    return stacked if is_image(tuple(stacked.shape[2:])) else None


def _pictures(x: Tensor) -> list[str]:
    """Images as pictures, short signals as curves; nothing of other things."""
    shape = tuple(x.shape[1:])
    if len(x) == 0:
        return []
    if is_image(shape):
        return [_picture(image[None], x) for image in x]
    if len([side for side in shape if side > 1]) == 1:
        return [_line(signal.flatten().tolist(), _SIDE) + "<br>" for signal in x.detach().cpu()]
    return [""] * len(x)


def _picture(image: Float[Tensor, "1 c h w"], like: Float[Tensor, "n c h w"]) -> str:
    atlas = Atlas(like)
    atlas.add(image)
    style = f"width: {_SIDE}px; image-rendering: pixelated; display: block; margin-bottom: 2px"
    return f'<img src="{atlas.document()["png"]}" alt="" style="{style}">'


def _line(values: Sequence[float], width: int) -> str:
    """A curve without axes; what is not finite is left out."""
    known = [v for v in values if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    scale, last = (high - low) or 1.0, max(1, len(values) - 1)
    points = " ".join(
        f"{i / last * width:.1f},{2 + (high - v) / scale * 36:.1f}"
        for i, v in enumerate(values)
        if math.isfinite(v)
    )
    return (
        f'<svg width="{width}" height="40" role="img"><polyline points="{points}" fill="none" '
        f'stroke="{_MET}" stroke-width="1.5"/></svg>'
    )


def _dot(status: Status) -> str:
    """Filled where the measurements are met, as on the page."""
    colour, sign = (_MET, "●") if status.success else (_MISSED, "○")
    return f'<span style="color: {colour}">{sign}</span>'

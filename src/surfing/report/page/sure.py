"""How sure: mean, deviation, some draws and the modes of each target, as plain HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import InputError
from surfing.posterior import DrawsStatus
from surfing.report.page.pictures import is_image, strip
from surfing.report.palette import value_range

if TYPE_CHECKING:
    from jaxtyping import Float

    from surfing.posterior import Draws
    from surfing.problem.model import ForwardModel

__all__ = ["how_sure"]

_TARGETS = 24
_STRIP = 8
_MODES = 4


def how_sure(draws: Draws | None, model: ForwardModel | None, targets: int) -> str:
    """A section of the page; nothing where there are no draws.

    Args:
        draws: of all targets of the page.
        model: whose signals; that of the draws where left out.
        targets: of the page.

    Raises:
        InputError: draws of another number of targets, or no model for their signals.
    """
    if draws is None:
        return ""
    if len(draws) != targets:
        raise InputError(
            f"draws: expected those of {targets} targets, got {len(draws)}.", argument="draws"
        )
    model = draws.model if model is None else model
    if model is None:
        raise InputError(
            "draws: expected trajectory= and y= beside draws that come from a file.",
            argument="draws",
        )
    shown = min(targets, _TARGETS)
    rows = "\n".join(_target(draws, model, number) for number in range(shown))
    more = "" if shown == targets else f" The first {shown} of {targets} targets are shown."
    return (
        '<section id="sure" class="panel sure"><h2>How sure</h2>\n'
        f"{rows}\n"
        '<p class="caption">Of each target: the posterior mean of the signal; its standard '
        f"deviation by pixel, white the largest; {_STRIP} draws of equal weight; the modes, the "
        f"heaviest first.{more}</p></section>"
    )


def _target(draws: Draws, model: ForwardModel, number: int) -> str:
    part = draws.take(number)
    status = DrawsStatus(int(part.status[0]))
    count = min(int(part.modes.count[0]), _MODES)
    modes = int(part.modes.count[0])
    masses = ", ".join(f"{float(mass):.2f}" for mass in part.modes.mass[0, :count])
    said = (
        f"Target {number}: effective sample size {float(part.ess[0]):.0f}, "
        f"{modes} mode{'s' if modes != 1 else ''}, masses {masses}. "
        f"{status.label.capitalize()}: {status.message}"
    )
    return (
        f"<figure>{_pictures(part, model, count)}<figcaption>{escape(said)}</figcaption></figure>"
    )


def _pictures(part: Draws, model: ForwardModel, modes: int) -> str:
    if not is_image(model.signal_shape):
        return ""
    given = part.given
    seen = part.signals(levels=(), model=model)

    def signals(z: Float[Tensor, "n k"]) -> Tensor:
        beside = None if given is None else {n: _repeated(v, len(z)) for n, v in given.items()}
        return model.signals(z, given=beside)

    some = signals(part.resampled(_STRIP)[0])
    at = signals(part.modes.z[0, :modes]) if modes else some[:0]
    low, high = value_range(torch.cat([some, seen.mean]))
    named = (
        ("mean", strip(seen.mean, low, high)),
        ("standard deviation", strip(seen.std, 0.0, float(seen.std.max()))),
        ("draws", strip(some, low, high)),
        ("modes", strip(at, low, high) if modes else ""),
    )
    return "".join(
        f'<span class="strip"><img alt="{name}" src="{source}"><i>{name}</i></span>'
        for name, source in named
        if source
    )


def _repeated(value: object, count: int) -> Tensor:
    return torch.as_tensor(value)[:1].repeat_interleave(count, 0)

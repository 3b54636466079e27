"""Colours, lines and markers of all pictures, and how a signal's values become brightness.

The colours are those of Okabe and Ito, which people who see red and green alike tell apart; yellow
is left out, too pale on white. Lines and markers differ too, for prints in grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray

__all__ = ["INK", "LINES", "as_pixels", "error_pixels", "value_range"]

INK = "#333333"

LINES: tuple[tuple[str, Any, str], ...] = (
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", "-.", "D"),
    ("#b0508c", (0, (1, 1)), "^"),
    ("#000000", (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("#c98500", (0, (8, 2)), "P"),
)
"""(colour, dashes, marker) of the first, second, ... of several things in one picture."""


def value_range(images: Float[Tensor, "n c h w"]) -> tuple[float, float]:
    """The finite values that are drawn darkest and lightest; (0, 1) where there are none."""
    finite = images.detach()[images.detach().isfinite()]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def as_pixels(images: Float[Tensor, "n c h w"], low: float, high: float) -> ndarray:
    """(n, c, h, w) -> (n, h, w, 3) in [0, 1]: the larger a value, the lighter, in every picture.

    So a photograph looks as it did, and a digit that the data holds as light on dark is light on
    dark. Two channels or more than three show the first.
    """
    scaled = ((images.detach().cpu().double() - low) / max(high - low, 1e-12)).nan_to_num()
    coloured = scaled if scaled.shape[1] == 3 else scaled[:, :1].expand(-1, 3, -1, -1)
    pixels: ndarray = coloured.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return pixels


def error_pixels(share: Float[Tensor, "n h w"]) -> ndarray:
    """(n, h, w) in [0, 1] -> from white over red to dark red; exactly white at 0."""
    amount = share.detach().cpu().nan_to_num(nan=1.0).clamp(0, 1).numpy()[..., None]
    reds = np.asarray(colormaps["Reds"](amount[..., 0]))[..., :3]
    weight = np.clip(amount * 8, 0, 1)
    white_to_red: ndarray = (1 - weight) + weight * reds
    return white_to_red

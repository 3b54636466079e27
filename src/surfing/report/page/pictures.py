"""Many small signals as one picture that a browser decodes at once."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from surfing.report.palette import value_range

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

__all__ = ["Atlas", "is_image", "strip"]

_LARGEST = 64
_PIXELS = 8_000_000
"""Of one picture: browsers on phones refuse much more than this."""


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether a signal of this shape is a grey or a colour image."""
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1


class Atlas:
    """Images of one shape, side by side in one PNG.

    Args:
        like: images whose range becomes black to white, by the rule of all pictures: a larger
            value is lighter.
        low: what becomes black, where that is known.
        high: what becomes white.
    """

    def __init__(
        self,
        like: Float[Tensor, "n c h w"],
        *,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        least, most = value_range(like)
        self.low: float = least if low is None else low
        self.high: float = most if high is None else high
        shrink = min(1.0, _LARGEST / max(like.shape[-2:]))
        self.size: tuple[int, ...] = tuple(max(1, round(side * shrink)) for side in like.shape[-2:])
        self.channels: int = int(like.shape[1])
        self._cells: list[UInt8[Tensor, "c h w"]] = []

    @property
    def room(self) -> int:
        """How many more images fit."""
        return _PIXELS // math.prod(self.size) - len(self._cells)

    def add(self, images: Float[Tensor, "n c h w"]) -> list[int]:
        """Place images; the number of each."""
        images = images.detach().cpu().float()
        if tuple(images.shape[-2:]) != self.size:
            images = interpolate(images, self.size, mode="area")
        scaled = (images - self.low) / max(self.high - self.low, 1e-12)
        cells = (torch.nan_to_num(scaled).clamp(0, 1) * 255).round().to(torch.uint8)
        first = len(self._cells)
        self._cells.extend(cells)
        return list(range(first, len(self._cells)))

    def document(self, columns: int | None = None) -> dict[str, Any]:
        """JSON values: the picture as a data address, and how to cut it up.

        Args:
            columns: of the picture; as many as rows where left out.
        """
        columns = columns or max(1, math.ceil(math.sqrt(len(self._cells))))
        height, width = self.size
        rows = max(1, math.ceil(len(self._cells) / columns))
        sheet = torch.zeros(self.channels, rows * height, columns * width, dtype=torch.uint8)
        for number, cell in enumerate(self._cells):
            top, left = number // columns * height, number % columns * width
            sheet[:, top : top + height, left : left + width] = cell
        return {
            "png": "data:image/png;base64," + base64.b64encode(_png(sheet)).decode(),
            "width": width,
            "height": height,
            "columns": columns,
            "rows": rows,
        }


def strip(images: Float[Tensor, "n c h w"], low: float, high: float) -> str:
    """Images side by side as one data address, the values from low to high black to white."""
    atlas = Atlas(images, low=low, high=high)
    atlas.add(images)
    return str(atlas.document(columns=max(1, len(images)))["png"])


def _png(sheet: UInt8[Tensor, "c h w"]) -> bytes:
    """A PNG of 8-bit grey or RGB, lines unfiltered."""
    channels, height, width = sheet.shape
    lines = sheet.permute(1, 2, 0).reshape(height, -1)
    raw = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), lines], 1).numpy().tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )

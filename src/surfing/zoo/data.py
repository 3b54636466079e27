"""Images to train on, by name: one tensor of bytes (n, c, s, s), 0 black and 255 white.

Fashion-MNIST and MNIST are read through torchvision from ``<root>/<name>/raw``, downloaded there
if they are absent, and their image files compared with known SHA-256 sums, because the mirror of
the former speaks plain HTTP. Scikit-learn's digits need no network. Any folder of images will do
in their place, grey or in colour, or a zip file of one.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from surfing import check
from surfing.errors import SurfingError, UnknownNameError, require

if TYPE_CHECKING:
    from jaxtyping import UInt8

__all__ = ["DATA_NAMES", "DataError", "data_root", "load_images"]

DATA_NAMES = ["digits", "fashion-mnist", "mnist"]
ENVIRONMENT = "SURFING_DATA"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".tif", ".tiff", ".webp"}

_CLASSES = {"fashion-mnist": "FashionMNIST", "mnist": "MNIST"}
_FILES = {True: "train-images-idx3-ubyte", False: "t10k-images-idx3-ubyte"}
_SHA256 = {
    ("fashion-mnist", True): "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ("fashion-mnist", False): "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ("mnist", True): "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ("mnist", False): "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}


class DataError(SurfingError):
    """Training images can't be read, downloaded or trusted."""


def load_images(
    data: str | Path,
    *,
    image_size: int | None = None,
    root: str | Path | None = None,
    train: bool = True,
    channels: int = 1,
) -> UInt8[Tensor, "n c s s"]:
    """Images by name, or from a folder.

    Args:
        data: "fashion-mnist", "mnist" (28x28), "digits" (8x8), or a folder of images or a zip
            file of one; these are made grey (with three channels, put on white and kept in
            colour), cropped to the central square and resized.
        image_size: s; None keeps the size of the named data and takes 28 for a folder.
        root: where named data lie or are downloaded to; None means :func:`data_root`.
        train: the training part, or the held-out one. Every sixth of the digits is held out; a
            folder has no held-out part.
        channels: c: 1 for grey, 3 for colour, which named data have none of.

    Returns:
        Bytes 0..255; divide by 255 for values in [0, 1].

    Raises:
        UnknownNameError: neither a known name nor a folder.
        DataError: nothing to read, no download, or a file that is not what it should be.
        MissingExtraError: torchvision, scikit-learn or pillow is not installed.
    """
    _check_image_size(image_size)
    name = str(data)
    if name in _CLASSES:
        images = _torchvision_images(name, data_root() if root is None else Path(root), train)
    elif name == "digits":
        images = _digits(train)
    elif Path(data).is_dir() or zipfile.is_zipfile(Path(data)):
        size = 28 if image_size is None else image_size
        return _folder_images(Path(data), size, "L" if channels == 1 else "RGB")
    else:
        known = [*DATA_NAMES, "the path of a folder of images, or of a zip file of one"]
        raise UnknownNameError("data set", name, known)
    if image_size is not None:
        images = _resized(images, image_size)
    return images.expand(-1, channels, -1, -1).contiguous()


def data_root() -> Path:
    """Where data sets lie: $SURFING_DATA, else a folder in the user's cache."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT])
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "surfing" / "data"


def _torchvision_images(name: str, root: Path, train: bool) -> Tensor:
    datasets = require("torchvision.datasets", "train")
    kind = getattr(datasets, _CLASSES[name])
    path = root / _CLASSES[name] / "raw" / _FILES[train]
    try:
        # A present copy may lie on a medium that can't be written: ask for a download only without.
        dataset = kind(str(root), train=train, download=not path.is_file())
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{name}: expected its files under {path.parent}, and could not download them "
            f"({error}). Put them there, or name another place with --data-root or {ENVIRONMENT}."
        ) from error
    _check_sum(path, _SHA256[name, train])
    images: Tensor = dataset.data
    return images.unsqueeze(1)


def _check_sum(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error}).") from error
    if found != expected:
        raise DataError(
            f"{path}: expected SHA-256 {expected}, got {found}. The file is damaged or is not the "
            "published one: delete it, so that it is downloaded again."
        )


def _digits(train: bool) -> Tensor:
    loaded = require("sklearn.datasets", "train").load_digits()
    values = np.rint(np.asarray(loaded.images) * (255 / 16)).astype(np.uint8)  # 0..16 in the source
    images = torch.from_numpy(values).unsqueeze(1)
    held_out = torch.arange(len(images)) % 6 == 5
    return images[~held_out if train else held_out]


_UNREADABLE = (OSError, ValueError, zipfile.BadZipFile)


def _folder_images(folder: Path, size: int, mode: str) -> Tensor:
    image_module = require("PIL.Image", "train")
    rows = []
    for name, file in _files(folder):
        try:
            with file() as opened, image_module.open(opened) as image:
                rows.append(_square(image, size, mode))
        except (*_UNREADABLE, image_module.DecompressionBombError) as error:
            raise DataError(f"{name}: expected an image, but: {error}. Remove the file.") from error
    if not rows:
        raise DataError(
            f"{folder}: expected images ({', '.join(sorted(SUFFIXES))}), found none. "
            "Give the folder that holds them; those in subfolders are found."
        )
    stacked = torch.from_numpy(np.stack(rows))
    return stacked.unsqueeze(1) if mode == "L" else stacked.movedim(-1, 1).contiguous()


def _files(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of images, in order, and what opens them."""
    if folder.is_dir():
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
            if path.is_file():
                yield str(path), partial(path.open, "rb")
        return
    with zipfile.ZipFile(folder) as packed:
        for name in sorted(packed.namelist()):
            if Path(name).suffix.lower() in SUFFIXES:
                yield f"{folder}: {name}", partial(packed.open, name)


def _square(image: Any, size: int, mode: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    ops = require("PIL.ImageOps", "train")
    if mode == "RGB" and image.has_transparency_data:
        image = image.convert("RGBA")
        white = require("PIL.Image", "train").new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return np.asarray(ops.fit(image.convert(mode), (size, size)), dtype=np.uint8).copy()


def _resized(images: Tensor, size: int) -> Tensor:
    """Area averages on the way down, so that 28 to 14 is a mean of 2x2; bilinear on the way up."""
    if images.shape[-1] == size:
        return images
    mode = "area" if size < images.shape[-1] else "bilinear"
    scaled = nn.functional.interpolate(images.float(), size=(size, size), mode=mode)
    return scaled.round().clamp(0, 255).byte()


def _check_image_size(size: object) -> None:
    if size is not None:
        check.integer("image_size", size, low=1)

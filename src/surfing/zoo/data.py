"""Images to train on, by name: one tensor of bytes (n, 1, s, s), 0 black and 255 white.

Fashion-MNIST and MNIST are read through torchvision from ``<root>/<name>/raw``, downloaded there
if they are absent, and their image files compared with known SHA-256 sums, because the mirror of
the former speaks plain HTTP. Scikit-learn's digits need no network. Any folder of images will do
in their place.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

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
) -> UInt8[Tensor, "n 1 s s"]:
    """Images by name, or from a folder.

    Args:
        data: "fashion-mnist", "mnist" (28x28), "digits" (8x8), or a folder of images, which are
            made grey, cropped to the central square and resized.
        image_size: s; None keeps the size of the named data and takes 28 for a folder.
        root: where named data lie or are downloaded to; None means :func:`data_root`.
        train: the training part, or the held-out one. Every sixth of the digits is held out; a
            folder has no held-out part.

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
    elif Path(data).is_dir():
        return _folder_images(Path(data), 28 if image_size is None else image_size)
    else:
        raise UnknownNameError("data set", name, [*DATA_NAMES, "the path of a folder of images"])
    return images if image_size is None else _resized(images, image_size)


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


def _folder_images(folder: Path, size: int) -> Tensor:
    image_module = require("PIL.Image", "train")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise DataError(
            f"{folder}: expected images ({', '.join(sorted(SUFFIXES))}), found none. "
            "Give the folder that holds them; those in subfolders are found."
        )
    rows = []
    for path in paths:
        try:
            with image_module.open(path) as image:
                rows.append(_grey_square(image.convert("L"), size))
        except (OSError, ValueError, image_module.DecompressionBombError) as error:
            raise DataError(f"{path}: expected an image, but: {error}. Remove the file.") from error
    return torch.from_numpy(np.stack(rows)).unsqueeze(1)


def _grey_square(image: object, size: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    ops = require("PIL.ImageOps", "train")
    return np.asarray(ops.fit(image, (size, size)), dtype=np.uint8).copy()


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

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from surfing.errors import InputError, UnknownNameError
from surfing.zoo import data
from surfing.zoo.data import DataError, data_root, load_images


def test_the_digits_come_in_two_parts_as_bytes():
    train, held_out = load_images("digits"), load_images("digits", train=False)
    assert train.dtype == held_out.dtype == torch.uint8
    assert train.shape[1:] == held_out.shape[1:] == (1, 8, 8)
    assert len(train) + len(held_out) == 1797
    assert int(train.max()) == 255
    assert int(train.min()) == 0


@pytest.mark.parametrize("size", [28, 14, 8])
def test_images_are_resized(size):
    images = load_images("digits", image_size=size)
    assert images.shape[1:] == (1, size, size)
    expected = float(load_images("digits").float().mean())
    assert float(images.float().mean()) == pytest.approx(expected, rel=0.05)


def test_halving_is_the_mean_of_two_by_two():
    whole = load_images("digits").float()
    half = load_images("digits", image_size=4).float()
    means = whole.view(-1, 1, 4, 2, 4, 2).mean((3, 5))
    assert (half - means).abs().max() <= 0.5


def test_a_folder_of_images(tmp_path):
    (tmp_path / "deeper").mkdir()
    Image.new("RGB", (30, 50), (255, 255, 255)).save(tmp_path / "b.png")
    Image.new("L", (28, 28), 0).save(tmp_path / "deeper" / "a.jpg")
    (tmp_path / "notes.txt").write_text("not an image")
    images = load_images(tmp_path)
    assert images.shape == (2, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert images.flatten(1).float().mean(1).tolist() == [255, 0]
    assert load_images(str(tmp_path), image_size=8).shape == (2, 1, 8, 8)


def test_a_folder_without_images_or_with_a_broken_one_says_so(tmp_path):
    with pytest.raises(DataError, match="found none"):
        load_images(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no png")
    with pytest.raises(DataError, match=r"broken\.png"):
        load_images(tmp_path)


def test_a_zip_file_is_the_folder_that_it_holds(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, value in (("b.png", 200), ("a.png", 10)):
        Image.new("RGB", (28, 28), (value, 0, value)).save(folder / name)
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in folder.iterdir():
            packed.write(path, path.name)
        packed.writestr("notes.txt", "not an image")
    for channels in (1, 3):
        held = load_images(archive, channels=channels)
        assert torch.equal(held, load_images(folder, channels=channels))
    assert held[:, :, 0, 0].tolist() == [[10, 0, 10], [200, 0, 200]]


def test_what_is_transparent_is_white_in_colour(tmp_path):
    picture = Image.new("RGBA", (8, 8), (0, 0, 255, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 4, 8))
    picture.save(tmp_path / "half.png")
    (image,) = load_images(tmp_path, image_size=8, channels=3)
    assert image[:, 0, 0].tolist() == [255, 0, 0]
    assert image[:, 0, 7].tolist() == [255, 255, 255]


def test_grey_data_in_colour_have_three_equal_channels():
    images = load_images("digits", channels=3)
    assert images.shape[1:] == (3, 8, 8)
    assert torch.equal(images[:, :1], load_images("digits"))
    assert torch.equal(images[:, 1], images[:, 2])


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="digits, fashion-mnist, mnist"):
        load_images("cifar")


@pytest.mark.parametrize("size", [0, -3, 2.0, True])
def test_a_wrong_size_is_an_input_error(size):
    with pytest.raises(InputError, match="image_size"):
        load_images("digits", image_size=size)


def test_the_root_comes_from_the_environment_else_a_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SURFING_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("SURFING_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_root() == tmp_path / "surfing" / "data"


def _write_idx(root, folder):
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    images = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8)
    for part in ("train", "t10k"):
        header = struct.pack(">IIII", 2051, 2, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = struct.pack(">II", 2049, 2) + bytes(2)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return raw


@pytest.mark.parametrize(
    ("name", "folder"), [("fashion-mnist", "FashionMNIST"), ("mnist", "MNIST")]
)
def test_files_that_are_there_are_read_offline_and_their_sums_compared(
    tmp_path, monkeypatch, name, folder
):
    raw = _write_idx(tmp_path, folder)
    with pytest.raises(DataError, match="expected SHA-256"):
        load_images(name, root=tmp_path)
    digest = data.hashlib.sha256((raw / "train-images-idx3-ubyte").read_bytes()).hexdigest()
    monkeypatch.setitem(data._SHA256, (name, True), digest)
    images = load_images(name, root=tmp_path)
    assert images.shape == (2, 1, 28, 28)
    assert images[0, 0, 0, :3].tolist() == [0, 1, 2]


def test_a_download_that_fails_says_where_files_are_expected(tmp_path, monkeypatch):
    import torchvision.datasets

    def refuse(self):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)
    with pytest.raises(DataError, match="SURFING_DATA"):
        load_images("fashion-mnist", root=tmp_path)

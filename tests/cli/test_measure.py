"""Everything can be tried without Python: signals in, measurements out, latents back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import surfing
from surfing.cli import main

TARGETS = 6


def ran(*arguments: object) -> int:
    return main([str(a) for a in (*arguments, "--device", "cpu", "--quiet")])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert ran(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an operator of its own, and masks."""
    (tmp_path / "my_operators.py").write_text(
        "def masked(x, mask):\n    return mask * x\n\n\ndef half(x):\n    return x[..., ::2]\n"
        "\n\nthree = 3\n"
    )
    g = torch.Generator().manual_seed(0)
    masks = (torch.rand(TARGETS, 1, 28, 28, generator=g) < 0.5).float()
    np.save(tmp_path / "masks.npy", masks.numpy())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_own_samples_to_their_latents(here: Path) -> None:
    options = ("--operator", "gaussian:40", "--operator-seed", 3)
    made = ("--targets", TARGETS, "--truth", "z.npy", "--out", "y.npy")
    assert ran("measure", "packaged", *options, *made) == 0
    assert ran("recover", "packaged", *options, "--measurements", "y.npy", "--out", "r") == 0
    gap = np.linalg.norm(np.load("r/z.npy") - np.load("z.npy"), axis=1)
    assert float(gap.max()) < 0.01


def test_signals_are_measured_as_the_library_measures(here: Path) -> None:
    x = surfing.zoo.draw_samples(surfing.zoo.packaged(), TARGETS)
    np.save("x.npy", x.numpy())
    assert ran("measure", "packaged", "--signals", "x.npy", "--out", "same.npy") == 0
    assert np.array_equal(np.load("same.npy"), x.numpy())
    options = ("--operator", "my_operators:half", "--noise", 0.1)
    assert ran("measure", "packaged", "--signals", "x.npy", *options, "--out", "y.npy") == 0
    gap = np.load("y.npy") - x.numpy()[..., ::2]
    assert 0.09 < float(gap.std()) < 0.11


def test_masks_are_given_from_one_end_to_the_other(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--operator", "my_operators:masked", "--given", "mask=masks.npy")
    made = ("--targets", TARGETS, "--truth", "z.npy", "--out", "y.npy", "--noise", 0.01)
    assert ran("measure", "packaged", *given, *made) == 0
    found = (*given, "--measurements", "y.npy", "--noise", "0.01", "--prior", "law")
    assert ran("recover", "packaged", *found, "--out", "r") == 0
    exact = ("measure", "packaged", "--targets", TARGETS, "--out", "x.npy")
    assert ran(*exact) == 0
    assert float(np.sqrt(np.square(np.load("r/x.npy") - np.load("x.npy")).mean())) < 0.003
    shown = ("--measurements", "y.npy", "--solution", "r", "--featured", 1)
    assert "--given" in refused(capsys, "view", "packaged", *shown, "--out", "p.html")
    assert ran("view", "packaged", *given, *shown, "--out", "p.html") == 0
    assert Path("p.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    tried = (*given, "--targets", TARGETS, "--noise", 0.05, "--prior", "law")
    assert ran("selftest", "packaged", *tried) == 0
    assert ran("compare", "packaged", *tried, "--budgets", 300, "--methods", "recover") == 0
    assert ran("view", "packaged", *given, "--featured", 1, "--out", "q.html") == 0


def test_view_takes_the_folder_of_recover_and_what_was_named_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--operator", "gaussian:30", "--operator-seed", 4)
    assert ran("measure", "packaged", *options, "--targets", 3, "--out", "y.npy") == 0
    assert ran("measure", "packaged", *options, "--targets", 3, "--seed", 1, "--out", "o.npy") == 0
    found = ("recover", "packaged", *options, "--measurements", "y.npy", "--noise", "1e-3")
    assert ran(*found, "--out", "r") == 0
    shown = ("view", "packaged", "--solution", "r", "--featured", 1, "--out", "p.html")
    assert main([str(a) for a in (*shown, "--measurements", "y.npy", "--json")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["met"]["surfed"] == document["targets"] == 3
    again = (*shown[:-1], "q.html", "--measurements", "y.npy")
    assert ran(*again, "--noise", "0.001") == 0
    again = (*shown[:-1], "s.html", "--measurements", "y.npy")
    for other, said in (
        (("--noise", ".1"), "--noise: --solution was found with 1e-3"),
        (("--operator", "gaussian:31"), "--operator: --solution was found with gaussian:30"),
        (("--operator-seed", 5), "--operator-seed"),
        (("--prior", "law"), "--prior: --solution was found with none"),
        (("--targets", 2), "--targets"),
    ):
        assert said in refused(capsys, *again, *other)
    assert "others than" in refused(capsys, *shown, "--measurements", "o.npy")
    Path("r/shards/00000000-00000003.safetensors").unlink()
    assert "0 of 3 targets" in refused(capsys, *again)
    Path("empty").mkdir()
    wrong = ("--solution", "empty", "--measurements", "y.npy", "--out", "s.html")
    assert "not the folder of a run" in refused(capsys, "view", "packaged", *wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "y.txt"), "--out: expected a .npy file"),
        (("--out", "masks.npy"), "--out: masks.npy exists"),
        (("--out", "y.npy", "--prior", "law"), "--prior"),
        (("--out", "y.npy", "--targets", 0), "--targets"),
        (("--out", "y.npy", "--operator", "gauss:3"), "unknown operator"),
        (("--out", "y.npy", "--operator", "my_operators:none"), "could not be imported"),
        (("--out", "y.npy", "--operator", "my_operators:three"), "a function of signals"),
        (("--out", "y.npy", "--operator", "my_operators:masked"), "--given"),
        (("--out", "y.npy", "--given", "mask=masks.npy"), "of 10 targets"),
        (("--out", "y.npy", "--given", "m=masks.npy", "--targets", 6), "nothing asks for 'm'"),
        (("--out", "y.npy", "--given", "mask"), "NAME=FILE.npy"),
        (("--out", "y.npy", "--given", "mask=none.npy"), "--given"),
        (("--out", "y.npy", "--noise", "none.npy"), "--noise"),
        (("--out", "y.npy", "--noise", "-1"), "noise"),
        (("--out", "y.npy", "--noise", "nan"), "noise"),
        (("--out", "y.npy", "--signals", "none.npy"), "--signals: none.npy is no file"),
        (("--out", "y.npy", "--signals", "wide.npy"), "--signals: expected signals (rows, 1, 28"),
        (("--out", "y.npy", "--signals", "flat.npy"), "reshape"),
        (("--out", "y.npy", "--signals", "nan.npy"), "--signals"),
        (("--out", "y.npy", "--signals", "last.npy"), "permute"),
        (("--out", "y.npy", "--signals", "good.npy", "--truth", "z.npy"), "--truth"),
        (("--out", "y.npy", "--signals", "good.npy", "--targets", 5), "--targets"),
    ],
)
def test_what_measure_refuses(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], said: str
) -> None:
    good = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    shapes = {"wide": (2, 1, 28, 29), "flat": (2, 784), "last": (2, 28, 28, 1)}
    for name, shape in shapes.items():
        np.save(f"{name}.npy", np.zeros(shape, np.float32))
    np.save("good.npy", good)
    good[1, 0, 3, 4] = np.nan
    np.save("nan.npy", good)
    assert said in refused(capsys, "measure", "packaged", *arguments)
    assert not Path("y.npy").exists()


def test_recover_tells_what_is_open_and_what_lies_far_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--operator", "gaussian:6")
    assert ran("measure", "packaged", *options, "--targets", 2, "--out", "y.npy") == 0
    found = ("recover", "packaged", *options, "--measurements", "y.npy", "--out", "r", "--json")
    assert main([str(a) for a in found]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("latent directions are not determined" in note for note in notes)

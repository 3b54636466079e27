"""The page says how sure each target is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import surfing
from surfing.cli import main
from surfing.report.page import view

NOISE = 0.1


@pytest.fixture(scope="module")
def drawn() -> tuple[surfing.ForwardModel, torch.Tensor, surfing.Draws]:
    model = surfing.ForwardModel(surfing.zoo.packaged())
    y = model.measure(model.signals(model.latent.sample([0, 1], 1, seed=0)[:, 0]))
    return model, y, surfing.sample(model, y, noise=NOISE, draws=10)


def test_the_page_shows_mean_deviation_draws_and_modes(
    drawn: tuple[surfing.ForwardModel, torch.Tensor, surfing.Draws], tmp_path: Path
) -> None:
    model, y, draws = drawn
    solution = surfing.recover(model, y, noise=NOISE)
    page = view(solution, tmp_path / "page.html", draws=draws).read_text()
    (section,) = re.findall(r'<section id="sure".*?</section>', page, re.S)
    assert section.count("<figure>") == 2
    for name in ("mean", "standard deviation", "draws", "modes"):
        assert section.count(f'alt="{name}" src="data:image/png;base64,') == 2
    assert f"effective sample size {float(draws.ess[1]):.0f}" in section
    assert 'id="sure"' not in view(solution, tmp_path / "plain.html").read_text()
    with pytest.raises(surfing.InputError, match="draws: expected those of 2 targets, got 1"):
        view(solution, tmp_path / "other.html", draws=draws.take(0))


def test_draws_of_a_folder_are_shown(
    drawn: tuple[surfing.ForwardModel, torch.Tensor, surfing.Draws], tmp_path: Path
) -> None:
    _, y, _ = drawn
    file, out, page = tmp_path / "y.npy", tmp_path / "draws", tmp_path / "page.html"
    np.save(file, y)
    sample = ["sample", "packaged", "--measurements", file, "--noise", NOISE, "--out", out]
    assert main([str(a) for a in (*sample, "--draws", 4, "--shard", 1, "--quiet")]) == 0
    show = ["view", "packaged", "--measurements", file, "--draws", out, "--out", page]
    assert main([str(a) for a in (*show, "--featured", 1, "--quiet")]) == 0
    assert page.read_text().count("<figure>") == 2
    show[5] = tmp_path
    assert main([str(a) for a in (*show, "--overwrite", "--quiet")]) == 2

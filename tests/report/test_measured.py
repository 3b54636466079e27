"""What was measured, as the page shows it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import torch

import surfing
from surfing.report.page.document import document
from surfing.report.page.measured import depends
from surfing.report.page.scene import Scene


def shown(operator: Any) -> tuple[dict[str, Any], dict[str, str], torch.Tensor]:
    """The page's measurements, its facts, and y."""
    model = surfing.ForwardModel(surfing.zoo.packaged(), operator=operator)
    z = model.latent.sample(range(3), 1, seed=0)[:, 0]
    y = model.measure(model.signals(z))
    solution = surfing.direct(model, y, max_steps=1)
    scene = Scene(solution, "t", model.trajectory, model.problem(y))
    told = document(scene, featured=0)
    return told["measured"], dict(told["facts"]), y


def test_the_whole_signal_needs_no_second_picture() -> None:
    measured, facts, _ = shown(None)
    assert measured is None
    assert facts["measured"].endswith("m = 784")


def test_numbers_are_bars_on_one_scale() -> None:
    matrix = torch.randn(30, 784, generator=torch.Generator().manual_seed(0))
    measured, facts, y = shown(lambda x: x.flatten(1) @ matrix.T)
    assert (measured["kind"], measured["name"], measured["count"]) == ("numbers", "30 numbers", 30)
    bars = torch.frombuffer(bytearray(base64.b64decode(measured["bars"])), dtype=torch.int8)
    back = bars.reshape(3, 30).float() / 127 * measured["scale"]
    assert torch.allclose(back, y, atol=measured["scale"] / 200)
    assert int(bars.abs().max()) == 127
    assert facts["measured"].endswith("m = 30")


def test_a_mask_says_how_much_counts_and_is_no_black() -> None:
    mask = torch.zeros(1, 28, 28)
    mask[:, 10:20] = 1
    measured, facts, _ = shown(lambda x: x * mask)
    assert (measured["kind"], measured["name"]) == ("picture", "measured")
    assert facts["measured"].endswith("m = 280 of 784 entries")
    assert len(measured["places"]) == 3


@pytest.mark.parametrize(("factor", "name"), [(1, "28 × 28 pixels"), (4, "7 × 7 pixels")])
def test_few_pixels_are_drawn_larger(factor: int, name: str) -> None:
    measured, _, _ = shown(
        lambda x: torch.nn.functional.avg_pool2d(x, factor) if factor > 1 else 2 * x
    )
    assert measured["name"] == name
    assert (measured["width"], measured["height"]) == (28, 28)


def test_frequencies_are_magnitudes() -> None:
    def lines(x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.view_as_real(torch.fft.fft2(x[:, 0])).movedim(-1, 1)
        return spectrum * (torch.arange(28) % 4 == 0).float()

    measured, facts, _ = shown(lines)
    assert measured["name"] == "k-space, magnitude"
    assert "of 1568 entries" in facts["measured"]


def test_each_target_shows_its_own_mask() -> None:
    model = surfing.ForwardModel(surfing.zoo.packaged(), operator=lambda x, mask: x * mask)
    masks = torch.zeros(2, 1, 28, 28)
    masks[0, :, :14], masks[1, :, 7:] = 1, 1
    _, x = model.draw(2, given={"mask": masks})
    y = model.measure(x, given={"mask": masks})
    solution = surfing.direct(model, y, given={"mask": masks}, max_steps=1)
    scene = Scene(solution, "t", model.trajectory, model.problem(y, given={"mask": masks}))
    assert torch.equal(depends(scene), masks.flatten(1) > 0)
    assert dict(document(scene, featured=0)["facts"])["measured"].endswith(
        "m = 392 to 588 of 784 entries"
    )

"""The Fréchet distance between sets of images."""

from __future__ import annotations

import pytest
import torch

from surfing.errors import InputError
from surfing.zoo.quality import frechet_distance


def test_nothing_lies_between_a_set_and_itself() -> None:
    images = torch.rand(300, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    # Square roots of eigenvalues: an error of 1e-16 in the product is one of 1e-8 in a root.
    assert frechet_distance(images, images) == pytest.approx(0.0, abs=1e-6)


def test_a_shift_is_its_squared_length_and_a_scale_its_change_of_deviation() -> None:
    images = torch.rand(400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert frechet_distance(images + shift, images) == pytest.approx(5.25, rel=1e-9)
    centre = images.mean(0)
    wider = centre + 3 * (images - centre)
    expected = 4 * float(torch.cov(images.T).trace())  # (3 - 1)^2 tr S
    assert frechet_distance(wider, images) == pytest.approx(expected, rel=1e-9)


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="samples"):
        frechet_distance(torch.rand(5, 1, 4, 4), torch.rand(5, 1, 6, 6))

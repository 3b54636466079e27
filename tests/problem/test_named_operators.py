"""Operators by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from surfing.problem import as_operator

SHAPE = (1, 9, 7)


@pytest.mark.parametrize("seed", [0, 5])
def test_projections_are_those_of_deepinv_bit_for_bit(seed: int) -> None:
    physics = pytest.importorskip("deepinv").physics
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(seed)
    theirs = physics.CompressedSensing(m=20, img_size=SHAPE, rng=rng)
    assert torch.equal(as_operator("gaussian:20", SHAPE, seed=seed)(x), theirs.A(x))


def test_projections_are_linear_and_have_a_double() -> None:
    operator = as_operator("gaussian:5", SHAPE)
    assert operator.linear
    assert operator.name == "gaussian:5"
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    doubled = operator.double()(x)
    assert doubled.dtype == torch.float64
    assert torch.allclose(doubled.float(), operator(x.float()), atol=1e-5)


def test_projections_need_nothing_but_torch() -> None:
    script = (
        "import sys; sys.modules['deepinv'] = None; import torch, surfing.problem as p;"
        "print(p.as_operator('gaussian:5', (3, 4))(torch.ones(2, 3, 4)).shape);"
        "p.as_operator('blur:2.0', (1, 9, 9))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "torch.Size([2, 5])\n"
    assert "pip install 'surfing[deepinv]'" in done.stderr

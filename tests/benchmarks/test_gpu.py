"""On an accelerator numbers are the CPU's, up to rounding."""

import pytest
import torch
from benchmarks.gpu import CASES, agreement, main

without = pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")


@without
@pytest.mark.parametrize("name", list(CASES))
def test_signals_jacobians_and_descents_are_the_cpus(name: str) -> None:
    found = agreement(CASES[name], "cuda", seed=1)
    assert found["signals"] < 1e-3
    assert found["jacobian"] < 1e-2
    assert found["risk"] < 1e-2


def test_a_device_agrees_with_itself() -> None:
    small = {"name": "conv", "latent_dim": 4, "width": 2, "hidden": 8, "image_size": 8}
    assert agreement(small, "cpu", seed=1) == {"signals": 0, "jacobian": 0, "risk": 0}


def test_without_an_accelerator_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main() is None
    assert "No accelerator" in capsys.readouterr().out

"""Where an algorithm is meant to be the last release's, its numbers are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.continuation.kept import RUNS, found, machine

KEPT = json.loads(Path(__file__).with_name("kept.json").read_text())


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", RUNS)
def test_the_numbers_are_those_of_the_release_that_was_kept(name):
    """To the bit on a machine with the same kernels; elsewhere as far as rounding lets them be."""
    now, kept = found(name), KEPT[name]
    if machine() == KEPT["machine"]:
        assert now == kept
        return
    met = torch.tensor(kept["status"]) == 0
    assert bool((torch.tensor(now["status"])[met] == 0).all())
    z, before = (
        torch.tensor([float.fromhex(v) for v in told["z"]]).reshape(len(met), -1)
        for told in (now, kept)
    )
    torch.testing.assert_close(z[met], before[met], rtol=0, atol=1e-3)

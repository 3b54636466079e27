"""Trainings of two processes that ``torchrun`` starts: one of them records."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from surfing import Trajectory

SCRIPT = Path(__file__).with_name("by_torchrun.py")


def whole_batch_weights(steps: int) -> list[dict[str, Tensor]]:
    """One process that sees what the two see together: their gradients are averaged."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        by = importlib.import_module(SCRIPT.stem)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    net = by.generator()
    optimiser = torch.optim.SGD(net.parameters(), by.RATE)
    states = []
    for _ in range(steps + 1):
        states.append({name: t.clone() for name, t in net.state_dict().items()})
        optimiser.zero_grad()
        (net(by.latents()) - by.targets()).square().mean().backward()
        optimiser.step()
    return states


@pytest.mark.slow
@pytest.mark.parametrize("library", ["lightning", "transformers"])
def test_rank_zero_records_and_resumes_what_both_learn(library: str, tmp_path: Path) -> None:
    """Trained for 5 steps, then from a checkpoint of step 3 to 7: every step is there, once."""
    pytest.importorskip(library)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(SCRIPT), library, str(tmp_path)),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert [(tmp_path / f"steps-{rank}").read_text() for rank in (0, 1)] == ["7", "7"]
    assert not (tmp_path / "run-1").exists()
    run = Trajectory.open(tmp_path / "run-0")
    assert run.steps == tuple(range(8))
    assert run.verify().checkpoints == 8
    for checkpoint, expected in zip(run, whole_batch_weights(7), strict=True):
        assert checkpoint.state.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(checkpoint.state[name], tensor, rtol=1e-5, atol=1e-6)

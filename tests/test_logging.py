"""What the library tells the standard library's logging, and that it is quiet by itself."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing.trajectory import repair


def test_the_library_installs_no_handlers_and_sets_no_level() -> None:
    script = (
        "import logging, surfing; loggers = [logging.getLogger(), logging.getLogger('surfing')]\n"
        "loggers += [logging.getLogger(n) for n in logging.root.manager.loggerDict if "
        "n.startswith('surfing')]\n"
        "assert len(loggers) > 3\n"
        "assert not any(logger.handlers for logger in loggers)\n"
        "assert all(logger.level == logging.NOTSET for logger in loggers[1:])\n"
        "assert all(logger.propagate for logger in loggers)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_recorder_tells_what_it_writes(
    tmp_path: Path, net: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="surfing")
    for _ in range(2):
        with surfing.Recorder(
            tmp_path, net, latent=surfing.Normal(3), every=2, resume=True
        ) as recorder:
            for _ in range(2):
                recorder.step()
    said = [record.getMessage() for record in caplog.records]
    recorded = [line for line in said if "recorded step" in line]
    assert [line.split(": recorded ")[1].split(",")[0] for line in recorded] == [
        f"step {step}" for step in recorder.steps
    ]
    assert f"{tmp_path}: going on after step 2" in said


def test_a_repair_is_a_warning(
    tmp_path: Path, path: surfing.Trajectory, caplog: pytest.LogCaptureFixture
) -> None:
    path.save(tmp_path / "run")
    assert repair(tmp_path / "run") == ()
    assert not caplog.records
    largest = sorted((tmp_path / "run").rglob("*.safetensors"))[3]
    largest.write_bytes(largest.read_bytes()[:-1])
    (dropped,) = repair(tmp_path / "run")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"[{dropped}]" in record.getMessage()


def test_recover_tells_its_attempts(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="surfing.portfolio")
    odd = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    surfing.recover(
        path, odd.flatten(1), generator=net, operator=lambda x: x.flatten(1), budget=500
    )
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("learned starts from 1000 samples in ")
    assert said[1].startswith("attempt 0: ")
    assert said[1].endswith(" of 12 targets open")


def test_a_trajectory_in_a_notebook_is_escaped(path: surfing.Trajectory, tmp_path: Path) -> None:
    path.save(tmp_path / "<b>&run")
    shown = surfing.Trajectory.open(tmp_path / "<b>&run")._repr_html_()
    assert "&lt;b&gt;&amp;run" in shown
    assert "<b>" not in shown
    assert "8 checkpoints, steps 0..140" in shown
    assert "Normal(dim=3)" in shown
    assert "in memory" in path._repr_html_()

"""Ctrl-C while a cluster works: the terminal sends it to every process that it knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

import surfing

pytest.importorskip("ray")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["ray starts", "workers work"])
@pytest.mark.parametrize("everybody", [False, True], ids=["the command", "the whole group"])
def test_control_c_ends_with_one_sentence_and_keeps_what_is_done(
    path: surfing.Trajectory, y: Tensor, tmp_path: Path, moment: str, everybody: bool
) -> None:
    path.save(run := tmp_path / "run")
    np.save(tmp_path / "y.npy", np.random.default_rng(0).normal(size=(20_000, *y.shape[1:])))
    out = tmp_path / "out"
    line = [sys.executable, "-c", "from surfing.cli import main; raise SystemExit(main())"]
    line += ["recover", str(run), "--measurements", str(tmp_path / "y.npy"), "--out", str(out)]
    line += ["--executor", "ray", "--workers", "2", "--shard", "16", "--quiet", "--device", "cpu"]
    # A shard is written behind the .json that says what it was solved from.
    sign, name = (
        (out, "learned.safetensors")
        if moment == "ray starts"
        else (out / "shards", "0*.safetensors")
    )
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        limit = time.monotonic() + 120
        while not any(sign.glob(name)) and time.monotonic() < limit:
            time.sleep(0.05)
        if moment == "ray starts":
            time.sleep(3)
        assert process.poll() is None
        if everybody:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("interrupted: the shards that were finished are kept")
    assert not (out / ".surfing-lock").exists()
    whole = sorted((out / "shards").glob("0*.safetensors"))
    known = {file.suffix for file in (out / "shards").iterdir()}
    assert known <= {".safetensors", ".json"}
    assert whole or moment == "ray starts"

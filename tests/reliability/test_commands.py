"""Commands that are killed or interrupted at random moments, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.reliability import commands
from benchmarks.reliability.processes import Victims, victims


@pytest.fixture(scope="module")
def server() -> Iterator[Victims]:
    with victims() as running:
        yield running


SIGNALS = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda n: n.name)


@SIGNALS
@pytest.mark.parametrize("name", ["recover", "import"])
def test_what_was_ended_goes_on_to_the_same_bits(
    server: Victims, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    command = commands.COMMANDS[name](tmp_path)
    count = commands.end(server, command, tmp_path / "runs", times=4, seed=1, number=number)
    assert count["ended"] >= 4
    assert count["done_after_being_ended"] > 0


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("name", commands.COMMANDS)
def test_what_was_ended_often_goes_on_to_the_same_bits(
    server: Victims, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    command = commands.COMMANDS[name](tmp_path)
    count = commands.end(server, command, tmp_path / "runs", times=12, seed=2, number=number)
    assert count["done_after_being_ended"] > 1


def test_control_c_in_a_terminal_ends_a_training_with_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = [sys.executable, "-c", "from surfing.cli import main; raise SystemExit(main())"]
    line += ["train", "vae", "--data", "digits", "--network", "mlp", "--hidden", "8", "--quiet"]
    line += ["--steps", "1000000", "--checkpoints", "5", "--device", "cpu", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        line,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Who runs the tests in the background hands on that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        limit = time.monotonic() + 60
        while not (out / "manifest.json").exists() and time.monotonic() < limit:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == commands.INTERRUPTED, said
    assert [line for line in said.splitlines() if not line.startswith("warning")] == [
        "interrupted: the trajectory so far is kept; the same command continues from its last "
        "checkpoint."
    ]

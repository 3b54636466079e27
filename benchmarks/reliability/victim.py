"""A program whose children wait to be killed; :mod:`benchmarks.reliability.processes` starts it.

Everything is imported once, with the modules that its arguments name; then each line of the input,
a JSON document, forks one child:
    {"training": [DIRECTORY, LOG, RESUME, STEPS], "seed": 0}    a Recorder in a training loop
    {"command": ["recover", ...], "stderr": FILE, "seed": 0}    a command of ``surfing``
The answer is the child's process id, and its wait status when it has ended. A training writes
each completed recording as a line of LOG, after the recorder returned. With a seed, pauses are
injected before, inside and after the calls that write.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from surfing import cli, files
from surfing.latents import Normal
from surfing.trajectory import Recorder, store

LONGEST = 0.003
"""Seconds of an injected pause."""


class Marked(nn.Module):
    """A buffer says at which step it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layers(z)
        return out


class SlowFile:
    """A file that is written in three pieces, with pauses between them."""

    def __init__(self, file: Any, rng: random.Random) -> None:
        self.file, self.rng = file, rng

    def __enter__(self) -> SlowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        third = len(data) // 3 + 1
        for start in range(0, len(data), third):
            self.file.write(data[start : start + third])
            self.file.flush()
            time.sleep(LONGEST * self.rng.random())


def slow_down(seed: int) -> None:
    """Pauses at the calls that a kill may interrupt, in this process."""
    rng = random.Random(seed)
    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, _paused(getattr(os, name), rng))

    def slow_open(file: int, mode: str) -> SlowFile:
        return SlowFile(open(file, mode), rng)

    store.open = files.open = slow_open  # type: ignore[attr-defined]


def _paused(call: Any, rng: random.Random) -> Any:
    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(LONGEST * rng.random())
        result = call(*arguments, **options)
        time.sleep(LONGEST * rng.random())
        return result

    return slow


def train(directory: str, log_path: str, resume: int, steps: int) -> None:
    """Train until killed, or for so many steps."""
    torch.manual_seed(0)
    log = os.open(log_path, os.O_RDWR | os.O_CREAT)
    module = Marked()
    module.count += max(resume, 0)
    optimiser = torch.optim.Adam(module.parameters())
    with Recorder(
        directory,
        module,
        latent=Normal(3),
        every=2,
        average=0.9,
        probes=4,
        resume=True,
        resume_from=None if resume < 0 else resume,
    ) as recorder:
        while recorder.step_number < steps:
            optimiser.zero_grad()
            (module(torch.randn(8, 3)) - 1).square().mean().backward()
            optimiser.step()
            module.count += 1
            if recorder.step():
                os.pwrite(log, b"%d\n" % recorder.step_number, os.fstat(log).st_size)
    os.close(log)


def run_command(arguments: Sequence[str], stderr: str) -> int:
    """One command of ``surfing`` as its own process would run it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 2)
    os.dup2(out, 1)
    sys.argv = ["surfing", *arguments]
    try:
        return cli.main(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    finally:
        sys.stderr.flush()


def obey(order: dict[str, Any]) -> int:
    """What a child does; its exit code."""
    if order.get("seed") is not None:
        slow_down(int(order["seed"]))
    if "save_seconds" in order:
        from surfing.zoo import training

        training.train.__kwdefaults__["save_seconds"] = order["save_seconds"]
    if "training" in order:
        train(*order["training"])
        return 0
    return run_command(order["command"], order["stderr"])


def main() -> None:
    """Serve until the input ends."""
    torch.set_num_threads(1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as scratch:  # whatever torch imports lazily, imported once
        train(os.path.join(scratch, "run"), os.path.join(scratch, "log"), -1, 4)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = obey(json.loads(line))
            finally:
                os._exit(code)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()

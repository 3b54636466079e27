"""A training process that waits to be killed. Not a test: test_crash.py runs it.

It imports everything once, then forks one training process per line of its input:
    DIRECTORY LOG RESUME STEPS SEED
and answers with the child's process id, and with its wait status when it has ended. Each completed
recording is a line in LOG, written after the recorder returned.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from typing import Any

import torch
from torch import Tensor, nn

from surfing.latents import Normal
from surfing.trajectory import Recorder, store


class Marked(nn.Module):
    """A buffer says at which step it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layers(z)
        return out


def slow_down(seed: int) -> None:
    """Injected pauses before and after the calls that a kill may interrupt."""
    rng = random.Random(seed)
    for name in ("fsync", "replace", "unlink"):
        setattr(store.os, name, paused(getattr(os, name), rng))

    def slow_open(file: int, mode: str) -> SlowFile:
        return SlowFile(open(file, mode), rng)

    store.open = slow_open  # type: ignore[attr-defined]


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
            time.sleep(0.003 * self.rng.random())


def paused(call: Any, rng: random.Random) -> Any:
    def slow(*arguments: Any) -> Any:
        time.sleep(0.003 * rng.random())
        result = call(*arguments)
        time.sleep(0.003 * rng.random())
        return result

    return slow


def train(directory: str, log: int, resume: int, steps: int) -> None:
    torch.manual_seed(0)
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


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:  # whatever torch imports lazily, imported once
        log = os.open(os.path.join(scratch, "log"), os.O_RDWR | os.O_CREAT)
        train(os.path.join(scratch, "run"), log, -1, 4)
        os.close(log)
    print("ready", flush=True)
    for line in sys.stdin:
        directory, log, resume, steps, seed = line.split()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                descriptor = os.open(log, os.O_RDWR | os.O_CREAT)
                slow_down(int(seed))
                train(directory, descriptor, int(resume), int(steps))
                code = 0
            finally:
                os._exit(code)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()

"""``surfing recover``, ``train`` and ``import``, killed or interrupted and started again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reliability.laws import expect
from benchmarks.reliability.processes import Victims, victims
from surfing import Normal, Recorder, Solution
from surfing.architectures import mlp_generator
from surfing.errors import EmptyTrajectoryError, NotATrajectoryError
from surfing.trajectory import Trajectory

__all__ = ["COMMANDS", "TRAINING", "Command", "end", "make_trajectory", "run"]

ARGUMENTS = {"latent_dim": 3, "hidden": 24, "layers": 1, "image_size": 4}
INTERRUPTED = 130
BY_RAY = "recover --executor ray"
TRAINING = ("surfing.zoo.progress", "surfing.zoo.modules", "torchvision", "sklearn.datasets")
"""What takes seconds to import, so that a training is ended while it trains."""


@dataclass(frozen=True)
class Command:
    """A command line, and what its folder has to hold in the end.

    Args:
        arguments: of ``surfing``, without ``--out``.
        result: what a finished folder says, the same bits whenever it was interrupted.
        sound: raises where an unfinished folder holds something damaged; says whether all of it
            is there already and the command, started again, would refuse to overwrite it.
        save_seconds: between two saved states of a training.
    """

    arguments: tuple[str, ...]
    result: Callable[[Path], dict[str, str]]
    sound: Callable[[Path], bool]
    save_seconds: float | None = None

    def order(self, out: Path, seed: int | None = None) -> dict[str, Any]:
        """For :class:`Victims`."""
        line = [*self.arguments, "--out", str(out), "--quiet", "--device", "cpu"]
        order = {"command": line, "stderr": str(out.with_suffix(".err")), "seed": seed}
        return order if self.save_seconds is None else order | {"save_seconds": self.save_seconds}


def run(*, kills: int, others: int, by_ray: int, seed: int) -> dict[str, Any]:
    """Every command, killed and interrupted.

    Args:
        kills: of ``surfing recover``.
        others: its interrupts; kills and interrupts of each other command.
        by_ray: kills of ``surfing recover --executor ray``, where Ray is installed. Its interrupts
            are left out: the sentence is said, but exit code 1 was seen where 130 was due.
        seed: of the moments.
    """
    record: dict[str, Any] = {}
    with victims(*TRAINING) as server, tempfile.TemporaryDirectory() as scratch:
        times = dict.fromkeys(COMMANDS, (others, others)) | {"recover": (kills, others)}
        if by_ray and importlib.util.find_spec("ray") is not None:
            times[BY_RAY] = (by_ray, 0)
        for name, (killed, interrupted) in times.items():
            folder = Path(scratch) / name.replace(" ", "-")
            folder.mkdir()
            command = recovery_by_ray(folder) if name == BY_RAY else COMMANDS[name](folder)
            record[name] = {}
            for kind, count, number in (
                ("kills", killed, signal.SIGKILL),
                ("interrupts", interrupted, signal.SIGINT),
            ):
                if count:
                    record[name][kind] = end(
                        server, command, folder / kind, times=count, seed=seed, number=number
                    )
            print(f"{name}: {record[name]}", file=sys.stderr, flush=True)
    return record


def end(
    server: Victims,
    command: Command,
    folder: Path,
    *,
    times: int,
    seed: int,
    number: int = signal.SIGKILL,
) -> dict[str, Any]:
    """Start the command, end it at a random moment, and start it again, until it is done.

    Args:
        server: of children.
        command: what is run.
        folder: for its outputs.
        times: how often it has to be ended; whenever it gets done before, it starts anew.
        seed: of the moments.
        number: SIGKILL or SIGINT.

    Returns:
        How often it was ended, how often it got done, and how many of the runs that got done had
        been ended before.

    Raises:
        Violation: a result differs by a bit from the uninterrupted one, or is not there.
    """
    folder.mkdir()
    began = time.perf_counter()
    status = server.run(command.order(folder / "whole", seed))
    expect(status == 0, "the command runs", (folder / "whole.err").read_text())
    whole, length = command.result(folder / "whole"), time.perf_counter() - began
    rng = random.Random(seed)
    count = {"ended": 0, "done": 0, "done_after_being_ended": 0}
    ended_here, out = 0, folder / "0"
    while count["ended"] < times or ended_here:
        # The last of the folders is left to run to its end.
        after = 1.1 * length * rng.random() if count["ended"] < times else None
        errors = out.with_suffix(".err")
        errors.unlink(missing_ok=True)
        order = command.order(out, count["ended"])
        status = server.run(order, after=after, number=number, moment=errors)
        said = errors.read_text()
        if status == 0:
            expect(command.result(out) == whole, "the same bits as uninterrupted", out.name)
            count["done"] += 1
            count["done_after_being_ended"] += ended_here > 0
            ended_here, out = 0, folder / str(count["done"])
            continue
        count["ended"] += 1
        ended_here += 1
        if number == signal.SIGKILL:
            expect(status == signal.SIGKILL, "it was killed", status, said)
        else:
            expect(os.waitstatus_to_exitcode(status) == INTERRUPTED, "exit code 130", status, said)
            expect(_is_one_sentence(said), "one sentence says what is kept", said)
        if command.sound(out):  # it was ended after the last write
            expect(command.result(out) == whole, "the same bits as uninterrupted", out.name)
            ended_here, out = 0, folder / f"{out.name}x"
    return count


def _is_one_sentence(said: str) -> bool:
    """The last word; Ray says things of its own before it."""
    lines = said.splitlines()
    told = [line for line in lines if line.startswith("interrupted: ")]
    return len(told) == 1 and told == lines[-1:] and "Traceback" not in said


def make_trajectory(out: Path, *, steps: int = 40) -> Trajectory:
    """A small network that learned another one."""
    torch.manual_seed(0)
    teacher, student = mlp_generator(**ARGUMENTS), mlp_generator(**ARGUMENTS)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.02)
    described = {"name": "mlp", "arguments": ARGUMENTS}
    with Recorder(out, student, latent=Normal(3), every=10, architecture=described) as recorder:
        for _ in range(steps):
            z = torch.randn(64, 3)
            loss = (student(z) - teacher(z)).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            recorder.step()
    return Trajectory.open(out)


def recovery(folder: Path, *, targets: int = 12, shard: int = 3) -> Command:
    """``surfing recover`` of its own samples, in shards."""
    trajectory = make_trajectory(folder / "run")
    net = mlp_generator(**ARGUMENTS)
    net.load_state_dict(trajectory[-1].state)
    with torch.no_grad():
        x = net(Normal(3).sample(range(targets), 1, seed=5)[:, 0])
    np.save(folder / "y.npy", x.numpy())
    arguments = ("recover", str(folder / "run"), "--measurements", str(folder / "y.npy"))
    return Command((*arguments, "--shard", str(shard)), _recovered, _sound_shards)


def recovery_by_ray(folder: Path) -> Command:
    """The same on a cluster that ends with the command."""
    local = recovery(folder)
    more = ("--executor", "ray", "--workers", "2")
    return replace(local, arguments=(*local.arguments, *more))


def _recovered(out: Path) -> dict[str, str]:
    found = json.loads((out / "result.json").read_text())
    found.pop("seconds")
    found.pop("cost_once", None)  # some of it is time, told in forwards
    bits = {name: _digest(out / name) for name in ("z.npy", "x.npy")}
    return bits | {"result": json.dumps(found, sort_keys=True)}


def _sound_shards(out: Path) -> bool:
    for path in out.glob("shards/*.safetensors"):
        Solution.load(path)
    return False


def training(folder: Path, *, steps: int = 40) -> Command:
    """``surfing train`` on the digits, which saves its state every few steps."""
    del folder
    options = {"data": "digits", "network": "mlp", "hidden": 8, "latent-dim": 3}
    options |= {"steps": steps, "checkpoints": 6, "batch-size": 16}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return Command(("train", "vae", *words), _tensor_files, _sound_trajectory, save_seconds=0.05)


def importing(folder: Path, *, files: int = 30) -> Command:
    """``surfing import`` of files that torch.save wrote."""
    source = folder / "source"
    source.mkdir()
    for step in range(files):
        torch.save({"w": torch.full((50, 50), float(step))}, source / f"gen_{step}.pt")
    return Command(("import", str(source)), _tensor_files, _nothing_or_whole)


def _tensor_files(out: Path) -> dict[str, str]:
    Trajectory.open(out).verify()
    return {path.name: _digest(path) for path in sorted(out.glob("*.safetensors"))}


def _sound_trajectory(out: Path) -> bool:
    _nothing_or_whole(out)
    return False


def _nothing_or_whole(out: Path) -> bool:
    try:
        Trajectory.open(out).verify()
    except (NotATrajectoryError, EmptyTrajectoryError):
        return False
    return True


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


COMMANDS: dict[str, Callable[[Path], Command]] = {
    "recover": recovery,
    "train": training,
    "import": importing,
}

"""Damage a trajectory, and a run's shards, in every way: it has to be seen, and named."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.reliability.laws import Violation, expect
from surfing import Normal, Recorder, Solution, Trajectory
from surfing.errors import CorruptTrajectoryError, InputError
from surfing.trajectory import repair
from surfing.trajectory.manifest import _sealed

__all__ = ["DAMAGES", "damaged_files", "edited_manifests", "make_run", "run", "swapped_files"]

STEPS = 6


def run(*, damages: int, seed: int) -> dict[str, Any]:
    """Random damages of files, swaps of two files, edits of the manifest, damaged shards."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_run(Path(folder) / "run")
        found: dict[str, Any] = {"damaged": damaged_files(path, damages=damages, seed=seed)}
        found["swaps"] = swapped_files(path)
        found["edits"] = edited_manifests(path)
        found["repairs"] = repairs(path, times=max(10, damages // 10), seed=seed)
        found["shards"] = damaged_solutions(Path(folder), damages=damages, seed=seed)
    return found


def make_run(path: Path) -> Path:
    """Six small steps with averages: fourteen files and their manifest."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with Recorder(path, module, latent=Normal(2), every=1, average=0.5) as recorder:
        for _ in range(STEPS):
            with torch.no_grad():
                module[0].weight += 1
            recorder.step()
    return path


def _flip(data: bytearray, place: int, rng: random.Random) -> None:
    data[place] ^= 1 << rng.randrange(8)


def _other_byte(data: bytearray, place: int, rng: random.Random) -> None:
    data[place] = (data[place] + rng.randrange(1, 256)) % 256


def _cut(data: bytearray, place: int, rng: random.Random) -> None:
    del data[place:]


def _longer(data: bytearray, place: int, rng: random.Random) -> None:
    data += bytes(1 + place % 64)


def _zeros(data: bytearray, place: int, rng: random.Random) -> None:
    data[place:] = bytes(len(data) - place)


def _block(data: bytearray, place: int, rng: random.Random) -> None:
    """A sector of something else."""
    data[place : place + 64] = rng.randbytes(min(64, len(data) - place))


Damage = Callable[[bytearray, int, random.Random], None]
DAMAGES: dict[str, Damage] = {
    "bit flipped": _flip,
    "byte changed": _other_byte,
    "truncated": _cut,
    "longer": _longer,
    "end zeroed": _zeros,
    "block overwritten": _block,
}


def damaged_files(path: Path, *, damages: int, seed: int) -> dict[str, int]:
    """So many random damages of one file each; by kind, how many were seen and named.

    Raises:
        Violation: one was not seen, or another file was blamed.
    """
    rng, seen = random.Random(seed), Counter[str]()
    files = sorted(path.iterdir())
    while seen.total() < damages:
        kind, victim = rng.choice(list(DAMAGES)), rng.choice(files)
        whole = victim.read_bytes()
        data = bytearray(whole)
        DAMAGES[kind](data, rng.randrange(len(data)), rng)
        if data == whole:
            continue
        victim.write_bytes(data)
        _must_be_named(path, {victim.name}, kind)
        victim.write_bytes(whole)
        seen[kind] += 1
    Trajectory.open(path).verify()
    return dict(seen)


def swapped_files(path: Path) -> int:
    """Every pair of files that differ, each other's name on them."""
    files, count = sorted(path.glob("*.safetensors")), 0
    for i, a in enumerate(files):
        for b in files[:i]:
            one, other = a.read_bytes(), b.read_bytes()
            if one == other:
                continue
            a.write_bytes(other)
            b.write_bytes(one)
            _must_be_named(path, {a.name, b.name}, "swapped")
            a.write_bytes(one)
            b.write_bytes(other)
            count += 1
    return count


def edited_manifests(path: Path) -> int:
    """Every field changed by hand; then sealed again, where what it says can be checked."""
    manifest = path / "manifest.json"
    whole, count = manifest.read_text(), 0
    content = json.loads(whole)
    for name in content:
        manifest.write_text(json.dumps({**content, name: "edited"}))
        _must_be_named(path, {manifest.name}, f"{name} edited")
        count += 1
    content.pop("sha256")
    for field, value in (("sha256", "0" * 64), ("bytes", 1), ("file", "step-9.safetensors")):
        edited = json.loads(json.dumps(content))
        edited["checkpoints"][2][field] = value
        manifest.write_bytes(_sealed(edited))
        named = {edited["checkpoints"][2]["file"]}
        _must_be_named(path, named, f"{field} edited and sealed")
        count += 1
    manifest.write_text(whole)
    return count


def _must_be_named(path: Path, names: set[str], kind: str) -> None:
    try:
        Trajectory.open(path).verify()
    except CorruptTrajectoryError as error:
        expect(any(name in str(error) for name in names), "the damaged file is named", error)
    else:
        raise Violation(f"damage is seen: {kind} of {names}")


def repairs(path: Path, *, times: int, seed: int) -> dict[str, int]:
    """Several files damaged at once: just their checkpoints go, and the rest verifies."""
    rng, dropped = random.Random(seed), 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(path, Path(folder) / "run"))
            victims = rng.sample(sorted(copy.glob("*.safetensors")), rng.randrange(1, 5))
            for victim in victims:
                data = bytearray(victim.read_bytes())
                _other_byte(data, rng.randrange(len(data)), rng)
                victim.write_bytes(data)
            bad = {int(victim.name[5:14]) for victim in victims}
            found = set(repair(copy))
            expect(found == bad, "the damaged checkpoints go, and no others", found, bad)
            kept = Trajectory.open(copy)
            kept.verify()
            expect(set(kept.steps) == set(range(STEPS + 1)) - bad, "the rest stays", kept.steps)
            dropped += len(bad)
    return {"times": times, "checkpoints_dropped": dropped}


def damaged_solutions(folder: Path, *, damages: int, seed: int) -> int:
    """A saved solution, as the shards of a run are: no damage of it goes unseen."""
    rng = random.Random(seed)
    path = _solution().save(folder / "solution.safetensors")
    whole, count = path.read_bytes(), 0
    while count < damages:
        data = bytearray(whole)
        rng.choice(list(DAMAGES.values()))(data, rng.randrange(len(data)), rng)
        if data == whole:
            continue
        path.write_bytes(data)
        try:
            Solution.load(path)
        except InputError as error:
            expect(path.name in str(error), "the damaged file is named", error)
        else:
            raise Violation(f"damage is seen: solution, {count}")
        count += 1
    return count


def _solution() -> Solution:
    torch.manual_seed(0)
    z, risk = torch.randn(3, 2), torch.rand(3, dtype=torch.float64)
    return Solution(
        z=z,
        x=torch.randn(3, 4),
        risk=risk,
        status=torch.zeros(3, dtype=torch.int64),
        cost=torch.ones(3, dtype=torch.float64),
        stages=(),
        candidates_z=z[:, None],
        candidates_risk=risk[:, None],
        singular_values=None,
        covariance=None,
        notes=("a note",),
    )

"""Whatever happens to the files, it is seen and named, and never used."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks.reliability import corruption
from torch import nn

from surfing.errors import CorruptTrajectoryError
from surfing.latents import Normal
from surfing.trajectory import Recorder, Trajectory, checkpoint, repair, store
from surfing.trajectory.manifest import StoredFile
from surfing.trajectory.store import read_manifest, read_stamped, read_state
from surfing.trajectory.tensors import state_from_bytes, state_to_bytes


@pytest.fixture
def run(tmp_path: Path) -> Path:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    path = tmp_path / "run"
    with Recorder(path, module, latent=Normal(2), every=1, average=0.5) as recorder:
        for _ in range(3):
            with torch.no_grad():
                module[0].weight += 1
            recorder.step()
    return path


def test_random_damages_are_all_seen_and_named(tmp_path: Path) -> None:
    path = corruption.make_run(tmp_path / "run")
    seen = corruption.damaged_files(path, damages=300, seed=0)
    assert sum(seen.values()) == 300
    assert set(seen) == set(corruption.DAMAGES)


def test_swapped_files_and_edited_manifests_are_seen(tmp_path: Path) -> None:
    path = corruption.make_run(tmp_path / "run")
    assert corruption.swapped_files(path) > 50
    assert corruption.edited_manifests(path) > 10
    Trajectory.open(path).verify()


def test_repair_drops_the_damaged_checkpoints_and_no_others(tmp_path: Path) -> None:
    path = corruption.make_run(tmp_path / "run")
    assert corruption.repairs(path, times=5, seed=0)["checkpoints_dropped"] >= 5


def test_a_damaged_solution_is_never_loaded(tmp_path: Path) -> None:
    assert corruption.damaged_solutions(tmp_path, damages=200, seed=0) == 200


def test_a_damaged_checkpoint_is_refused_when_it_is_used_not_before(run: Path) -> None:
    bad = run / "step-000000002.safetensors"
    data = bytearray(bad.read_bytes())
    data[-1] ^= 1
    bad.write_bytes(data)
    trajectory = Trajectory.open(run)
    trajectory.state(0)
    for use in (trajectory[2].__class__.state.fget, lambda _: trajectory.at(1.5)):
        with pytest.raises(CorruptTrajectoryError, match=bad.name):
            use(trajectory[2])


def test_a_file_is_hashed_once_and_again_where_it_was_written_since(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bytes] = []

    def counted(data: bytes) -> object:
        hashed.append(data)
        return hashlib.sha256(data)

    monkeypatch.setattr(store, "hashlib", SimpleNamespace(sha256=counted))
    monkeypatch.setattr(store, "_SETTLED_NS", 0)
    monkeypatch.setattr(checkpoint, "CACHED", 0)  # every read comes from the disk
    trajectory = Trajectory.open(run)
    first = [trajectory.state(i) for i in range(len(trajectory))]
    assert len(hashed) == len(trajectory)
    again = [trajectory.state(i) for i in range(len(trajectory))]
    assert len(hashed) == len(trajectory)
    assert all(torch.equal(a[n], b[n]) for a, b in zip(first, again) for n in a)
    Trajectory.open(run).state(0)  # another opened trajectory trusts nobody
    assert len(hashed) == len(trajectory) + 1
    bad = run / "step-000000002.safetensors"
    data = bytearray(bad.read_bytes())
    data[-1] ^= 1
    bad.write_bytes(data)
    os.utime(bad, ns=(0, os.stat(bad).st_mtime_ns + 1))  # whatever the clock's tick
    with pytest.raises(CorruptTrajectoryError, match=bad.name):
        trajectory.state(2)
    data[-1] ^= 1
    bad.write_bytes(data)
    assert torch.equal(trajectory.state(2)["0.weight"], first[2]["0.weight"])


def test_a_file_written_just_now_is_hashed_at_every_read(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock's tick is too coarse to tell two writes in it apart."""
    monkeypatch.setattr(store, "_SETTLED_NS", 10**18)
    monkeypatch.setattr(checkpoint, "CACHED", 0)
    trajectory = Trajectory.open(run)
    trajectory.state(1)
    bad = run / "step-000000001.safetensors"
    then = os.stat(bad)
    data = bytearray(bad.read_bytes())
    data[-1] ^= 1
    bad.write_bytes(data)
    os.utime(bad, ns=(then.st_atime_ns, then.st_mtime_ns))
    with pytest.raises(CorruptTrajectoryError, match=bad.name):
        trajectory.state(1)


@pytest.mark.parametrize("moment", range(1, 5))
def test_a_file_replaced_while_it_is_looked_up_is_never_used(
    run: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever time its name is resolved, another file of its size comes to bear it."""
    monkeypatch.setattr(store, "_SETTLED_NS", 0)
    file = read_manifest(run).files[1]
    checked: dict[str, store.Stamp] = {}
    good = read_state(run, file, checked=checked)
    assert set(checked) == {file.name}
    bad = bytearray((run / file.name).read_bytes())
    bad[-1] ^= 1
    resolved: list[str] = []

    class Replaced(type(run)):  # type: ignore[misc]
        def __fspath__(self) -> str:
            named = str(self)
            if named.endswith(file.name):
                resolved.append(named)
                if len(resolved) == moment:
                    (run / "other").write_bytes(bad)
                    os.replace(run / "other", run / file.name)
            return named

    with contextlib.suppress(CorruptTrajectoryError):
        found = read_state(Replaced(run), file, checked=checked)
        assert all(torch.equal(found[name], good[name]) for name in good)
    if len(resolved) >= moment:
        with pytest.raises(CorruptTrajectoryError):
            read_state(run, file, checked=checked)


def test_a_file_written_while_it_is_read_has_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SETTLED_NS", 0)
    path = tmp_path / "file"
    path.write_bytes(b"before")

    class Written(io.FileIO):
        """A write between the look at the file and its reading."""

        def read(self, size: int | None = -1, /) -> bytes | None:
            path.write_bytes(b"after!")
            os.utime(path, ns=(0, 1))  # whatever the clock's tick
            return super().read(size)

    with open(path, "rb", buffering=0) as stream:
        data, stamp = read_stamped(stream, 100)
        assert data == b"before"
        assert stamp is not None
    with Written(path) as stream:
        assert read_stamped(stream, 100) == (b"after!", None)


def test_missing_linked_and_special_files(run: Path, tmp_path: Path) -> None:
    victim = run / "step-000000001.safetensors"
    data = victim.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(data)
    makers: list[Callable[[], object]] = [
        lambda: None,
        lambda: victim.symlink_to(elsewhere),
        lambda: os.mkfifo(victim),
        victim.mkdir,
    ]
    for make in makers:
        if victim.is_dir() and not victim.is_symlink():
            victim.rmdir()
        else:
            victim.unlink(missing_ok=True)
        make()
        with pytest.raises(CorruptTrajectoryError, match=victim.name):
            Trajectory.open(run)
        with pytest.raises(CorruptTrajectoryError, match=victim.name):
            read_state(run, StoredFile(victim.name, len(data), "0" * 64))
    manifest = run / "manifest.json"
    manifest.rename(tmp_path / "manifest.json")
    manifest.symlink_to(tmp_path / "manifest.json")
    with pytest.raises(CorruptTrajectoryError, match="link"):
        Trajectory.open(run)


def test_files_of_different_generators_are_seen(tmp_path: Path) -> None:
    """Each file is whole and the manifest sealed, but they don't belong together."""
    from surfing.trajectory.manifest import Entry, Manifest
    from surfing.trajectory.store import Store

    (tmp_path / "run").mkdir()
    store = Store(tmp_path / "run", Manifest())
    small, large = {"w": torch.zeros(2)}, {"w": torch.zeros(3)}
    store.commit([Entry(0, store.put(small, 0)), Entry(1, store.put(large, 1))])
    trajectory = Trajectory.open(tmp_path / "run")
    trajectory.state(0)
    with pytest.raises(CorruptTrajectoryError, match="step-000000001"):
        trajectory.state(1)
    with pytest.raises(CorruptTrajectoryError, match="step-000000001"):
        trajectory.verify()
    assert repair(tmp_path / "run") == (1,)


def test_repair_drops_what_is_damaged_and_keeps_the_rest(run: Path) -> None:
    assert repair(run) == ()
    (run / "step-000000001.average.safetensors").unlink()
    bad = run / "step-000000003.safetensors"
    bad.write_bytes(bad.read_bytes()[:-1])
    assert repair(run) == (1, 3)
    trajectory = Trajectory.open(run)
    assert trajectory.steps == (0, 2)
    assert trajectory.recorded_drift == (None,)
    assert trajectory.verify().files == 4
    assert len(list(run.iterdir())) == 5
    (run / "manifest.json").write_text("{}")
    with pytest.raises(CorruptTrajectoryError):
        repair(run)


def header(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


HOSTILE = {
    "empty": b"",
    "short": b"\x01\x00",
    "huge-header": struct.pack("<Q", 1 << 62) + b"{}",
    "header-beyond-the-end": struct.pack("<Q", 100) + b"{}",
    "not-json": struct.pack("<Q", 4) + b"\x80\x04\x95.",
    "list": struct.pack("<Q", 2) + b"[]",
    "deep": struct.pack("<Q", 50_000) + b"[" * 50_000,
    "huge-shape": header(w={"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]})
    + b"\0" * 4,
    "overflow": header(w={"dtype": "F32", "shape": [1 << 63, 2], "data_offsets": [0, 0]}),
    "huge-and-empty": header(w={"dtype": "F32", "shape": [1 << 62, 0, 9], "data_offsets": [0, 0]}),
    "negative": header(w={"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}) + b"\0" * 4,
    "offsets": header(w={"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}) + b"\0" * 4,
    "overlap": header(
        a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        b={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    )
    + b"\0" * 4,
    "dtype": header(w={"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}) + b"\0" * 4,
    "tied-to-nothing": header(__metadata__={"tied": '{"a": "b"}'}),
    "tied-list": header(__metadata__={"tied": "[1]"}),
    "tied-no-json": header(__metadata__={"tied": "{"}),
    "metadata-list": header(__metadata__=[1]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tensor_files(tmp_path: Path, data: bytes) -> None:
    import hashlib

    name = "step-000000000.safetensors"
    (tmp_path / name).write_bytes(data)
    file = StoredFile(name, len(data), hashlib.sha256(data).hexdigest())
    try:
        state = read_state(tmp_path, file)
    except CorruptTrajectoryError as error:
        assert name in str(error)  # noqa: PT017
    else:
        assert sum(t.numel() for t in state.values()) == 0


def test_random_headers_are_read_or_refused() -> None:
    rng = random.Random(0)
    whole = state_to_bytes({"a": torch.ones(3), "b": torch.ones(2, 2)}, "float32")
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data) // 2)] = rng.randrange(256)
        try:
            state_from_bytes(bytes(data))
        except ValueError:
            continue


def test_the_bytes_are_the_same_for_the_same_state() -> None:
    shared = torch.randn(3, 3)
    state = {"z": shared, "a": torch.arange(3), "b": shared, "t": torch.randn(2, 3).t()}
    first = state_to_bytes(state, "float32")
    assert all(state_to_bytes(dict(state), "float32") == first for _ in range(20))
    back = state_from_bytes(first)
    assert back["z"] is back["b"]
    assert list(back) == sorted(state)

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from surfing.errors import EmptyTrajectoryError, InputError, OutputExistsError
from surfing.latents import Normal
from surfing.trajectory import Trajectory, import_checkpoints
from surfing.trajectory.numbering import steps_of


def weights(value: float) -> dict[str, Tensor]:
    return {"0.weight": torch.full((2, 3), value), "1.running_var": torch.full((2,), value)}


def prefixed(prefix: str, value: float) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights(value).items()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def values(trajectory: Trajectory) -> list[float]:
    return [float(c.state["0.weight"][0, 0]) for c in trajectory]


WITH_CRITIC = {**prefixed("generator.", 7), "critic.w": torch.zeros(1)}

LAYOUTS: dict[str, Any] = {
    "plain": weights(7),
    "prefix": WITH_CRITIC,
    "lightning": {"epoch": 3, "state_dict": WITH_CRITIC, "hyper_parameters": {"lr": 0.1}},
    "generator-entry": {"generator": weights(7), "discriminator": weights(1), "step": 3},
    "nested": {"model": {"generator": weights(7)}, "optimizer": {"state": {}}},
    "ddp": prefixed("module.", 7),
    "ddp-inside": {**prefixed("generator.module.", 7), "critic.w": torch.zeros(1)},
    "ddp-outside": {"state_dict": prefixed("module.generator.", 7)},
    "compiled": prefixed("_orig_mod.", 7),
    "compiled-ddp": prefixed("module._orig_mod.", 7),
    "averaged": {**prefixed("module.", 7), "n_averaged": torch.tensor(3)},
}


@pytest.mark.parametrize("content", LAYOUTS.values(), ids=LAYOUTS)
def test_the_generator_is_found(source: Path, tmp_path: Path, content: Any) -> None:
    torch.save(content, source / "gen_5.pt")
    trajectory = import_checkpoints(source, tmp_path / "out", latent=Normal(3))
    assert set(trajectory[0].state) == set(weights(0))
    assert values(trajectory) == [7]
    assert (trajectory.steps, trajectory.latent) == ((5,), Normal(3))


def test_files_are_read_in_numeric_order_and_left_alone(source: Path, tmp_path: Path) -> None:
    for step in (100, 9, 10):
        torch.save(weights(step), source / f"gen_{step}.pt")
    (source / "notes.txt").write_text("not a checkpoint")
    before = {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in source.iterdir()}
    trajectory = import_checkpoints(source, tmp_path / "a")
    assert trajectory.steps == (9, 10, 100)
    assert values(trajectory) == [9, 10, 100]
    assert before == {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in source.iterdir()}
    trajectory.verify()
    import_checkpoints(source, tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors"])
def test_every_kind_of_file(source: Path, tmp_path: Path, suffix: str) -> None:
    for step in (1, 2):
        half = {name: t.half() for name, t in weights(step).items()}
        if suffix == ".safetensors":
            save_file(half, source / f"g{step}{suffix}")
        else:
            torch.save(half, source / f"g{step}{suffix}")
    trajectory = import_checkpoints(source, tmp_path / "out")
    assert values(trajectory) == [1, 2]
    assert trajectory[0].state["0.weight"].dtype == torch.float32


def test_other_prefixes_and_places(source: Path, tmp_path: Path) -> None:
    content = {"x": {"y": {**prefixed("netG.", 1), **prefixed("netD.", 2)}}}
    torch.save(content, source / "1.pt")
    trajectory = import_checkpoints(source, tmp_path / "out", key="x.y", prefix="netG.")
    assert values(trajectory) == [1]
    with pytest.raises(InputError, match=r"key.*'x'"):
        import_checkpoints(source, tmp_path / "b", key="z")
    with pytest.raises(InputError, match="`key`"):
        import_checkpoints(source, tmp_path / "b")
    for prefix in ("generator.", "other."):
        with pytest.raises(InputError, match=r"'netD.', 'netG.'"):
            import_checkpoints(source, tmp_path / "b", key="x.y", prefix=prefix)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["gen_9.pt", "gen_10.pt"], [9, 10]),
        (["epoch=3-step=400.ckpt", "epoch=4-step=300.ckpt"], [400, 300]),
        (["e3-step=400-loss=0.51.ckpt", "e3-step=500-loss=0.33.ckpt"], [400, 500]),
        (["epoch=3-val_loss=0.53.ckpt", "epoch=4-val_loss=0.51.ckpt"], [3, 4]),
        (["gan64_0001_iter.pt", "gan64_0020_iter.pt"], [1, 20]),
        (["network-snapshot-000200-kimg200.pt"], [200]),
        (["iter_5_of_100.pt", "iter_6_of_100.pt"], [5, 6]),
        (["model.100.pt", "model.200.pt"], [100, 200]),
        (["vae2_7.pt"], [7]),
    ],
)
def test_the_step_is_told_from_the_name(names: list[str], steps: list[int]) -> None:
    assert steps_of(names) == steps


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["gen_1.pt", "gen_01.pt"], "gen_1.pt, gen_01.pt"),
        (["gen_1.pt", "gen_1.pth"], "of step 1"),
        (["epoch=1-step=5.ckpt", "epoch=1-step=5-v1.ckpt"], "of step 5"),
        (["last.ckpt", "gen_1.ckpt"], "last.ckpt"),
        (["gen_1.pt", "gen_2.pt", "other_3_4.pt"], "other_3_4.pt"),
        (["a1_b2.pt", "a2_b3.pt"], "2 numbers"),
        (["gen_" + "9" * 40 + ".pt"], "digits"),
    ],
)
def test_names_that_do_not_tell(names: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        steps_of(names)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=9, unique=True))
def test_steps_in_names_are_read_back(steps: list[int]) -> None:
    assert steps_of([f"g3_{step:06d}.pt" for step in steps][: len(steps)]) == steps


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5, unique=True))
def test_any_names_give_steps_or_an_error_of_ours(names: list[str]) -> None:
    try:
        steps = steps_of(names)
    except InputError:
        return
    assert len(set(steps)) == len(names)


def test_a_pattern_chooses_files_and_steps(source: Path, tmp_path: Path) -> None:
    for name in ("a1_b20.pt", "a2_b10.pt", "last.ckpt"):
        torch.save(weights(1), source / name)
    with pytest.raises(InputError, match=r"last\.ckpt"):
        import_checkpoints(source, tmp_path / "out")
    pattern = r"a\d_b(\d+)\.pt"
    assert import_checkpoints(source, tmp_path / "a", pattern=pattern).steps == (10, 20)
    assert import_checkpoints(source, tmp_path / "b", pattern=r"a2.*").steps == (10,)
    for wrong in ("(", r"(a)\d_.*"):
        with pytest.raises(InputError, match="pattern"):
            import_checkpoints(source, tmp_path / "c", pattern=wrong)
    with pytest.raises(EmptyTrajectoryError, match="none"):
        import_checkpoints(source, tmp_path / "c", pattern="zzz")


# --- what is refused


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_a_pickle_that_runs_code_is_refused_and_named(
    source: Path, tmp_path: Path, how: str
) -> None:
    mark = tmp_path / "was-run"
    content = {"0.weight": torch.ones(1), "x": Evil(mark)}
    if how == "pickle":
        (source / "gen_2.pt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, source / "gen_2.pt", _use_new_zipfile_serialization=how == "torch")
    torch.save(weights(1), source / "gen_1.pt")
    with pytest.raises(InputError, match=r"gen_2\.pt: refused"):
        import_checkpoints(source, tmp_path / "out")
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_a_whole_pickled_module_is_refused_with_the_remedy(source: Path, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), source / "gen_1.pt")
    with pytest.raises(InputError, match=r"module\.state_dict"):
        import_checkpoints(source, tmp_path / "out")


def test_a_compressed_archive_is_refused_unread(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(source / "gen_1.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(InputError, match="compressed"):
        import_checkpoints(source, tmp_path / "out")


def test_a_tensor_that_claims_more_than_the_file_holds(source: Path, tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(10**9)}, source / "gen_1.pt")
    with pytest.raises(InputError, match="claim"):
        import_checkpoints(source, tmp_path / "out")


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"PK\x03\x04" + b"\0" * 50, b"x" * 1000, struct.pack("<Q", 1 << 60)]
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_no_checkpoints(
    source: Path, tmp_path: Path, data: bytes, suffix: str
) -> None:
    (source / f"gen_1{suffix}").write_bytes(data)
    with pytest.raises(InputError, match="gen_1"):
        import_checkpoints(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def damaged(kind: str, tmp_path: Path) -> bytes:
    whole = tmp_path / "whole"
    torch.save({"w": torch.ones(100), "x": Evil(tmp_path) if kind == "code" else 1.0}, whole)
    data = whole.read_bytes()
    called = b"cos\n\x1b[31msystem\x07\n)R."
    place = data.index(b"data.pkl") + 20
    return {
        "code": data,
        "cut": data[: len(data) // 2],
        "overwritten": data[:place] + b"\xff" * 60 + data[place + 60 :],
        "empty": b"",
        "text": b"hello world" * 20,
        "escapes": b"\x80\x02" + called,
    }[kind]


@pytest.mark.parametrize("kind", ["code", "cut", "overwritten", "empty", "text", "escapes"])
def test_a_damaged_file_is_one_clean_line(source: Path, tmp_path: Path, kind: str) -> None:
    """No colours of torch or of the file, and no advice to load it without restrictions."""
    (source / "gen_1.pt").write_bytes(damaged(kind, tmp_path))
    with pytest.raises(InputError, match="refused") as refused:
        import_checkpoints(source, tmp_path / "out")
    said = str(refused.value)
    assert said.isprintable()
    assert "weights_only" not in said
    assert "says: ." not in said
    if kind in ("code", "escapes"):
        assert {"code": "mkdir", "escapes": "os.system"}[kind] in said


@pytest.mark.parametrize("content", [[1, 2], {"lr": 0.1}, torch.ones(2), {}, {"model": {}}])
def test_files_without_a_state_dict(source: Path, tmp_path: Path, content: Any) -> None:
    torch.save(content, source / "gen_1.pt")
    with pytest.raises(InputError, match="gen_1"):
        import_checkpoints(source, tmp_path / "out")


def test_checkpoints_of_different_generators(source: Path, tmp_path: Path) -> None:
    torch.save(weights(1), source / "gen_1.pt")
    torch.save({"0.weight": torch.ones(9)}, source / "gen_2.pt")
    with pytest.raises(InputError, match=r"gen_2\.pt.*gen_1\.pt"):
        import_checkpoints(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_repository_with_one_folder_a_step(source: Path, tmp_path: Path) -> None:
    for step in (1000, 20, 300):
        folder = source / f"step-{step}"
        folder.mkdir()
        save_file(prefixed("generator.", step), folder / "model.safetensors")
        torch.save({"state": {}}, folder / "optimizer.pt")
    (source / "logs").mkdir()
    (source / "README.md").write_text("a card")
    imported = import_checkpoints(source, tmp_path / "out")
    assert imported.steps == (20, 300, 1000)
    assert values(imported) == [20, 300, 1000]
    assert imported.metadata["imported"][0] == "step-20/model.safetensors"
    pattern = r"step-(\d+0)0/.*\.safetensors"
    assert import_checkpoints(source, tmp_path / "b", pattern=pattern).steps == (30, 100)


def test_several_files_of_weights_in_a_folder_are_refused(source: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        (source / str(step)).mkdir()
        for name in ("net", "critic"):
            save_file(weights(step), source / str(step) / f"{name}.safetensors")
    with pytest.raises(InputError, match=r"one file of weights .*critic.*pattern"):
        import_checkpoints(source, tmp_path / "out")
    chosen = import_checkpoints(source, tmp_path / "out", pattern=r".*/net\.safetensors")
    assert chosen.steps == (1, 2)


def test_nothing_is_overwritten(source: Path, tmp_path: Path) -> None:
    torch.save(weights(1), source / "gen_1.pt")
    import_checkpoints(source, tmp_path / "out")
    with pytest.raises(OutputExistsError):
        import_checkpoints(source, tmp_path / "out")
    with pytest.raises(InputError, match="out"):
        import_checkpoints(source, source)
    with pytest.raises(InputError, match="folder"):
        import_checkpoints(tmp_path / "nowhere", tmp_path / "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptyTrajectoryError):
        import_checkpoints(tmp_path / "empty", tmp_path / "b")
    assert [f.name for f in source.iterdir()] == ["gen_1.pt"]

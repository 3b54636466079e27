"""The command line: what it prints, what it refuses, what it goes on with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import surfing
from surfing.architectures import mlp_generator
from surfing.cli import app, inputs, main
from surfing.cli import demo as demo_command
from surfing.errors import MissingExtraError
from surfing.evaluation.methods import METHODS
from surfing.evaluation.selftest import Selftest, own_samples
from surfing.portfolio.solver import BlockSolver
from surfing.problem import as_operator

ARGUMENTS = {"latent_dim": 3, "hidden": 24, "layers": 1, "image_size": 4}
TARGETS = 10


def other_generator() -> torch.nn.Module:
    return mlp_generator(**{**ARGUMENTS, "hidden": 7})


def another_module() -> torch.nn.Module:
    return torch.nn.Linear(3, 16)


def no_module() -> int:
    return 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trajectory: a small network that learned another one."""
    torch.manual_seed(0)
    teacher, student = mlp_generator(**ARGUMENTS), mlp_generator(**ARGUMENTS)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.02)
    out = tmp_path_factory.mktemp("cli") / "run"
    described = {"name": "mlp", "arguments": ARGUMENTS}
    latent = surfing.Normal(3)
    with surfing.Recorder(out, student, latent=latent, every=10, architecture=described) as rec:
        for _ in range(60):
            z = torch.randn(64, 3)
            loss = (student(z) - teacher(z)).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rec.step()
    return out


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measurements, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("measurements")
    own = own_samples(surfing.Trajectory.open(run), mlp_generator(**ARGUMENTS), TARGETS)
    x, z = own.x.numpy(), own.z.numpy()
    np.save(folder / "truth.npy", z)
    np.save(folder / "y.npy", x)
    np.savez(folder / "y.npz", y=x, other=z)
    save_file({"measured": own.x}, folder / "y.safetensors")
    np.save(folder / "y8.npy", as_operator("gaussian:8", (1, 4, 4), seed=5)(own.x).numpy())
    np.save(folder / "big_endian.npy", x.astype(">f4"))
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        spoilt = x.copy()
        spoilt[4, 0, 1, 2] = value
        np.save(folder / f"{name}.npy", spoilt)
    np.save(folder / "shape.npy", x[:, :, :3])
    np.save(folder / "whole.npy", (x * 255).astype(np.int64))
    np.save(folder / "one.npy", x[0].ravel())
    np.save(folder / "none.npy", x[:0])
    np.savez(folder / "two.npz", a=x, b=x)
    (folder / "short.npy").write_bytes((folder / "y.npy").read_bytes()[:-9])
    np.save(folder / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    (folder / "y.txt").write_text("1 2 3")
    (folder / "broken.toml").write_text("starts = ")
    (folder / "unknown.toml").write_text("strats = 3\n")
    return folder


@pytest.fixture
def damaged(run: Path, tmp_path: Path) -> SimpleNamespace:
    """Copies of the run, each spoilt in its own way."""

    def copy(name: str, spoil: Callable[[Path], None]) -> Path:
        where = tmp_path / name
        shutil.copytree(run, where)
        spoil(where)
        return where

    def last(where: Path) -> Path:
        return max(where.glob("*.safetensors"))

    def truncate(where: Path) -> None:
        last(where).write_bytes(last(where).read_bytes()[:-20])

    def alter(where: Path) -> None:
        data = bytearray(last(where).read_bytes())
        data[-5] ^= 1
        last(where).write_bytes(bytes(data))

    (tmp_path / "nothing").mkdir()
    return SimpleNamespace(
        truncated=copy("truncated", truncate),
        altered=copy("altered", alter),
        unsealed=copy("unsealed", lambda where: (where / "manifest.json").write_text("{}")),
        nothing=tmp_path / "nothing",
    )


def refused(capsys: pytest.CaptureFixture[str], arguments: list[object]) -> str:
    """Run what must be refused; the one line that says why."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def recovered(run: Path, y: Path, out: Path, *more: object) -> list[str]:
    return [str(a) for a in ("recover", run, "--measurements", y, "--out", out, *more)]


BAD_MEASUREMENTS = {
    "nan.npy": "target 4",
    "inf.npy": "NaN or infinity",
    "shape.npy": "expected (targets, 1, 4, 4)",
    "whole.npy": "floating point",
    "one.npy": "y[None]",
    "none.npy": "no target",
    "two.npz": "one called y",
    "short.npy": "could not be read",
    "objects.npy": "floating point numbers",
    "y.txt": ".safetensors",
    "missing.npy": "is no file",
}


@pytest.mark.parametrize(("name", "said"), BAD_MEASUREMENTS.items())
def test_bad_measurements(
    name: str,
    said: str,
    run: Path,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in refused(capsys, recovered(run, files / name, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


BAD_OPTIONS = {
    "--operator gaussian:20": "expected (targets, 20)",
    "--operator gauss:20": "the known ones are: blur",
    "--operator gaussian:many": "gaussian:20",
    "--generator nowhere:build": "could not be imported",
    "--generator tests": "package.module:callable",
    "--generator test_cli:no_module": "torch.nn.Module",
    "--generator test_cli:another_module": "0.bias",
    "--generator test_cli:other_generator": "shape",
    "--latent normal": "normal:K",
    "--latent cauchy:3": "normal:K",
    "--latent normal:0": "positive",
    "--latent normal:5": "latents",
    "--budget 0": "--budget",
    "--budget two": "--budget",
    "--bugdet 2": "--budget",
    "--noise -1": "noise",
    "--noise nan": "noise",
    "--shard 0": "--shard",
    "--executor ray --workers 0": "error: --workers: expected",
    "--device nonsense": "--device",
    "--config missing.toml": "--config",
}


@pytest.mark.parametrize(("options", "said"), BAD_OPTIONS.items())
def test_bad_options_of_recover(
    options: str,
    said: str,
    run: Path,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    arguments = recovered(run, files / "y.npy", tmp_path / "out", *options.split())
    assert said in refused(capsys, arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "missing"), [("--executor=ray", "ray"), ("--parquet", "pyarrow.parquet")]
)
def test_what_is_not_installed_is_said_before_any_work(
    option: str,
    missing: str,
    run: Path,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not there
    said = refused(capsys, recovered(run, files / "y.npy", tmp_path / "out", option))
    assert "pip install 'surfing[ray]'" in said
    assert not (tmp_path / "out").exists()
    if option == "--executor=ray":
        with pytest.raises(MissingExtraError):
            surfing.recover(
                surfing.Trajectory.open(run),
                np.load(files / "y.npy"),
                executor="ray",
            )


@pytest.mark.parametrize(("name", "said"), [("broken", "could not be read"), ("unknown", "strats")])
def test_bad_settings(
    name: str,
    said: str,
    run: Path,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = recovered(run, files / "y.npy", tmp_path, "--config", files / f"{name}.toml")
    assert said in refused(capsys, arguments)


@pytest.mark.parametrize("name", ["truncated", "altered", "unsealed", "nothing"])
def test_a_damaged_trajectory_is_named_and_left_alone(
    name: str, damaged: SimpleNamespace, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where: Path = getattr(damaged, name)
    before = {path: path.read_bytes() for path in where.rglob("*") if path.is_file()}
    assert str(where) in refused(capsys, ["inspect", where, "--verify"])
    assert name in refused(capsys, recovered(where, files / "y.npy", where.parent / "out"))
    assert {path: path.read_bytes() for path in where.rglob("*") if path.is_file()} == before
    assert not (where.parent / "out").exists()


def test_an_empty_trajectory(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    from surfing.trajectory.manifest import encode
    from surfing.trajectory.store import read_manifest

    (tmp_path / "manifest.json").write_bytes(encode(replace(read_manifest(run), entries=())))
    assert "at least one checkpoint" in refused(capsys, ["inspect", tmp_path])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train gan --out {}", "dcgan, vae, wgan, wgan-gp"),
        ("train vae --out {} --data nothing", "fashion-mnist"),
        ("train vae --out {} --steps 0", "steps"),
        ("train vae --out {} --device nonsense", "--device"),
        ("train vae --out {} --device cpu:0", "--devices"),
        ("train vae --out {} --checkpoints 1 --data digits", "--checkpoints"),
        ("train vae", "--out"),
        ("import {} --out {}", "import"),
        ("recvr", "Did you mean"),
        ("inspect", "requires"),
        ("inspect nowhere", "expected a trajectory"),
        ("demo --targets 0", "--targets"),
        ("demo --run nowhere", "expected a trajectory"),
        ("selftest nowhere", "expected a trajectory"),
    ],
)
def test_bad_input_of_the_others(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "import"
    assert said in refused(capsys, [word.format(where) for word in arguments.split()])
    assert list(tmp_path.iterdir()) == []


def test_selftest_refuses_bad_input(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--targets" in refused(capsys, ["selftest", run, "--targets", 0, "--data", "digits"])
    assert "positive" in refused(capsys, ["selftest", run, "--targets", 0])
    assert "nothing" in refused(capsys, ["selftest", run, "--data", "nothing"])


def test_an_existing_output_is_not_overwritten(
    run: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("dear")
    y = files / "y.npy"
    assert "holds no run" in refused(capsys, recovered(run, y, tmp_path))
    assert "holds no run" in refused(capsys, recovered(run, y, tmp_path, "--overwrite"))
    assert "exists" in refused(capsys, ["demo", "--run", run, "--out", tmp_path])
    saved = tmp_path.with_name("saved")
    saved.mkdir()
    torch.save({"generator.w": torch.zeros(2)}, saved / "step_1.pt")
    assert "trajectory" in refused(capsys, ["import", saved, "--out", run])
    assert "no training" in refused(capsys, ["train", "vae", "--data", "digits", "--out", tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_becomes_of_a_folders_images_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        colour = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(colour).save(tmp_path / name)
    line = ["train", "vae", "--data", tmp_path, "--network", "mlp", "--hidden", 8, "--steps", 1]
    line = [str(word) for word in [*line, "--batch-size", 2]]
    said = "Images become grey, 28x28"
    for number, (more, told) in enumerate([([], True), (["--image-size", "28"], False)]):
        assert main([*line, *more, "--out", str(tmp_path / f"run-{number}")]) == 0
        assert (said in " ".join(capsys.readouterr().out.split())) is told


@pytest.mark.parametrize("name", ["y.npy", "y.npz", "y.safetensors", "big_endian.npy"])
def test_recover_finds_latents_whatever_the_file(
    name: str, run: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(recovered(run, files / name, tmp_path / "out", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["targets"] == TARGETS
    assert result["met"] >= TARGETS - 1
    z, truth = np.load(tmp_path / "out" / "z.npy"), np.load(files / "truth.npy")
    met = np.array([status == "solved" for status in result["status"]])
    assert np.linalg.norm(z - truth, axis=1)[met].max() < 0.01
    assert np.load(tmp_path / "out" / "x.npy").shape == (TARGETS, 1, 4, 4)
    assert json.loads((tmp_path / "out" / "result.json").read_text())["met"] == result["met"]


def test_recover_with_an_operator_by_name(
    run: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--operator", "gaussian:8", "--operator-seed", 5, "--quiet"]
    assert main(recovered(run, files / "y8.npy", tmp_path / "out", *options)) == 0
    assert capsys.readouterr() == ("", "")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["met"] >= TARGETS - 2


def test_recover_polishes_on_request(run: Path, files: Path, tmp_path: Path) -> None:
    options = ["--operator", "gaussian:8", "--operator-seed", 5, "--quiet"]
    for name in ("plain", "--polish"):
        more = [*options, name] if name.startswith("--") else options
        assert main(recovered(run, files / "y8.npy", tmp_path / name, *more)) == 0
    plain, fine = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("plain", "--polish")
    )
    assert np.load(tmp_path / "--polish" / "z.npy").dtype == np.float64
    assert fine["cost_mean"] > plain["cost_mean"]
    assert fine["met"] >= plain["met"]
    assert fine["residual_median"] < plain["residual_median"]
    # The folder holds another run.
    assert main(recovered(run, files / "y8.npy", tmp_path / "plain", *options, "--polish")) == 2


def test_with_batch_invariance_shards_of_any_size_give_the_same_bits(
    run: Path, files: Path, tmp_path: Path
) -> None:
    for size in ("3", "8"):
        options = ("--budget", "400", "--batch-invariant", "--shard", size)
        assert main(recovered(run, files / "y.npy", tmp_path / size, *options)) == 0
    z = [np.load(tmp_path / size / "z.npy") for size in ("3", "8")]
    assert np.array_equal(*z)


def test_an_interrupted_recover_goes_on_and_shards_dont_matter(
    run: Path,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y, whole, pieces = files / "y.npy", tmp_path / "whole", tmp_path / "pieces"
    assert main(recovered(run, y, whole, "--quiet")) == 0

    solve, calls = BlockSolver.__call__, []

    def interrupted(*rest: object, ids: range, **others: object) -> object:
        calls.append(ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return solve(*rest, ids=ids, **others)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(BlockSolver, "__call__", interrupted)
        assert main(recovered(run, y, pieces, "--shard", 4)) == 130
    said = capsys.readouterr().err
    assert said.startswith("interrupted: ")
    assert said.count("\n") == 1
    assert not (pieces / "result.json").exists()

    # The shards' size is the folder's own from here on.
    assert main(recovered(run, y, pieces, "--shard", 100, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["shards_found"] == 1
    assert len(list((pieces / "shards").glob("*.safetensors"))) == 3
    assert np.allclose(np.load(whole / "z.npy"), np.load(pieces / "z.npy"), atol=1e-3)


def test_a_run_is_not_mixed_with_another(
    run: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(recovered(run, files / "y.npy", out, "--quiet")) == 0
    again = recovered(run, files / "y.npy", out, "--budget", 300, "--seed", 1)
    assert "another budget, seed" in refused(capsys, again)
    assert "measurements" in refused(capsys, recovered(run, files / "big_endian.npy", out))
    assert main([*again, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards_found"] == 0


def test_a_damaged_shard_is_computed_again(
    run: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = recovered(run, files / "y.npy", out, "--shard", 5, "--json")
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    shard = min((out / "shards").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: ")
    assert shard.name in captured.err
    second = json.loads(captured.out)
    assert second["shards_found"] == 1
    assert second["residual"] == pytest.approx(first["residual"], abs=1e-4)


def test_options_from_a_file_and_the_command_line_wins(
    run: Path, files: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    lines = f'measurements = "{files / "y.npy"}"\nbudget = 200\nseed = 3\nquiet = true\n'
    settings.write_text(lines)
    out = tmp_path / "out"
    options = ["--out", str(out), "--config", str(settings), "--budget", "300"]
    arguments = ["recover", str(run), *options]
    assert main(arguments) == 0
    facts = json.loads((out / "run.json").read_text())["facts"]
    assert (facts["seed"], facts["budget"]) == (3, 300)


def test_inspect_counts_and_verifies(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(run), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "7 checkpoints" in shown
    assert "Verified" in shown
    assert main(["inspect", str(run), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in document["checkpoints"]] == list(range(0, 61, 10))
    stored = sum(path.stat().st_size for path in run.glob("*.safetensors"))
    assert document["bytes"] == stored


def test_import_makes_a_trajectory_of_saved_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "saved", tmp_path / "run"
    source.mkdir()
    for step in (9, 10, 100):
        weights = {"generator.w": torch.full((2, 2), float(step)), "critic.w": torch.zeros(1)}
        torch.save(weights, source / f"step_{step}.pt")
    arguments = ["import", source, "--out", out, "--latent", "uniform:2:0:1", "--json"]
    assert main([str(argument) for argument in arguments]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == [9, 10, 100]
    trajectory = surfing.Trajectory.open(out)
    assert trajectory.latent == surfing.Uniform(2, 0, 1)
    assert list(trajectory[-1].state) == ["w"]


def test_train_records_a_trajectory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = f"train vae --data digits --network mlp --hidden 8 --steps 3 --out {out}"
    assert main([*words.split(), "--device", "cpu", "--json", "--seed", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["last_step"] == 3
    assert document["recipe"]["seed"] == 2
    assert (out / "samples.png").is_file()
    assert surfing.Trajectory.open(out).steps[-1] == 3


def test_demo_leaves_a_page_a_picture_and_a_table(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--run", str(run), "--targets", "6"]) == 0
    shown = capsys.readouterr().out
    assert "20 measurements" in shown
    assert "surfing-demo/demo.png" in shown
    assert main(["demo", "--run", str(run), "--targets", "6", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["picture"]) == Path("surfing-demo-2/demo.png")
    assert Path(document["picture"]).read_bytes().startswith(b"\x89PNG")
    page = Path(document["page"]).read_text(encoding="utf-8")
    assert Path(document["page"]).name == "index.html"
    assert "50 measurements" in page
    assert re.search(r"""(src|href)=["']?http""", page) is None  # nothing from outside
    outcomes = document["outcomes"]
    assert all(outcome["seconds_one"] > 0 for outcome in outcomes)
    assert [o["method"] for o in outcomes] == ["direct", "surfing", "recover"] * 3
    assert all(outcome["found"][1] == 6 for outcome in outcomes)


def test_selftest_prints_a_verdict(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", str(run), "--targets", "8", "--data", "digits"]) == 0
    assert "own samples" in capsys.readouterr().out
    assert main(["selftest", str(run), "--targets", "8", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["met"]["of"][1] == 8
    assert document["verdict"].endswith(".")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (Selftest((10, 100), (40, 100), 0.1, 1.0), "optimiser is at fault"),
        (Selftest((10, 100), (98, 100), 1e-6, 1.0), "measurements are at fault"),
        (Selftest((97, 100), (98, 100), 1e-6, 1.0), "optimiser works"),
        (Selftest((97, 100), (98, 100), 1e-6, 1.0, (0.3, 50)), "that is the generator"),
        (Selftest((97, 100), (98, 100), 1e-6, 1.0, (1e-4, 50)), "nothing is at fault"),
    ],
)
def test_the_verdict_names_who_is_at_fault(result: Selftest, said: str) -> None:
    assert said in result.verdict


def test_a_trajectory_on_another_device_is_moved_checkpoint_by_checkpoint(run: Path) -> None:
    moved = inputs.open_run(str(run), torch.device("meta"))
    assert {t.device.type for t in moved[0].state.values()} == {"meta"}
    assert moved.latent == surfing.Normal(3)
    assert moved.steps == surfing.Trajectory.open(run).steps


def test_the_unexpected_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(demo_command, "_fresh", broken)
    assert main(["demo"]) == 1
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert captured.err.strip().splitlines()[-1].startswith("error: unexpected RuntimeError: boom")
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code"), [(PermissionError(13, "no"), 2), (OSError(28, "full"), 1)]
)
def test_the_system_refuses_in_one_line(
    error: OSError, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(commands: object, tokens: list[str]) -> int:
        raise error

    monkeypatch.setattr(app, "_run", refuse)
    assert main(["demo"]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_help_names_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    named = ("compare", "demo", "import", "inspect", "recover", "selftest", "train")
    for command in (*named, "view"):
        assert command in shown
        assert main([command, "--help"]) == 0
        options = capsys.readouterr().out
        assert all(f"--{name}" in options for name in ("seed", "device", "json", "quiet", "config"))


def test_the_help_of_compare_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--help"]) == 0
    shown = re.sub(r"[^\w-]+", " ", capsys.readouterr().out)  # lines are broken where they fit
    assert all(f" {name} " in shown for name in METHODS)


def test_the_entry_point_is_installed() -> None:
    script = Path(sys.executable).with_name("surfing")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == surfing.__version__


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_what_was_installed(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("surfing")
    home = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    subprocess.run([script, "--install-completion"], env=home, check=True, capture_output=True)
    complete = (
        "source ~/.bashrc; COMP_WORDS=(surfing recover --executor ''); COMP_CWORD=3; _surfing\n"
        "echo ${COMPREPLY[@]}; COMP_WORDS=(surfing rec); COMP_CWORD=1; _surfing\n"
        "echo ${COMPREPLY[@]}"
    )
    line = ["bash", "--norc", "-c", complete]
    done = subprocess.run(line, env=home, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["local ray", "recover"]


def one_checkpoint(run: Path, tmp_path: Path) -> list[str]:
    trajectory = surfing.Trajectory.open(run)
    save_file(dict(trajectory[-1].state), tmp_path / "weights.safetensors")
    options = ["--stages", "2", "--steps", "3", "--batch-size", "8", "--json", "--device", "cpu"]
    weights = ["--weights", str(tmp_path / "weights.safetensors")]
    return ["distil", "--out", str(tmp_path / "made"), *weights, *options]


def the_generator() -> torch.nn.Module:
    return mlp_generator(**ARGUMENTS)


def test_distil_makes_a_run_of_one_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = one_checkpoint(run, tmp_path)
    command += ["--generator", "tests.test_cli:the_generator", "--latent-dim", "3"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    made = surfing.Trajectory.open(tmp_path / "made")
    assert said["checkpoints"] == len(made) == 3
    assert said["cost"] == made.metadata["distillation"]["cost"] > 0
    last = surfing.Trajectory.open(run)[-1].state
    assert all(torch.equal(made[-1].state[name], last[name]) for name in last)
    assert main(command) == 0  # finished: opened and told again
    assert json.loads(capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--generator", "tests.test_cli:the_generator"], "--latent"),
        (["--generator", "tests.test_cli:no_module", "--latent-dim", "3"], "--generator"),
        (["--generator", "tests.test_cli:other_generator", "--latent-dim", "3"], "generator"),
        (["--generator", "tests.test_cli:the_generator", "--latent-dim", "4"], "latents of shape"),
        (["--generator", "tests.test_cli:the_generator", "--latent", "cauchy:3"], "--latent"),
        (
            ["--generator", "tests.test_cli:the_generator", "--latent-dim=3", "--weights=no.pt"],
            "--weights",
        ),
    ],
)
def test_distil_refuses_in_one_line(
    more: list[str], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*one_checkpoint(run, tmp_path), *more]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "made").exists()

"""`surfing sample`: what it writes is what the library returns, and it goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import surfing
from surfing.architectures import mlp_generator
from surfing.cli import main

ARGUMENTS = {"latent_dim": 3, "hidden": 16, "layers": 2, "image_size": 4}
NOISE, DRAWS = 0.05, 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("sample") / "run"
    described = {"name": "mlp", "arguments": ARGUMENTS}
    net = mlp_generator(**ARGUMENTS)
    recorder = surfing.Recorder(out, net, latent=surfing.Normal(3), every=1, architecture=described)
    with recorder as record:
        record.step()
    return out


@pytest.fixture(scope="module")
def y(run: Path) -> np.ndarray:
    model = surfing.ForwardModel(surfing.Trajectory.open(run))
    z = model.latent.sample(range(6), 1, seed=3)[:, 0]
    x = model.measure(model.signals(z))
    return (x + NOISE * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).numpy()


def command(run: Path, y: np.ndarray, out: Path, *more: object) -> list[str]:
    path = out.parent / "y.npy"
    np.save(path, y)
    words = ("sample", run, "--measurements", path, "--out", out, "--draws", DRAWS, *more)
    return [str(word) for word in words]


def test_it_writes_what_the_library_returns(
    run: Path, y: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ("--noise", NOISE, "--signals", "--json")
    assert main(command(run, y, out, *options)) == 0
    told = json.loads(capsys.readouterr().out)
    model = surfing.ForwardModel(surfing.Trajectory.open(run))
    draws = surfing.sample(model, y, noise=NOISE, draws=DRAWS)
    assert np.allclose(np.load(out / "z.npy"), draws.z, atol=1e-5)
    assert np.allclose(np.load(out / "weights.npy"), draws.weights, atol=1e-5)
    assert np.allclose(np.load(out / "mean.npy"), draws.mean, atol=1e-5)
    low, high = draws.interval(0.95)
    assert np.allclose(np.load(out / "low.npy"), low, atol=1e-5)
    assert np.allclose(np.load(out / "high.npy"), high, atol=1e-5)
    assert np.allclose(np.load(out / "x_std.npy"), draws.signals().std, atol=1e-4)
    assert told["targets"] == 6
    assert told["ess"] == pytest.approx(draws.ess.tolist(), rel=1e-3)
    assert told["mode_masses"] == [
        pytest.approx(m[m > 0].tolist(), abs=1e-4) for m in draws.modes.mass
    ]


def test_an_interrupted_run_goes_on(
    run: Path, y: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from surfing.posterior.block import BlockSampler

    sampled, calls = BlockSampler.__call__, []

    def once(self: BlockSampler, *given: object, **options: object) -> surfing.Draws:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sampled(self, *given, **options)

    out, whole = tmp_path / "out", tmp_path / "whole"
    options = ("--noise", NOISE, "--shard", 2, "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(BlockSampler, "__call__", once)
        assert main(command(run, y, out, *options)) == 130
    assert len(list((out / "shards").glob("*.safetensors"))) == 1
    assert main(command(run, y, out, *options)) == 0
    assert main(command(run, y, whole, "--noise", NOISE, "--quiet")) == 0
    assert np.allclose(np.load(out / "z.npy"), np.load(whole / "z.npy"), atol=1e-2)
    assert main(command(run, y, out, "--noise", 2 * NOISE, "--quiet")) == 2
    assert main(command(run, y, out, "--noise", 2 * NOISE, "--quiet", "--overwrite")) == 0


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        ("estimate", None),
        ("poisson:0.01", None),
        ("poisson:none", "--noise: expected poisson:GAIN"),
        ("0", "--noise: expected standard deviations > 0"),
        ("guess", "--noise: expected a number, a .npy file, poisson"),
    ],
)
def test_noise_is_read_or_refused(
    run: Path,
    y: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    noise: str,
    said: str | None,
) -> None:
    code = main(command(run, np.abs(y), tmp_path / "out", "--noise", noise, "--quiet"))
    assert code == (0 if said is None else 2)
    if said is not None:
        assert said in capsys.readouterr().err

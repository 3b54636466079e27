from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from surfing.architectures import generator_from_manifest
from surfing.errors import InputError, OutputExistsError, UnknownNameError
from surfing.latents import Normal, Uniform
from surfing.trajectory import Every, Trajectory
from surfing.zoo.modules import build
from surfing.zoo.recipes import MODEL_NAMES, recipe_for
from surfing.zoo.samples import draw_samples
from surfing.zoo.training import RESUME_NAME, train

TINY = {
    "data": "digits",
    "latent_dim": 3,
    "width": 2,
    "hidden": 8,
    "other_width": 2,
    "other_hidden": 8,
    "batch_size": 16,
}


def tiny(model="wgan-gp", **changes):
    return recipe_for(model, **{**TINY, "steps": 12, **changes})


def run(recipe, out, **options):
    return train(recipe, out, device="cpu", progress=False, **options)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_a_training_leaves_a_trajectory(tmp_path, model, network):
    recipe = tiny(model, network=network)
    trajectory = run(recipe, tmp_path / "run", checkpoints=6)
    assert trajectory.steps[0] == 0
    assert trajectory.steps[-1] == recipe.steps
    assert len(trajectory) <= 6
    assert trajectory.latent == Normal(3)
    assert trajectory.metadata["recipe"] == recipe.to_dict()
    assert trajectory.verify()
    generator = generator_from_manifest(trajectory.architecture)
    generator.load_state_dict(trajectory.state(-1))
    assert draw_samples(trajectory, 5).shape == (5, 1, 8, 8)
    assert (tmp_path / "run" / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run" / RESUME_NAME).exists()


def test_stage_0_is_the_random_weights_that_the_seed_gives(tmp_path):
    recipe = tiny()
    trajectory = run(recipe, tmp_path / "run")
    from surfing.zoo.data import load_images

    fresh = build(recipe, load_images("digits"))
    assert equal(trajectory.state(0), dict(fresh.generator.state_dict()))
    assert not equal(trajectory.state(0), trajectory.state(-1))


def test_the_seed_decides_everything(tmp_path):
    torch.manual_seed(1)
    first = run(tiny(), tmp_path / "a")
    before = torch.get_rng_state()
    torch.manual_seed(2)
    second = run(tiny(), tmp_path / "b")
    other = run(tiny(seed=1), tmp_path / "c")
    assert equal(first.state(-1), second.state(-1))
    assert not equal(first.state(-1), other.state(-1))
    assert len(before) == len(torch.get_rng_state())


def test_running_averages_are_recorded_beside_the_weights(tmp_path):
    run(tiny(), tmp_path / "run", average=0.9)
    averages = Trajectory.open(tmp_path / "run", average=True)
    assert not equal(averages.state(-1), Trajectory.open(tmp_path / "run").state(-1))
    run(tiny(), tmp_path / "none", average=None)
    with pytest.raises(InputError, match="average"):
        Trajectory.open(tmp_path / "none", average=True)


def test_uniform_latents(tmp_path):
    assert run(tiny(law="uniform"), tmp_path / "run").latent == Uniform(3, -1, 1)


CHILD = """
import json, sys, torch
torch.set_num_threads(int(sys.argv[3]))
from surfing.trajectory import Every
from surfing.zoo.recipes import Recipe
from surfing.zoo.training import train
recipe = Recipe(**json.loads(sys.argv[1]))
train(recipe, sys.argv[2], device="cpu", schedule=Every(10), checkpoints=1000, average=0.9,
      save_seconds=0, progress=False)
"""


def test_a_killed_training_opens_and_resumes_to_the_same_bits(tmp_path):
    recipe = tiny(steps=150)
    schedule = {"schedule": Every(10), "checkpoints": 1000, "average": 0.9}
    whole = run(recipe, tmp_path / "whole", **schedule)
    out = tmp_path / "killed"
    arguments = [json.dumps(recipe.to_dict()), str(out), str(torch.get_num_threads())]
    with subprocess.Popen([sys.executable, "-c", CHILD, *arguments]) as child:
        deadline = time.monotonic() + 60
        while not (out / RESUME_NAME).exists() and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    left = Trajectory.open(out)
    assert left.verify()
    assert 0 < left.steps[-1] < recipe.steps
    resumed = run(recipe, out, **schedule)
    assert resumed.steps == whole.steps
    for stage in range(len(whole)):
        assert equal(resumed.state(stage), whole.state(stage)), whole.steps[stage]
    averages = [Trajectory.open(path, average=True) for path in (out, tmp_path / "whole")]
    assert equal(averages[0].state(-1), averages[1].state(-1))


def test_a_finished_training_is_opened_and_not_repeated(tmp_path):
    run(tiny(), tmp_path / "run")
    before = (tmp_path / "run" / "manifest.json").stat().st_mtime_ns
    assert run(tiny(), tmp_path / "run").steps[-1] == 12
    assert (tmp_path / "run" / "manifest.json").stat().st_mtime_ns == before


def test_nothing_is_overwritten_unless_told(tmp_path):
    run(tiny(), tmp_path / "run")
    with pytest.raises(OutputExistsError, match="another recipe"):
        run(tiny(seed=1), tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputExistsError, match="holds no training"):
        run(tiny(), tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    other = run(tiny(seed=1), tmp_path / "run", overwrite=True)
    assert other.metadata["recipe"]["seed"] == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": "cifar"}, "digits"),
        ({"network": "unet"}, "conv, deep, mlp, style"),
        ({"law": "cauchy"}, "normal, uniform"),
        ({"output": "linear"}, "sigmoid, tanh"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_written(tmp_path, changes, expected):
    with pytest.raises(UnknownNameError, match=expected):
        run(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="dcgan, vae, wgan, wgan-gp"):
        recipe_for("diffusion")


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"batch_size": 1},
        {"learning_rate": -1.0},
        {"momentum": 1.0},
        {"seed": -1},
        {"depth": 3},
    ],
)
def test_a_recipe_refuses_what_can_not_be_trained(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        tiny(**changes)


def test_a_vae_has_no_uniform_latents():
    with pytest.raises(InputError, match="law"):
        tiny("vae", law="uniform")


def test_progress_is_lines_where_there_is_no_terminal(tmp_path, capsys):
    from surfing.zoo import progress

    shown = progress.Progress(12, seconds=0.0)
    module = build(tiny(), torch.zeros(20, 1, 8, 8, dtype=torch.uint8))

    class Trainer:
        is_global_zero = True

    shown.on_train_start(Trainer(), module)
    module.counted()
    shown.on_train_batch_end(Trainer(), module)
    assert "step 1 of 12" in capsys.readouterr().err

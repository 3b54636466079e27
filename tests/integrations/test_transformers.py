"""Real runs of Transformers' Trainer, on a model that is no transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surfing.errors import GeneratorError, InputError, OutputExistsError
from surfing.latents import Normal
from surfing.trajectory import Every, Trajectory

transformers = pytest.importorskip("transformers")

from surfing.integrations.transformers import RecorderCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")


class Decoder(nn.Module):
    """A generator inside what the Trainer trains."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({"generator": nn.Linear(2, 3)})
        self.fails_at, self.calls = fails_at, 0

    def forward(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if self.calls == self.fails_at:
            raise ZeroDivisionError
        self.calls += 1
        x = self.parts["generator"](z)
        return {"loss": (x - labels).square().mean(), "x": x}


def fit(
    folder: Path,
    callback: RecorderCallback,
    steps: int,
    *,
    model: Decoder | None = None,
    resume: str | None = None,
    **options: Any,
) -> transformers.Trainer:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        **({"save_strategy": "no"} | options),
    )
    data = [{"z": torch.ones(2) * i / 8, "labels": torch.ones(3)} for i in range(8)]
    model = Decoder() if model is None else model
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback])
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_it_records_the_weights_of_every_step_asked_for(tmp_path: Path) -> None:
    callback = RecorderCallback(
        tmp_path / "run", generator="parts.generator", latent=Normal(2), every=2
    )
    trainer = fit(tmp_path, callback, 5)
    run = Trajectory.open(tmp_path / "run")
    assert run.steps == (0, 2, 4, 5)
    assert run.latent == Normal(2)
    first, last = Decoder().parts["generator"], trainer.model.parts["generator"]
    for index, module in ((0, first), (-1, last)):
        for name, tensor in module.state_dict().items():
            assert torch.equal(run.state(index)[name], tensor)
    assert not torch.equal(first.weight, last.weight)


def test_accumulated_gradients_are_one_step(tmp_path: Path) -> None:
    callback = RecorderCallback(tmp_path / "run", generator=None, every=1)
    fit(tmp_path, callback, 3, gradient_accumulation_steps=2)
    run = Trajectory.open(tmp_path / "run")
    assert run.steps == (0, 1, 2, 3)
    assert set(run.state(0)) == set(Decoder().state_dict())


def test_resuming_drops_what_lies_beyond_and_passes_it_again(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}

    def callback() -> RecorderCallback:
        return RecorderCallback(tmp_path / "run", generator="parts.generator", every=1)

    fit(tmp_path, callback(), 5, **options)
    once = Trajectory.open(tmp_path / "run").state(-1)
    fit(tmp_path, callback(), 4, resume=str(tmp_path / "trainer" / "checkpoint-2"), **options)
    run = Trajectory.open(tmp_path / "run")
    assert run.steps == (0, 1, 2, 3, 4)
    assert run.verify().checkpoints == 5
    assert not torch.equal(run.state(-1)["weight"], once["weight"])


def test_a_failed_training_keeps_what_was_recorded(tmp_path: Path) -> None:
    callback = RecorderCallback(tmp_path / "run", generator="parts.generator", every=2)
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, callback, 6, model=Decoder(fails_at=3))
    assert Trajectory.open(tmp_path / "run").steps == (0, 2)
    callback.close()
    assert Trajectory.open(tmp_path / "run").steps == (0, 2, 3)


def test_what_is_there_is_not_overwritten_unless_told(tmp_path: Path) -> None:
    name = "parts.generator"
    fit(tmp_path, RecorderCallback(tmp_path / "run", generator=name, every=1), 2)
    with pytest.raises(OutputExistsError, match=r"overwrite=True.*resume_from_checkpoint"):
        fit(tmp_path, RecorderCallback(tmp_path / "run", generator=name, every=1), 2)
    fit(tmp_path, RecorderCallback(tmp_path / "run", generator=name, every=2, overwrite=True), 2)
    assert Trajectory.open(tmp_path / "run").steps == (0, 2)


def test_a_generator_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="nowhere"):
        fit(tmp_path, RecorderCallback(tmp_path / "run", generator="nowhere"), 2)
    assert not (tmp_path / "run").exists()


def test_bad_options_are_refused_before_the_training(tmp_path):
    with pytest.raises(InputError, match="every"):
        RecorderCallback(tmp_path / "run", every=2, schedule=Every(2))
    with pytest.raises(InputError, match=r"^average: "):
        RecorderCallback(tmp_path / "run", average=2.0)
    for unknown in ({"evry": 2}, {"resume": True}):
        with pytest.raises(TypeError, match=f"^RecorderCallback: .*{next(iter(unknown))}"):
            RecorderCallback(tmp_path / "run", **unknown)
    for generator in (3, "", "net."):
        with pytest.raises(InputError, match=r"^generator: "):
            RecorderCallback(tmp_path / "run", generator=generator)
    assert not (tmp_path / "run").exists()

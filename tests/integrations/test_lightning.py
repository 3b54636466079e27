from __future__ import annotations

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from surfing.errors import GeneratorError, InputError, OutputExistsError
from surfing.integrations.lightning import RecorderCallback
from surfing.latents import Normal
from surfing.trajectory import Every, Trajectory


class Adversaries(LightningModule):
    """Three steps of the critic to one of the generator, every other batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.net = nn.ModuleDict({"generator": nn.Linear(2, 3)})
        self.critic = nn.Linear(3, 1)
        self.frozen = nn.Linear(1, 1)

    def configure_optimizers(self):
        return [
            torch.optim.SGD(self.critic.parameters(), 0.1),
            torch.optim.SGD(self.net.parameters(), 0.1),
        ]

    def training_step(self, batch, index):
        of_critic, of_generator = self.optimizers()
        for optimizer, times in ((of_critic, 3), (of_generator, index % 2)):
            for _ in range(times):
                optimizer.zero_grad()
                self.manual_backward(self.critic(self.net["generator"](batch)).mean())
                optimizer.step()


class Plain(LightningModule):
    def __init__(self, optimizer=torch.optim.SGD):
        super().__init__()
        self.generator = nn.Linear(2, 3)
        self.optimizer = optimizer

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), 0.1)

    def training_step(self, batch, index):
        return self.generator(batch).square().mean()


def fit(module, callback, batches, **options):
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=options.get("epochs", 1),
        callbacks=callback if isinstance(callback, list) else [callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{key: value for key, value in options.items() if key == "accumulate_grad_batches"},
    )
    loader = DataLoader(torch.ones(4 * batches, 2), batch_size=4)
    trainer.fit(module, loader, ckpt_path=options.get("ckpt_path"), weights_only=True)
    return trainer


@pytest.fixture(autouse=True)
def _without_lightnings_advice():
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*")
        yield


def test_it_counts_the_generators_steps_and_not_the_critics(tmp_path):
    callback = RecorderCallback(tmp_path / "run", generator="net.generator", every=1)
    trainer = fit(Adversaries(), callback, 10)
    assert trainer.global_step == 35
    assert callback.generator_steps == 5
    assert Trajectory.open(tmp_path / "run").steps == (0, 1, 2, 3, 4, 5)


def test_accumulated_gradients_are_one_step(tmp_path):
    callback = RecorderCallback(tmp_path / "run", latent=Normal(2), every=1)
    fit(Plain(), callback, 8, accumulate_grad_batches=4)
    assert Trajectory.open(tmp_path / "run").steps == (0, 1, 2)


def test_resuming_drops_what_lies_beyond(tmp_path):
    first = RecorderCallback(tmp_path / "run", every=1)
    trainer = fit(Plain(), first, 3)
    trainer.save_checkpoint(tmp_path / "early.ckpt")
    state = Trajectory.open(tmp_path / "run").state(-1)
    longer = RecorderCallback(tmp_path / "other", every=1)
    fit(Plain(), longer, 9)
    again = RecorderCallback(tmp_path / "other", every=1)
    fit(Plain(), again, 3, ckpt_path=tmp_path / "early.ckpt", epochs=2)
    resumed = Trajectory.open(tmp_path / "other")
    assert resumed.steps == (0, 1, 2, 3, 4, 5, 6)
    assert again.generator_steps == 6
    assert state.keys() == resumed.state(-1).keys()


def test_an_exception_leaves_the_last_state_behind(tmp_path):
    class Failing(Plain):
        def training_step(self, batch, index):
            if index == 3:
                raise ZeroDivisionError
            return super().training_step(batch, index)

    callback = RecorderCallback(tmp_path / "run", every=100)
    with pytest.raises(ZeroDivisionError):
        fit(Failing(), callback, 6)
    assert Trajectory.open(tmp_path / "run").steps == (0, 3)


def test_an_existing_trajectory_is_not_overwritten_unless_told(tmp_path):
    fit(Plain(), RecorderCallback(tmp_path / "run", every=1), 2)
    with pytest.raises(OutputExistsError, match=r"overwrite=True.*fit\(\.\.\., ckpt_path"):
        fit(Plain(), RecorderCallback(tmp_path / "run", every=1), 2)
    fit(Plain(), RecorderCallback(tmp_path / "run", every=2, overwrite=True), 2)
    assert Trajectory.open(tmp_path / "run").steps == (0, 2)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_resuming_from_a_checkpoint_of_a_training_without_it_deletes_nothing(tmp_path, optimizer):
    """Lightning's count, or Adam's, says where the training is."""
    fit(Plain(optimizer), [], 4).save_checkpoint(tmp_path / "bare.ckpt")
    run = {"path": tmp_path / "run", "every": 1}
    fit(Plain(optimizer), RecorderCallback(**run), 6)
    before = Trajectory.open(tmp_path / "run")
    kept = [before.state(index) for index in range(5)]
    again = RecorderCallback(**run, overwrite=True)
    fit(Plain(optimizer), again, 4, ckpt_path=tmp_path / "bare.ckpt", epochs=2)
    after = Trajectory.open(tmp_path / "run")
    assert after.steps == tuple(range(9))
    for index, state in enumerate(kept):
        assert all(torch.equal(after.state(index)[name], t) for name, t in state.items())
    begun_late = RecorderCallback(tmp_path / "late", every=1)
    fit(Plain(optimizer), begun_late, 4, ckpt_path=tmp_path / "bare.ckpt", epochs=2)
    assert Trajectory.open(tmp_path / "late").steps == (4, 5, 6, 7, 8)


def test_a_count_that_nobody_knows_is_not_made_up(tmp_path):
    fit(Adversaries(), [], 4).save_checkpoint(tmp_path / "bare.ckpt")
    options = {"generator": "net.generator", "every": 1, "overwrite": True}
    fit(Adversaries(), RecorderCallback(tmp_path / "run", **options), 4)
    callback = RecorderCallback(tmp_path / "run", **options)
    with pytest.raises(InputError, match="of 2 optimisers"):
        fit(Adversaries(), callback, 4, ckpt_path=tmp_path / "bare.ckpt", epochs=2)
    assert Trajectory.open(tmp_path / "run").steps == (0, 1, 2)


def test_each_training_of_one_callback_is_counted_by_itself(tmp_path):
    callback = RecorderCallback(tmp_path / "run", every=1, overwrite=True)
    trainer = fit(Plain(), callback, 3)
    trainer.save_checkpoint(tmp_path / "early.ckpt")
    fit(Plain(), callback, 2)
    assert Trajectory.open(tmp_path / "run").steps == (0, 1, 2)
    fit(Plain(), callback, 3, ckpt_path=tmp_path / "early.ckpt", epochs=2)
    assert callback.generator_steps == 6
    fit(Plain(), callback, 2)
    assert Trajectory.open(tmp_path / "run").steps == (0, 1, 2)


def test_more_epochs_of_the_same_trainer_go_on(tmp_path):
    module = Plain()
    trainer = fit(module, RecorderCallback(tmp_path / "run", every=1), 3)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, DataLoader(torch.ones(12, 2), batch_size=4))
    assert Trajectory.open(tmp_path / "run").steps == (0, 1, 2, 3, 4, 5, 6)


def test_generators_side_by_side_resume_each_where_it_was(tmp_path):
    def callbacks():
        return [
            RecorderCallback(tmp_path / name, generator=name, every=1)
            for name in ("net.generator", "critic")
        ]

    first = callbacks()
    fit(Adversaries(), first, 4).save_checkpoint(tmp_path / "early.ckpt")
    assert [callback.generator_steps for callback in first] == [2, 12]
    fit(Adversaries(), callbacks(), 4, ckpt_path=tmp_path / "early.ckpt", epochs=2)
    assert Trajectory.open(tmp_path / "net.generator").steps == tuple(range(5))
    assert Trajectory.open(tmp_path / "critic").steps[-1] == 24


def test_a_generator_that_is_not_there_or_not_trained_is_refused(tmp_path):
    with pytest.raises(GeneratorError, match="nowhere"):
        fit(Plain(), RecorderCallback(tmp_path / "run", generator="nowhere"), 2)
    with pytest.raises(InputError, match="frozen"):
        fit(Adversaries(), RecorderCallback(tmp_path / "run", generator="frozen"), 2)
    assert not (tmp_path / "run").exists()


def test_bad_options_are_refused_before_the_training(tmp_path):
    with pytest.raises(InputError, match="every"):
        RecorderCallback(tmp_path / "run", every=2, schedule=Every(2))
    with pytest.raises(InputError, match=r"^average: "):
        RecorderCallback(tmp_path / "run", average=2.0)
    for unknown in ({"evry": 2}, {"resume": True}):
        with pytest.raises(TypeError, match=f"^RecorderCallback: .*{next(iter(unknown))}"):
            RecorderCallback(tmp_path / "run", **unknown)
    for generator in (3, None, "", "net."):
        with pytest.raises(InputError, match=r"^generator: "):
            RecorderCallback(tmp_path / "run", generator=generator)
    assert not (tmp_path / "run").exists()

"""Record a Lightning training: one callback."""

from __future__ import annotations

import os
from typing import Any, Unpack

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from surfing.errors import InputError, require
from surfing.integrations.training import (
    check_name,
    find_generator,
    open_recorder,
    pick_recording,
)
from surfing.trajectory.recorder import Recorder
from surfing.trajectory.recording import RecordingOptions

require("lightning.pytorch", "train")  # says what to install, where it is missing

from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402

__all__ = ["RecorderCallback"]

_RESUMES = "fit(..., ckpt_path=...)"


class RecorderCallback(Callback):  # type: ignore[misc]
    """Record the generator of a LightningModule while it trains.

    Steps are counted where they happen: at the optimiser that holds the generator's parameters.
    Lightning's own ``global_step`` counts the critic's optimiser as well, and knows nothing of
    gradients that are accumulated or of steps that a loss scaler skips.

    Rank zero records; the others only count. When Lightning resumes from one of its checkpoints
    (``fit(..., ckpt_path=...)``), the trajectory is cut back to that step with it: checkpoints that
    were recorded beyond are dropped, because those steps will be passed again. Where Lightning's
    checkpoint was written at a step that is recorded, the running average resumes exactly. A second
    ``fit`` of the same Trainer, for more epochs, continues as well; any other training begins at 0.

    A checkpoint that was saved without the callback does not say how many of its steps were the
    generator's. Adam and its kin know; so does Lightning where there is one optimiser.

    The trajectory ends at the module that is left when `fit` returns: beside EMAWeightAveraging its
    last checkpoint is the average, and those before are the weights that the optimiser stepped.

    One callback for each generator; several generators of a module are recorded side by side.

    Args:
        path: the trajectory's directory.
        generator: the attribute of the LightningModule that holds the generator; dots allowed.
        overwrite: delete the trajectory that `path` holds, where a training begins.
        recording: what is kept, as of :class:`surfing.trajectory.recorder.Recorder`: `latent`,
            `every`, `schedule`, `max_checkpoints`, `dtype`, `average`, `architecture`, `metadata`,
            `probes`, `seed`.

    Raises:
        InputError: a bad argument.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        generator: str = "generator",
        overwrite: bool = False,
        **recording: Unpack[RecordingOptions],
    ) -> None:
        check_name(generator)
        self.recorder: Recorder | None = None
        self.generator_steps: int = 0
        self.recorded: bool = False
        self._path, self._name, self._overwrite = path, generator, overwrite
        self._recording = pick_recording(recording, resumes=_RESUMES)
        self._loaded: int | None = None
        self._ended_at = 0  # by Lightning's own count
        self._hook: RemovableHandle | None = None

    @property
    def state_key(self) -> str:
        """Which of a checkpoint's counts is this callback's: that of its generator."""
        return str(self._generate_state_key(generator=self._name))

    def state_dict(self) -> dict[str, Any]:
        """What Lightning's checkpoint keeps: the count."""
        return {"generator_steps": self.generator_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read what :meth:`state_dict` wrote."""
        self._loaded = int(state_dict["generator_steps"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget what another training's checkpoint said; this one's is loaded after this."""
        self._loaded = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here, and record the weights at hand."""
        generator = find_generator(pl_module, self._name)
        optimizer = _optimizer_of(generator, trainer.optimizers, self._name)
        step = self._goes_on_at(trainer, generator, optimizer)
        self.generator_steps = step or 0
        self._hook = optimizer.register_step_post_hook(self._count)
        if trainer.is_global_zero:
            self.recorder = open_recorder(
                self._path,
                generator,
                self._recording,
                step=step,
                overwrite=self._overwrite,
                resumes=_RESUMES,
            )

    def on_train_batch_end(self, trainer: Trainer, *unused: object) -> None:
        """Let the recorder see the state, if the generator has taken a step."""
        self.recorded = self.recorder is not None and self.recorder.at(self.generator_steps)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the last state, once every callback has ended the training.

        EMAWeightAveraging and its kin put their average into the module when training ends: the
        trajectory ends at the module that is left, whatever the order of the callbacks.
        """
        self._close(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Record the last state, so that what was trained is not lost."""
        self._close(trainer)

    def _count(self, *unused: object) -> None:
        self.generator_steps += 1

    def _goes_on_at(
        self, trainer: Trainer, generator: nn.Module, optimizer: Optimizer
    ) -> int | None:
        """The generator's steps before this training; None where it begins."""
        if trainer.ckpt_path is None and not trainer.global_step:
            return None
        if trainer.ckpt_path is None and trainer.global_step == self._ended_at:
            return self.generator_steps  # the Trainer that this callback was in goes on
        if trainer.ckpt_path is not None and self._loaded is not None:
            return self._loaded
        return _steps_of(generator, optimizer, trainer)

    def _close(self, trainer: Trainer) -> None:
        self._ended_at = trainer.global_step
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None


def _optimizer_of(generator: nn.Module, optimizers: list[Optimizer], name: str) -> Optimizer:
    wanted = {id(parameter) for parameter in generator.parameters()}
    for optimizer in optimizers:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if wanted & held:
            return optimizer
    raise InputError(
        f"generator: none of the {len(optimizers)} optimisers holds a parameter of {name!r}, so "
        "its steps can't be counted. Name the module that is trained."
    )


def _steps_of(generator: nn.Module, optimizer: Optimizer, trainer: Trainer) -> int:
    """How many steps the generator has taken, where no callback counted them."""
    states = (optimizer.state.get(parameter, {}) for parameter in generator.parameters())
    counts = [int(state["step"]) for state in states if "step" in state]
    if counts:
        return max(counts)
    if len(trainer.optimizers) == 1 or not trainer.global_step:
        return int(trainer.global_step)
    raise InputError(
        f"ckpt_path: {trainer.ckpt_path} was saved without this callback, and of "
        f"{len(trainer.optimizers)} optimisers it doesn't say how many of {trainer.global_step} "
        "steps were the generator's. Resume from one that was saved with it, or load the weights "
        "into the module and train without ckpt_path."
    )

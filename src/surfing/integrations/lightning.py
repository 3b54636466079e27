"""Record a Lightning training: one callback."""

from __future__ import annotations

import os
from typing import Any, Unpack

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from surfing.errors import GeneratorError, InputError, require
from surfing.trajectory.recorder import Recorder
from surfing.trajectory.recording import Recording, RecordingOptions

require("lightning.pytorch", "train")  # says what to install, where it is missing

from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402

__all__ = ["RecorderCallback"]


class RecorderCallback(Callback):  # type: ignore[misc]
    """Record the generator of a LightningModule while it trains.

    Steps are counted where they happen: at the optimiser that holds the generator's parameters.
    Lightning's own ``global_step`` counts the critic's optimiser as well, and knows nothing of
    gradients that are accumulated or of steps that a loss scaler skips.

    Rank zero records; the others only count. When Lightning resumes from one of its checkpoints
    (``fit(..., ckpt_path=...)``), the trajectory goes back to that step with it: checkpoints that
    were recorded beyond are dropped, because those steps will be passed again. Where Lightning's
    checkpoint was written at a step that is recorded, the running average resumes exactly.

    Args:
        path: the trajectory's directory.
        generator: the attribute of the LightningModule that holds the generator; dots allowed.
        overwrite: delete the trajectory that `path` holds, unless Lightning resumes.
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
        self.recorder: Recorder | None = None
        self.generator_steps = 0
        self.recorded = False
        self._path, self._name, self._overwrite = path, generator, overwrite
        self._recording = Recording(**recording)
        self._resumed = False
        self._hook: RemovableHandle | None = None

    def state_dict(self) -> dict[str, Any]:
        """What Lightning's checkpoint keeps: the count."""
        return {"generator_steps": self.generator_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read what :meth:`state_dict` wrote."""
        self.generator_steps = int(state_dict["generator_steps"])
        self._resumed = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here, and record the weights at hand."""
        generator = _find(pl_module, self._name)
        optimizer = _optimizer_of(generator, trainer.optimizers, self._name)
        self._hook = optimizer.register_step_post_hook(self._count)
        if trainer.is_global_zero:
            self.recorder = self._open(generator)

    def on_train_batch_end(self, trainer: Trainer, *unused: object) -> None:
        """Let the recorder see the state, if the generator has taken a step."""
        self.recorded = self.recorder is not None and self.recorder.at(self.generator_steps)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the last state."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Record the last state, so that what was trained is not lost."""
        self._close()

    def _count(self, *unused: object) -> None:
        self.generator_steps += 1

    def _open(self, generator: nn.Module) -> Recorder:
        return Recorder(
            self._path,
            generator,
            **self._recording.options(),
            resume_from=self.generator_steps if self._resumed else None,
            overwrite=self._overwrite and not self._resumed,
        )

    def _close(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None


def _find(module: nn.Module, name: str) -> nn.Module:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, nn.Module):
        raise GeneratorError(
            f"generator: expected {type(module).__name__}.{name} to be a module, got "
            f"{type(found).__name__}. Give the name of the attribute that holds the generator."
        )
    return found


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

"""Record a training by Transformers' Trainer: one callback."""

from __future__ import annotations

import os
from typing import Any, Unpack

from surfing.errors import require
from surfing.integrations.training import (
    check_name,
    find_generator,
    open_recorder,
    pick_recording,
)
from surfing.trajectory.recorder import Recorder
from surfing.trajectory.recording import RecordingOptions

require("transformers.trainer_callback", "transformers")  # says what to install, if missing

from transformers.trainer_callback import (  # noqa: E402
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.training_args import TrainingArguments  # noqa: E402

__all__ = ["RecorderCallback"]

_RESUMES = "train(resume_from_checkpoint=...)"


class RecorderCallback(TrainerCallback):  # type: ignore[misc]
    """Record the generator of a Trainer's model while it trains.

    Steps are the Trainer's ``global_step``: one for each step of its optimiser, however many
    batches are accumulated for it.

    Rank zero records. When the Trainer resumes from one of its checkpoints
    (``train(resume_from_checkpoint=...)``), the trajectory is cut back to that step with it:
    checkpoints that were recorded beyond are dropped, because those steps will be passed again.

    The Trainer tells its callbacks nothing of an exception. Every checkpoint that was recorded
    before is complete on disk; the last state of a failed training is kept by :meth:`close`.

    Args:
        path: the trajectory's directory.
        generator: the attribute of the model that holds the generator, dots allowed; None where
            the whole model is the generator.
        overwrite: delete the trajectory that `path` holds, unless the Trainer resumes.
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
        generator: str | None = "generator",
        overwrite: bool = False,
        **recording: Unpack[RecordingOptions],
    ) -> None:
        if generator is not None:
            check_name(generator)
        self.recorder: Recorder | None = None
        self._path, self._name, self._overwrite = path, generator, overwrite
        self._recording = pick_recording(recording, resumes=_RESUMES)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Record the weights at hand."""
        self.close()  # of a training that failed
        if state.is_world_process_zero:
            self.recorder = open_recorder(
                self._path,
                find_generator(kwargs["model"], self._name),
                self._recording,
                step=state.global_step or None,  # beyond 0 only where the Trainer resumes
                overwrite=self._overwrite,
                resumes=_RESUMES,
            )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Let the recorder see the state."""
        if self.recorder is not None:
            self.recorder.at(state.global_step)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Record the last state."""
        self.close()

    def close(self) -> None:
        """Record the last state and let go of the directory; for trainings that failed."""
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None

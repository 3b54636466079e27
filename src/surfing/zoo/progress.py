"""The callbacks of a training: how far it is, and the state that it can go on from."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from surfing import files
from surfing.integrations.lightning import RecorderCallback

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Progress", "SaveState"]


class SaveState(Callback):  # type: ignore[misc]
    """Save the training's state at steps that were recorded, not more often than told.

    At a recorded step the recorder's running average is on disk too, so both resume exactly.

    Args:
        path: of the one file, replaced atomically.
        recorder: which must stand before this one among the trainer's callbacks.
        seconds: at least so long between two saves.
    """

    def __init__(self, path: Path, recorder: RecorderCallback, *, seconds: float) -> None:
        self._path, self._recorder, self._seconds = path, recorder, seconds
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *unused: object) -> None:
        """Every rank calls it: Lightning's strategies gather before they save."""
        due = self._recorder.recorded and time.monotonic() - self._last >= self._seconds
        if trainer.strategy.broadcast(due):
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        # One name on all ranks: `files.replacing` has one by process.
        temporary = self._path.with_suffix(".part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            files.publish(temporary, self._path)
        self._last = time.monotonic()


class Progress(Callback):  # type: ignore[misc]
    """A bar on a terminal; a line now and then where there is none.

    Args:
        steps: generator steps in all.
        seconds: between two lines.
    """

    def __init__(self, steps: int, *, seconds: float = 30.0) -> None:
        self._steps, self._seconds = steps, seconds
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._first, self._start, self._last = 0, 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the step that training begins at."""
        self._first, self._start = pl_module.step, time.monotonic()
        self._last = self._start
        if not trainer.is_global_zero or not sys.stderr.isatty():
            return
        self._bar = _terminal_bar()
        self._task = self._bar.add_task("", total=self._steps, completed=self._first, said="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *unused: object
    ) -> None:
        """Say how far it is; the losses are only looked at when something is shown."""
        now = time.monotonic()
        if not trainer.is_global_zero or now - self._last < (1.0 if self._bar else self._seconds):
            return
        self._last = now
        said = ", ".join(f"{name} {float(x):.3g}" for name, x in pl_module.report.items())
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=pl_module.step, said=said)
            return
        left = (now - self._start) / (pl_module.step - self._first) * (self._steps - pl_module.step)
        line = f"step {pl_module.step} of {self._steps}, {said}, about {left / 60:.1f} min left"
        print(line, file=sys.stderr, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a full bar behind."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=pl_module.step)
        self._stop()

    def on_exception(self, *unused: Any) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _terminal_bar() -> Bar:
    """Rich is only needed where there is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))

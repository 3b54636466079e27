"""train: a recipe in, a recorded trajectory out. It can be killed at any moment and continues."""

from __future__ import annotations

import json
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from surfing import files
from surfing.errors import InputError, OutputExistsError, require
from surfing.trajectory.schedules import QuadraticSpaced, Schedule
from surfing.trajectory.trajectory import Trajectory
from surfing.zoo.data import load_images
from surfing.zoo.recipes import Recipe
from surfing.zoo.samples import write_sample_sheet

if TYPE_CHECKING:
    from surfing.zoo.modules import GeneratorTraining

__all__ = ["train"]

RESUME_NAME = "training.ckpt"
RECIPE_NAME = "recipe.json"
SHEET_NAME = "samples.png"


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    checkpoints: int = 100,
    schedule: Schedule | None = None,
    average: float | None = 0.999,
    dtype: str = "float32",
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    progress: bool = True,
    overwrite: bool = False,
    save_seconds: float = 30.0,
    command: str | None = None,
) -> Trajectory:
    """Train a generator and record its trajectory.

    Run again with the same recipe and `out`, an interrupted training continues from its last saved
    state, and ends with the same weights as an uninterrupted one (on a CPU to the bit, for a given
    number of threads). A finished one is opened and returned.

    Args:
        recipe: what to train; see :func:`surfing.zoo.recipes.recipe_for`.
        out: the trajectory's directory. Beside it in there: ``recipe.json``, ``samples.png``, and
            until the end ``training.ckpt``, from which an interrupted training goes on.
        checkpoints: at most so many are kept, from the random weights to the last.
        schedule: which steps to record; None spaces them quadratically.
        average: decay per step of the recorded running average; None records none.
        dtype: of the recorded weights.
        data_root: see :func:`surfing.zoo.data.load_images`.
        device: "auto", "cpu", "cuda", "mps": what Lightning calls the accelerator.
        devices: how many of them; each draws batches of its own.
        progress: show a progress bar (lines, where there is no terminal) on stderr.
        overwrite: start again, deleting what `out` holds.
        save_seconds: time between two saved states of the training, at least.
        command: the command line to keep in the manifest.

    Returns:
        The recorded trajectory.

    Raises:
        InputError, UnknownNameError: a bad argument. Nothing was written.
        OutputExistsError: `out` holds something else, or another recipe's training.
        DataError: no images.
        MissingExtraError: lightning is not installed.
    """
    require("lightning.pytorch", "train")
    if not isinstance(recipe, Recipe):
        raise InputError(f"recipe: expected a Recipe, got {type(recipe).__name__}; see recipe_for.")
    out = Path(out)
    if not overwrite and _is_finished(recipe, out):
        return Trajectory.open(out)
    images = load_images(
        recipe.data, image_size=recipe.image_size, root=data_root, channels=recipe.channels
    )
    with _quiet():
        from surfing.integrations.lightning import RecorderCallback
        from surfing.zoo.modules import build
        from surfing.zoo.progress import Progress, SaveState

        module = build(recipe, images)
        recorder = RecorderCallback(
            out,
            latent=recipe.latent,
            schedule=schedule or QuadraticSpaced(max(2, checkpoints - 1), max(2, recipe.steps)),
            max_checkpoints=checkpoints,
            dtype=dtype,
            average=average,
            architecture=recipe.architecture(images.shape[-1]),
            metadata=_metadata(recipe, command),
            seed=recipe.seed,
            overwrite=True,
        )
        resume = _prepare(recipe, out, overwrite=overwrite)
        save = SaveState(out / RESUME_NAME, recorder, seconds=save_seconds)
        callbacks = [recorder, save, *([Progress(recipe.steps)] if progress else [])]
        _fit(module, callbacks, resume=resume, device=device, devices=devices)
    trajectory = Trajectory.open(out)
    write_sample_sheet(trajectory, out / SHEET_NAME)
    (out / RESUME_NAME).unlink(missing_ok=True)
    return trajectory


def _fit(
    module: GeneratorTraining,
    callbacks: list[Any],
    *,
    resume: Path | None,
    device: str,
    devices: int,
) -> None:
    from lightning.pytorch import Trainer

    from surfing.zoo.modules import Forever

    trainer = Trainer(
        accelerator=device,
        devices=devices,
        strategy="auto" if devices == 1 else "ddp_find_unused_parameters_true",
        max_epochs=1,
        max_steps=module.recipe.steps * module.steps_per_turn,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with _interruptible():
        try:
            trainer.fit(module, Forever(), ckpt_path=resume, weights_only=True)
        except SystemExit:  # how Lightning ends an interrupted training
            if not trainer.interrupted:
                raise
        if trainer.interrupted:
            raise KeyboardInterrupt


def _is_finished(recipe: Recipe, out: Path) -> bool:
    """Was this very recipe trained here to its end?"""
    if not (out / RECIPE_NAME).is_file() or (out / RESUME_NAME).exists():
        return False
    if _read_recipe(out) != recipe.to_dict():
        return False
    return (out / SHEET_NAME).is_file() and Trajectory.open(out).steps[-1] == recipe.steps


def _prepare(recipe: Recipe, out: Path, *, overwrite: bool) -> Path | None:
    """Make the directory this recipe's own; the saved state to resume from, if there is one."""
    if overwrite:
        for name in (RESUME_NAME, SHEET_NAME, RECIPE_NAME):
            (out / name).unlink(missing_ok=True)
    known = out / RECIPE_NAME
    if known.is_file():
        if _read_recipe(out) != recipe.to_dict():
            raise OutputExistsError(
                f"{out}: holds the training of another recipe (see {RECIPE_NAME}). Choose another "
                "directory, or overwrite it."
            )
    elif out.exists() and any(out.iterdir()) and not overwrite:
        raise OutputExistsError(
            f"{out}: exists and holds no training. Choose another directory, or overwrite it."
        )
    out.mkdir(parents=True, exist_ok=True)
    files.write(known, json.dumps(recipe.to_dict(), indent=1) + "\n")
    return out / RESUME_NAME if (out / RESUME_NAME).is_file() else None


def _read_recipe(out: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((out / RECIPE_NAME).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _metadata(recipe: Recipe, command: str | None) -> dict[str, Any]:
    about = {"python": platform.python_version(), "threads": torch.get_num_threads()}
    for name in ("lightning", "torchvision"):
        try:
            about[name] = version(name)
        except PackageNotFoundError:
            about[name] = "not installed"
    said = {} if command is None else {"command": command}
    return {"recipe": recipe.to_dict(), "trained_with": about, **said}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning ignores Ctrl-C for good once it has seen one; our caller did not ask for that."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice is about its loaders and loggers, which we don't use; ours is printed."""
    import logging

    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
        sys.stderr.flush()

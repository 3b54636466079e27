"""``surfing measure``: signals in, measurements out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from surfing import files
from surfing.cli.common import Common, Report, Screen, as_typed
from surfing.cli.inputs import pick_device, read_rows
from surfing.cli.measuring import SHARED, Measuring
from surfing.errors import InputError, MeasurementError, OutputExistsError
from surfing.evaluation.samples import noisy, own_z
from surfing.problem import ForwardModel

__all__ = ["measure"]


def measure(
    run: str,
    /,
    *,
    out: Path,
    signals: Path | None = None,
    targets: int | None = None,
    truth: Path | None = None,
    overwrite: bool = False,
    measuring: Measuring | None = None,
    common: Common | None = None,
) -> Report:
    """Measure signals by an operator, for surfing recover.

    Without --signals, signals that the trained generator makes of latents of its law are measured.

    Args:
        run: a trajectory's folder, or packaged.
        out: .npy file for the measurements.
        signals: .npy, .npz or .safetensors: (targets, ...) in the generator's shape and range.
        targets: how many to draw, 10 where left out, or to take of the signals, all.
        truth: .npy file for the latents that were drawn.
        overwrite: replace OUT and TRUTH if they exist.
    """
    common, measuring = common or Common(), measuring or Measuring()
    screen = Screen(common)
    for option, path in (("--out", out), ("--truth", truth)):
        _check_output(option, path, overwrite=overwrite)
    if truth is not None and signals is not None:
        raise InputError("--truth: expected without --signals, whose latents nobody knows.")
    model = measuring.model(run, pick_device(common.device))
    told = measuring.arguments()
    if told["prior"] is not None:
        raise InputError("--prior: nothing is recovered here; give it to surfing recover.")
    with as_typed(*SHARED):
        if signals is None:
            z = own_z(model, 10 if targets is None else targets, seed=common.seed)
            x = model.signals(z, given=told["given"])
            if truth is not None:
                _save(truth, z)
        else:
            x = read_rows("--signals", signals, targets).to(model.device)
        y = noisy(_measured(model, x, told["given"]), told["noise"], seed=common.seed)
    _save(out, y)
    named = model.operator.name
    screen.say(f"{len(y)} signals measured by {named}: {tuple(y.shape)}, written to {out}.")
    return {"run": run, "out": out, "operator": named, "shape": list(y.shape)}


def _measured(model: ForwardModel, x: Tensor, given: dict[str, np.ndarray] | None) -> Tensor:
    try:
        return model.measure(x, given=given)
    except MeasurementError as error:
        said = str(error).removeprefix("x: ")
        raise MeasurementError(f"--signals: {said}", argument="--signals") from error


def _check_output(option: str, path: Path | None, *, overwrite: bool) -> None:
    if path is None:
        return
    if path.suffix != ".npy" or path.is_dir():
        raise InputError(f"{option}: expected a .npy file, got {path}.", argument=option)
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{option}: {path} exists; name another, or give --overwrite.")


def _save(path: Path, values: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        np.save(temporary, values.detach().cpu().numpy())

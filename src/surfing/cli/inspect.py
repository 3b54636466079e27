"""``surfing inspect``: what a trajectory holds, how far it drifts, whether it is whole."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

import torch

from surfing.cli.common import Common, Report, Screen
from surfing.cli.inputs import PACKAGED, open_run
from surfing.errors import InputError
from surfing.report import Column, Table
from surfing.report.tables import count, number, size
from surfing.trajectory import Trajectory, Verification
from surfing.trajectory import repair as repair_directory
from surfing.trajectory.store import read_manifest

__all__ = ["inspect", "summary_line"]

_SHOWN = 20
_LEAP = 5.0


def inspect(
    run: str,
    /,
    *,
    verify: bool = False,
    repair: bool = False,
    all_rows: bool = False,
    common: Common | None = None,
) -> Report:
    """Show what a trajectory holds, its drift and its health.

    Drift is the RMS change of the generator's signals from one checkpoint to the next, as it was
    recorded. With --verify every file is read and its hash checked; with --repair the checkpoints
    that are damaged are deleted.

    Args:
        run: a trajectory's folder, or packaged.
        verify: read everything.
        repair: drop the checkpoints that are damaged, and keep the rest.
        all_rows: a line for every checkpoint, however many there are.
    """
    common = common or Common()
    screen = Screen(common)
    dropped = _repair(run) if repair else ()
    trajectory = open_run(run, torch.device("cpu"))
    found: Verification | None = None
    if verify:
        with screen.progress("reading every file"):
            found = trajectory.verify()
    rows = _rows(trajectory)
    remarks = _remarks(trajectory)
    columns = [
        Column("stage", "stage", count),
        Column("step", "step", count),
        Column("drift", "drift", number),
        Column("bytes", "size", size),
    ]
    if all(row["drift"] is None for row in rows):
        del columns[2]
    shown = rows if all_rows else _thinned(rows)
    left_out = len(rows) - len(shown)
    notes = (f"{left_out} more between them: --all-rows",) if left_out else ()
    if repair:
        screen.say(_said(dropped))
    screen.say(summary_line(trajectory), Table("", columns, tuple(shown), notes).rich())
    if found is not None:
        screen.say(f"Verified: {found}.")
    screen.say(*remarks)
    return {
        "run": run,
        "latent": None if trajectory.latent is None else trajectory.latent.to_dict(),
        "architecture": trajectory.architecture,
        "metadata": trajectory.metadata,
        "bytes": sum(int(row["bytes"] or 0) for row in rows),
        "checkpoints": rows,
        "verified": None if found is None else asdict(found),
        "dropped": list(dropped),
        "remarks": remarks,
    }


def _repair(run: str) -> tuple[int, ...]:
    if run == PACKAGED:
        raise InputError("--repair: expected a folder; the packaged trajectory is only read.")
    return repair_directory(run)


def _said(dropped: tuple[int, ...]) -> str:
    if not dropped:
        return "Every checkpoint is whole; nothing was dropped."
    steps = ", ".join(map(str, dropped))
    return f"Dropped {len(dropped)} damaged checkpoint{'s'[: len(dropped) > 1]}: steps {steps}."


def summary_line(trajectory: Trajectory) -> str:
    """One sentence: where, how many, from when to when, which law."""
    steps = trajectory.steps
    latent = trajectory.latent
    law = "unknown" if latent is None else str(latent)
    return (
        f"{trajectory.path or 'In memory'}: {len(steps)} checkpoints, steps {count(steps[0])} to "
        f"{count(steps[-1])}, latent law {law}, {size(_total(trajectory))}."
    )


def _total(trajectory: Trajectory) -> int | None:
    sizes = _sizes(trajectory)
    return None if sizes is None else sum(sizes.values())


def _sizes(trajectory: Trajectory) -> dict[int, int] | None:
    """Bytes by step, averages included."""
    if trajectory.path is None:
        return None
    entries = read_manifest(trajectory.path).entries
    return {entry.step: sum(file.bytes for file in entry.files) for entry in entries}


def _rows(trajectory: Trajectory) -> list[dict[str, float | None]]:
    sizes = _sizes(trajectory) or {}
    drift = (None, *trajectory.recorded_drift)
    return [
        {"stage": stage, "step": step, "drift": moved, "bytes": sizes.get(step)}
        for stage, (step, moved) in enumerate(zip(trajectory.steps, drift))
    ]


def _thinned(rows: list[dict[str, float | None]]) -> list[dict[str, float | None]]:
    if len(rows) <= _SHOWN:
        return rows
    last = len(rows) - 1
    return [rows[round(i * last / (_SHOWN - 1))] for i in range(_SHOWN)]


def _unknown_drifts(trajectory: Trajectory) -> list[int]:
    """The steps whose drift from the checkpoint before is not recorded."""
    moved = zip(trajectory.steps[1:], trajectory.recorded_drift)
    return [step for step, drift in moved if drift is None]


def _remarks(trajectory: Trajectory) -> list[str]:
    """What a reader should know before surfing on it."""
    said = []
    if len(trajectory) < 3:
        said.append("Few checkpoints: surfing has little to ride on. Record more often.")
    if trajectory.latent is None:
        said.append("No latent law is kept: give --latent wherever it is used.")
    if trajectory.architecture is None:
        said.append("No architecture is named: give --generator wherever it is used.")
    drift = [d for d in trajectory.recorded_drift if d is not None]
    if not drift and len(trajectory) > 1:
        said.append(
            "No drift is known: a surfing.Recorder records it, where it knows the latent law; "
            "imported checkpoints have none."
        )
    elif unknown := _unknown_drifts(trajectory):
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        said.append(
            f"No drift is known to steps {', '.join(map(count, unknown[:5]))}{more}: the "
            "checkpoints before them were dropped, or could not be compared with them."
        )
    if drift and median(drift) > 0 and max(drift) > _LEAP * median(drift):
        stage = 1 + [d or 0.0 for d in trajectory.recorded_drift].index(max(drift))
        said.append(
            f"The drift to step {trajectory.steps[stage]} is {max(drift) / median(drift):.0f} "
            "times the median: a recording with schedule=ByDrift(...) has no such gap."
        )
    return said or ["Nothing wrong with it."]

"""``python -m paper.ground``: models trained and measured side by side, within a time."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import sys
import time
import traceback
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from paper.ground.model import MODELS, Sizes, recipe_named
from surfing import files
from surfing.errors import InputError

AGES = ("dcgan-k10-x3", "dcgan-k10-w32", "dcgan-k10-w16", "dcgan-k10-w8", "dcgan-k10-w8-x3")
"""Other lengths of training, other widths: between the first release's networks and the paper's."""

_ADAM = ".adam-ended"
"""Marks a model of which only the package's own loops are left to measure."""


def main(argv: list[str] | None = None) -> int:
    """Parse, start the processes, gather."""
    parser = argparse.ArgumentParser(prog="python -m paper.ground", description=__doc__)
    parser.add_argument("--models", nargs="+", default=[*MODELS, *AGES])
    parser.add_argument("--tasks", nargs="+", help="of each model; all where left out")
    parser.add_argument("--out", type=Path, default=Path("ground"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="models trained side by side")
    parser.add_argument(
        "--slots",
        type=int,
        nargs=2,
        default=(3, 4),
        metavar=("HEAVY", "LIGHT"),
        help="runs side by side: of many rows of Adam, of the package's own loops",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        help="seconds that a model waits for the others' trainings to end",
    )
    parser.add_argument("--minutes", type=float, default=None, help="that everything may take")
    parser.add_argument("--data", type=Path, help="root of the images, torchvision's layout")
    parser.add_argument("--trajectories", type=Path, help="trained already: open them from here")
    parser.add_argument("--keep", type=Path, help="write what is trained here, for --trajectories")
    parser.add_argument(
        "--tuned", type=Path, help="zip of an earlier run, or a record of such: take its step sizes"
    )
    parser.add_argument("--targets", type=int, help="at most so many of each task")
    parser.add_argument("--measurements", type=int, nargs="+", help="of figure 3, and of restarts")
    parser.add_argument("--restarts", type=int, nargs=2, metavar=("ADAM", "LM"),
                        help="of the direct methods")  # fmt: skip
    parser.add_argument("--ways", nargs="+", help="of the package, those that are measured")
    parser.add_argument("--together", type=int, help="models in memory at a time")
    parser.add_argument("--steps", type=int, help="of the trainings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="tiny networks and few targets")
    tokens = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(tokens)
    began = time.time()
    limit = float("inf") if options.minutes is None else began + 60 * options.minutes
    sizes = Sizes(8, 32, 40, 10, "digits") if options.quick else Sizes()
    if options.steps:
        sizes = replace(sizes, steps=options.steps)
    try:
        for name in options.models:
            recipe_named(name, sizes, seed=options.seed)
            if options.tuned is not None:
                _tuned(options.tuned, name)
    except (ValueError, KeyError, OSError) as error:
        parser.error(str(error))
    options.out.mkdir(parents=True, exist_ok=True)
    _run(options, sizes, limit)
    gather(options.out, facts={"command": shlex.join(tokens), "sizes": asdict(sizes),
                               "seconds": round(time.time() - began, 1)})  # fmt: skip
    return 0


def _run(options: argparse.Namespace, sizes: Sizes, limit: float) -> None:
    context = multiprocessing.get_context("spawn")
    training = context.Semaphore(options.jobs)
    measuring = tuple(context.Semaphore(number) for number in options.slots)
    running: list[Any] = []
    for number, name in enumerate(options.models):
        # The places are for those that come first: others start as trainings end.
        while time.time() < limit and (
            _ended(options) <= number - options.jobs
            or sum(job.is_alive() for job in running) >= (options.together or number + 1)
        ):
            time.sleep(0.5)
        job = context.Process(
            target=_model, args=(name, options, sizes, limit, training, measuring)
        )
        job.start()
        running.append(job)
    for job in running:
        # Tasks end by themselves at the limit; a call of the package can't be told to.
        job.join(None if limit == float("inf") else max(0.1, limit + 8 - time.time()))
        if job.is_alive():
            job.terminate()
            job.join(3)
            if job.is_alive():
                job.kill()


def _ended(options: argparse.Namespace, mark: str = "training.json") -> int:
    """Models that are so far, or failed."""
    folders = [options.out / "parts" / name for name in options.models]
    return sum(any((folder / n).is_file() for n in (mark, "failed.txt")) for folder in folders)


def _model(
    name: str,
    options: argparse.Namespace,
    sizes: Sizes,
    limit: float,
    training: Any,
    measuring: Any,
) -> None:
    """One model, from its random weights to its last task."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    folder = options.out / "parts" / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with training:
            model, seconds = _trained(name, options, sizes, limit)
        _keep(folder / "training.json", {"seconds": seconds, "recipe":
              recipe_named(name, sizes, seed=options.seed).to_dict()})  # fmt: skip
        # Training may round as it likes; what is measured must not.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        _wait(name, options, limit)
        _measure(model, options, limit, measuring, folder)
    except Exception:
        files.write(folder / "failed.txt", traceback.format_exc())


def _wait(name: str, options: argparse.Namespace, limit: float) -> None:
    """Trainings are many short steps: they crawl beside measurements."""
    began = time.time()
    others = min(options.jobs, len(options.models))
    while _ended(options) < others and time.time() - began < options.wait:
        time.sleep(0.5)
    if name in AGES and limit < float("inf"):  # the tables come first
        while time.time() < limit - 0.35 * 60 * options.minutes:
            time.sleep(1.0)


def _trained(
    name: str, options: argparse.Namespace, sizes: Sizes, limit: float
) -> tuple[Any, float]:
    import torch

    from paper.ground.model import Model
    from paper.ground.training import train_in_memory
    from paper.ground.weights import kept_on_host
    from surfing.trajectory import Trajectory

    device, began = torch.device(options.device), time.time()
    if options.trajectories is not None:
        stored = Trajectory.open(options.trajectories / name)
        moved = [kept_on_host(c.step, c.state, device) for c in stored]
        trajectory = Trajectory(moved, latent=stored.latent, architecture=stored.architecture,
                                metadata=stored.metadata)  # fmt: skip
    else:
        recipe = recipe_named(name, sizes, seed=options.seed)
        every = sizes.every * (recipe.steps // sizes.steps)
        trajectory = train_in_memory(recipe, every=every, device=device, data_root=options.data,
                                     deadline=limit)  # fmt: skip
        if options.keep is not None:
            trajectory.save(options.keep / name)
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    print(f"{name}: trained in {time.time() - began:.0f} s", file=sys.stderr, flush=True)
    return Model.of(name, trajectory), round(time.time() - began, 1)


def _measure(
    model: Any, options: argparse.Namespace, limit: float, measuring: Any, folder: Path
) -> None:
    import torch

    from paper.ground.adam import OutOfTimeError, Until
    from paper.ground.tasks import LATER, TASKS, Plan, Room, tasks_of
    from paper.ground.why import EXTRA

    wanted = tasks_of(model.name) if options.tasks is None else options.tasks
    plan = Plan(seed=options.seed)
    if options.quick:
        plan = replace(plan, rates=(0.05, 0.1), tuning=4, table=6, few=4, restarted=4, points=4,
                       images=3, measurements=(4, 8), image_measurements=(0, 20), restarts=(2, 2),
                       lm_restarts=(2, 3), stage_steps=2, block=16,
                       until=Until(cap=60, every=10, patience=20))  # fmt: skip
    plan = _reduced(plan, options)
    tasks_of(model.name)  # completes TASKS
    known = {} if options.tuned is None else {"tune": _tuned(options.tuned, model.name)}
    room = Room(plan, limit, options.data, known, *measuring)
    for task in wanted:
        if task.endswith(LATER):
            _after_adam(options, limit, folder)
        path = folder / f"{task}.json"
        if path.is_file():
            room.known[task] = _first(json.loads(path.read_text(encoding="utf-8")))
            continue
        if time.time() > limit:
            return
        began, records, whole, trouble = time.time(), [], True, None
        try:
            for record in (TASKS | EXTRA)[task](model, room):
                records.append(record)
                # Kept as it grows: a run that is cut short leaves what it had.
                _keep(path.with_suffix(".partial"), {"records": records})
        except OutOfTimeError:
            whole = False
        except Exception:
            whole, trouble = False, traceback.format_exc()
        document = {"model": model.name, "task": task, "plan": asdict(plan), "whole": whole,
                    "trouble": trouble, "seconds": round(time.time() - began, 1),
                    "records": records}  # fmt: skip
        final = path if whole else path.with_suffix(".partial")
        _keep(final, document)
        if final == path:
            path.with_suffix(".partial").unlink(missing_ok=True)
        room.known[task] = _first(document)
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"{model.name} {task}: {time.time() - began:.0f} s", file=sys.stderr, flush=True)
    _keep(folder / _ADAM, {})


def _after_adam(options: argparse.Namespace, limit: float, folder: Path) -> None:
    """Side by side, the package's loops wait for all models' Adam, which fills the device."""
    _keep(folder / _ADAM, {})
    while _ended(options, _ADAM) < min(options.jobs, len(options.models)) and time.time() < limit:
        time.sleep(0.5)


def _reduced(plan: Any, options: argparse.Namespace) -> Any:
    """Fewer targets, fewer restarts, where that was asked for."""
    if options.ways is not None:
        plan = replace(plan, ways=tuple(options.ways))
    if options.targets is not None:
        names = ("table", "few", "restarted", "points", "images")
        plan = replace(plan, **{n: min(getattr(plan, n), options.targets) for n in names})
    if options.measurements is not None:
        counts = tuple(options.measurements)
        plan = replace(plan, measurements=counts, restarted_from=counts)
    if options.restarts is not None:
        adam, lm = options.restarts
        plan = replace(plan, restarts=(adam, adam), lm_restarts=(lm, lm))
    return plan


def _tuned(archive: Path, name: str) -> dict[str, Any]:
    """Step sizes that an earlier run chose for this model, on a training of the same recipe.

    Where a record has none for a longer training, those of the usual length.
    """
    if archive.suffix == ".json":
        record = json.loads(archive.read_text(encoding="utf-8"))
        for wanted in (name, name.partition("-x")[0]):
            for tuning in record["tuning"]:
                if tuning["model"] == wanted:
                    return dict(tuning)
        raise InputError(f"tuned: {archive} has no step sizes for {name}.")
    with zipfile.ZipFile(archive) as opened:
        return _first(json.loads(opened.read(f"{name}/tune.json")))


def _first(document: dict[str, Any]) -> dict[str, Any]:
    records = document.get("records") or [{}]
    found: dict[str, Any] = records[0]
    return found


def _keep(path: Path, document: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    os.replace(temporary, path)


def gather(out: Path, *, facts: dict[str, Any]) -> Path:
    """Everything that was measured, in one zip of JSON documents, and the facts of the run."""
    from surfing.evaluation.record import provenance

    documents = sorted((out / "parts").glob("*/*"))
    target = out / "ground.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("facts.json", json.dumps({**provenance(0), **facts}, indent=1))
        for document in documents:
            if not document.name.startswith("."):
                archive.write(document, str(document.relative_to(out / "parts")))
    return target

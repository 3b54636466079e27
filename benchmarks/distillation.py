"""Rides along a path made for one checkpoint, along the training's own, and direct descent.

Models are trained ones, a folder each, whose training was recorded: `surfing train ... --out DIR`.
The last checkpoint of each alone is given to `surfing.distil`. All descents meet the same targets,
in range of the generator, and the same measurements, and begin at the same starts. Direct descent
gets as many starts as cost at least as much as the ride that it is compared with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor, nn

import surfing
from benchmarks import measure
from surfing.architectures import generator_from_manifest
from surfing.descent import LevenbergMarquardt, TorchOptim
from surfing.evaluation.methods import still
from surfing.evaluation.record import provenance
from surfing.evaluation.selftest import FOUND, own_samples
from surfing.problem import as_operator
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["adam_table", "main", "ride_table", "table"]

app = App(help=__doc__)

LM = LevenbergMarquardt()
ADAM = TorchOptim(partial(torch.optim.Adam, lr=0.05))
LOOSE = surfing.Stopping(ftol=1e-2)
MOST_STARTS = 8


@dataclass(frozen=True)
class Ride:
    """How a path is ridden, one start a target."""

    stages: int
    stage_steps: int
    max_steps: int = 40
    start: float = 0.0
    anneal: float = 0.0
    descent: Any = LM
    flat: bool = False
    """Every checkpoint of a path that does not move."""

    def __call__(self, bed: Bed, path: surfing.Trajectory, starts: int = 1) -> surfing.Solution:
        """Ride from so many starts."""
        drift: Any = surfing.EqualDrift(self.stages, start=self.start)
        return surfing.surf(
            path,
            bed.y,
            generator=bed.net,
            operator=bed.operator,
            descent=self.descent,
            schedule=surfing.EveryCheckpoint() if self.flat else drift,
            stage_steps=self.stage_steps,
            max_steps=self.max_steps,
            anneal=self.anneal,
            stopping=LOOSE,
            starts=starts,
            seed=bed.seed,
        )


RIDES: Mapping[str, Ride] = {
    "10 x 1, annealed": Ride(10, 1, anneal=4.0),
    "20 x 1, annealed": Ride(20, 1, anneal=4.0),
    "20 x 1, annealed from 0.5": Ride(20, 1, anneal=0.5),
    "10 x 2, annealed": Ride(10, 2, anneal=4.0),
    "20 x 1": Ride(20, 1),
}
"""Stages x LM steps at each; then 40 steps at the last. Chosen on other models."""
CHEAPEST = "10 x 1, annealed"
ADAM_RIDES: Mapping[str, Ride] = {"Adam, 20 x 20": Ride(20, 20, max_steps=1400, descent=ADAM)}


@dataclass(frozen=True)
class Bed:
    """One model, its targets, and what is measured of them."""

    net: nn.Module
    operator: str | None
    y: Tensor
    truth: Tensor
    seed: int

    def judge(self, solution: surfing.Solution) -> dict[str, Any]:
        """How many were found, and what it cost."""
        error = (solution.z - self.truth).norm(dim=1)
        found = int((error < FOUND).sum())
        return {"found": [found, len(error)], "cost": round(float(solution.cost.mean()), 1)}


@app.default
def main(
    *models: Path,
    out: Path = Path("docs/records/distillation.json"),
    paths: Path = Path("runs/distilled"),
    measured: tuple[str, ...] = ("2k", "4k", "all"),
    adam: bool = False,
    targets: int = 100,
    seed: int = 0,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        models: folders of recorded trainings; the packaged one where left out.
        out: the record; models that it holds already are kept.
        paths: where the paths are made.
        measured: 2k and 4k for so many Gaussian measurements, or all.
        adam: Adam's rides too; they take minutes.
        targets: of each model.
        seed: of targets, starts and paths.
        short: 4 targets, a path of two stages: shows that it runs.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    record = json.loads(out.read_text()) if out.is_file() else {"models": {}}
    for model in models or (Path("packaged"),):
        cells = _measure(model, paths, measured, adam, 4 if short else targets, seed, short)
        held = record["models"].setdefault(model.name, {"cells": {}})
        held.update({name: value for name, value in cells.items() if name != "cells"})
        for name, cell in cells["cells"].items():
            held["cells"].setdefault(name, {}).update(cell)
        record |= {"targets": targets, **provenance(seed, began=began)}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    tables = [table(record), ride_table(record), adam_table(record)]
    measure.show(out, *(t for t in tables if t.rows))
    return record


def _measure(
    model: Path,
    paths: Path,
    measured: tuple[str, ...],
    adam: bool,
    targets: int,
    seed: int,
    short: bool,
) -> dict[str, Any]:
    packaged = str(model) == "packaged"
    trained = surfing.zoo.packaged() if packaged else surfing.Trajectory.open(model)
    assert trained.architecture is not None
    net = generator_from_manifest(trained.architecture, trained[-1].state)
    net.load_state_dict(dict(trained[-1].state))
    began = time.perf_counter()
    made = surfing.distil(
        net,
        trained.latent,
        out=paths / f"{model.name}-{seed}{'-quick' * short}",
        architecture=trained.architecture,
        seed=seed,
        **({"curriculum": surfing.Linearisation(2), "steps": 2} if short else {}),
    )
    seconds = round(time.perf_counter() - began, 1)
    own = own_samples(trained, net, targets, seed=seed)
    cells = {}
    for amount in measured:
        name = None if amount == "all" else f"gaussian:{int(amount[:-1]) * trained.latent.dim}"
        operator = as_operator(name, tuple(own.x.shape[1:]), seed=0)
        bed = Bed(net, name, operator(own.x), own.z, seed)
        cells[amount] = _adam(bed, trained, made) if adam else _lm(bed, trained, made)
    told = made.metadata["distillation"]
    return {
        "k": trained.latent.dim,
        "recipe": trained.metadata.get("recipe"),
        "path": {"cost": told["cost"], "seconds": seconds, "settings": told["settings"]},
        "cells": cells,
    }


def _lm(bed: Bed, trained: surfing.Trajectory, made: surfing.Trajectory) -> dict[str, Any]:
    straight = surfing.Trajectory.from_state_dicts(
        [(step, trained[i].state) for step, i in ((0, 0), (1, len(trained) - 1))],
        latent=trained.latent,
        architecture=trained.architecture,
    )
    ways = {"training": trained, "distilled": made, "straight line": straight}
    ways["averages"] = trained.smoothed()
    lines = {
        f"{way}: {name}": bed.judge(ride(bed, path))
        for way, path in ways.items()
        for name, ride in RIDES.items()
        if way in ("training", "distilled") or name.startswith("10 x 1, annealed")
    }
    dearest = max(lines[f"distilled: {name}"]["cost"] for name in RIDES)
    plain = partial(_direct, bed, trained, LM, 40)
    lines |= _at_equal_cost("direct", plain, bed, dearest)
    for stages in (10, 20):
        flat = Ride(stages, 1, anneal=4.0, flat=True)
        annealed = partial(flat, bed, still(trained, stages))
        lines |= _at_equal_cost(f"direct, annealed {stages} x 1", annealed, bed, dearest)
    return lines


def _adam(bed: Bed, trained: surfing.Trajectory, made: surfing.Trajectory) -> dict[str, Any]:
    lines = {
        f"{way}: {name}": bed.judge(ride(bed, path))
        for way, path in (("training", trained), ("distilled", made))
        for name, ride in ADAM_RIDES.items()
    }
    dearest = max(line["cost"] for line in lines.values())
    # A step is a forward and a reverse pass. Where rows converge before, it takes less.
    for starts in (1, 2):
        steps = round(dearest / 3 / starts)
        lines[f"Adam, direct, starts {starts}"] = bed.judge(
            _direct(bed, trained, ADAM, steps, starts)
        )
    return lines


def _direct(
    bed: Bed, trained: surfing.Trajectory, descent: Any, steps: int, starts: int
) -> surfing.Solution:
    return surfing.direct(
        trained,
        bed.y,
        generator=bed.net,
        operator=bed.operator,
        descent=descent,
        max_steps=steps,
        stopping=LOOSE,
        starts=starts,
        seed=bed.seed,
    )


def _at_equal_cost(
    name: str, solve: Callable[[int], surfing.Solution], bed: Bed, cost: float
) -> dict[str, Any]:
    """With one start, two, ... until it costs as much as the dearest ride."""
    lines: dict[str, Any] = {}
    for starts in range(1, MOST_STARTS + 1):
        line = lines[f"{name}, starts {starts}"] = bed.judge(solve(starts=starts))
        if line["cost"] >= cost:
            break
    return lines


def table(record: dict[str, Any]) -> Table:
    """A line a model and an amount of measurements: the best ride of each path."""
    costs = {held["path"]["cost"] for held in record["models"].values()}
    note = (
        f"Found: ||z - z*|| < {FOUND}, of {record['targets']} targets in range, with its 95% "
        f"Wilson interval. Rides: LM, one start; the best of {'; '.join(RIDES)}, on each path. "
        "Direct and annealed: as few starts as cost at least as much as the ride along the "
        f"distilled path. A path took {', '.join(f'{c:,}' for c in sorted(costs))} "
        "forward-equivalents, once a generator."
    )
    return Table("The best ride", _columns(), _rows(record, tuple(RIDES)), (note,))


def ride_table(record: dict[str, Any]) -> Table:
    """The same for one ride, the cheapest, which leaves the rivals least."""
    note = (
        f"The ride {CHEAPEST}, along each path. Rivals cost at least as much as along the "
        "distilled one. Straight line: from the training's random weights to its last; "
        "averages: of the training's last checkpoints."
    )
    columns = _columns()
    for way in ("straight line", "averages"):
        columns += [Column(way, way, rate), Column(f"{way} cost", "cost", count)]
    return Table("One ride", columns, _rows(record, (CHEAPEST,)), (note,))


def _columns() -> list[Column]:
    columns = [Column("model", "model", right=False), Column("measured", "measured")]
    titles = {
        "distilled": "distilled path",
        "training": "training's path",
        "direct": "direct LM",
        "annealed": "annealed restarts",
    }
    for name, title in titles.items():
        columns += [Column(name, title, rate), Column(f"{name} cost", "cost", count)]
    return columns


def _rows(record: dict[str, Any], rides: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"model": f"{name} (k = {held['k']})", "measured": amount, **_line(cell, rides)}
        for name, held in record["models"].items()
        for amount, cell in held["cells"].items()
        if f"distilled: {CHEAPEST}" in cell
    )


def adam_table(record: dict[str, Any]) -> Table:
    """A line a model and an amount of measurements."""
    columns = [Column("model", "model", right=False), Column("measured", "measured")]
    named = {
        "distilled: Adam, 20 x 20": "ride, distilled path",
        "training: Adam, 20 x 20": "ride, training's path",
        "Adam, direct, starts 1": "direct, one start",
        "Adam, direct, starts 2": "direct, two starts",
    }
    for name, title in named.items():
        columns += [Column(name, title, rate), Column(f"{name} cost", "cost", count)]
    rows = []
    for model, held in record["models"].items():
        for amount, cell in held["cells"].items():
            if set(named) <= set(cell):
                line = {name: tuple(cell[name]["found"]) for name in named}
                line |= {f"{name} cost": cell[name]["cost"] for name in named}
                rows.append({"model": f"{model} (k = {held['k']})", "measured": amount, **line})
    note = (
        "Adam at step size .05, chosen on another model. Rides: 20 stages of 20 steps, at most "
        "1,400 at the last. Direct: as many steps as the dearer ride costs, from one start, or "
        "half of them from each of two."
    )
    return Table("Adam", columns, tuple(rows), (note,))


def _line(cell: dict[str, Any], rides: tuple[str, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for way in ("distilled", "training"):
        lines = [cell[f"{way}: {ride}"] for ride in rides]
        told[way] = max(lines, key=lambda line: (line["found"][0], -line["cost"]))
    for key, names in _RIVALS.items():
        enough = [_least(cell, name, told["distilled"]["cost"]) for name in names]
        told[key] = max(enough, key=lambda line: (line["found"][0], -line["cost"]))
    for way in ("straight line", "averages"):
        told[way] = cell[f"{way}: {CHEAPEST}"]
    found = {name: tuple(line["found"]) for name, line in told.items()}
    return found | {f"{name} cost": line["cost"] for name, line in told.items()}


_RIVALS = {
    "direct": ("direct",),
    "annealed": ("direct, annealed 10 x 1", "direct, annealed 20 x 1"),
}


def _least(cell: dict[str, Any], name: str, cost: float) -> dict[str, Any]:
    """As few starts as cost at least so much; where none does, the most."""
    lines = [line for other, line in cell.items() if other.startswith(f"{name}, starts")]
    return next((line for line in lines if line["cost"] >= cost), lines[-1])


if __name__ == "__main__":
    app(result_action="return_none")

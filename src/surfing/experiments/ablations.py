"""What makes a ride work? The path changed, taken away, or replaced by something else."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from surfing.continuation import EqualDrift, surf
from surfing.continuation.predictor import AbstractPredictor, Secant, Tangent
from surfing.continuation.schedule import AbstractSchedule, EveryCheckpoint, EveryNth
from surfing.experiments.cells import PACKAGED, available, open_cell
from surfing.experiments.document import document, labelled, save
from surfing.experiments.parts import Parts
from surfing.experiments.registry import Record, Tick
from surfing.experiments.rides import still
from surfing.experiments.selftest import FOUND, own_samples
from surfing.problem import as_operator
from surfing.report import Column, Table, rate, wilson
from surfing.report.tables import count
from surfing.trajectory import Trajectory

__all__ = ["FULL", "QUICK", "VARIANTS", "Config", "figures", "markdown", "run"]


@dataclass(frozen=True)
class Config:
    """What is run.

    Args:
        seed: of targets, starts and operators.
        cells: trained models.
        operators: what measures.
        targets: of each.
    """

    seed: int = 0
    cells: tuple[str, ...] = ("wgan-gp-k10",)
    operators: tuple[str, ...] = ("gaussian:20",)
    targets: int = 60


FULL = Config()
QUICK = Config(cells=(PACKAGED,), operators=("gaussian:20",), targets=8)


_TEN = EqualDrift(10)


@dataclass(frozen=True)
class Variant:
    """One ride with Levenberg-Marquardt: two steps a stage, forty at the last.

    Args:
        group: what is varied.
        path: makes the trajectory to ride from the recorded one.
        schedule: its stages.
        predictor: how a row enters a stage.
        anneal: weight of the falling MAP penalty.
    """

    group: str
    path: Callable[[Trajectory], Trajectory] = lambda recorded: recorded
    schedule: AbstractSchedule = _TEN
    predictor: AbstractPredictor | None = None
    anneal: float = 0.0


def _rearranged(recorded: Trajectory, order: Sequence[int]) -> Trajectory:
    """Those checkpoints, in that order, the last one last."""
    return Trajectory.from_state_dicts(
        ((step, recorded.state(index)) for step, index in enumerate(order)),
        latent=recorded.latent,
        architecture=recorded.architecture,
    )


def _tenth(recorded: Trajectory) -> list[int]:
    """Nine checkpoints spread over the training, the last left out."""
    last = len(recorded) - 1
    return sorted({round(i * last / 9) for i in range(9)})


def _reversed(recorded: Trajectory) -> Trajectory:
    return _rearranged(recorded, [*_tenth(recorded)[::-1], len(recorded) - 1])


def _shuffled(recorded: Trajectory) -> Trajectory:
    order = _tenth(recorded)
    random.Random(0).shuffle(order)
    return _rearranged(recorded, [*order, len(recorded) - 1])


def _in_order(recorded: Trajectory) -> Trajectory:
    return _rearranged(recorded, [*_tenth(recorded), len(recorded) - 1])


def _straight(recorded: Trajectory) -> Trajectory:
    """From the random weights to the trained ones, without the training between."""
    ends = _rearranged(recorded, [0, len(recorded) - 1])
    return Trajectory.from_state_dicts(
        ((step, ends.at(step / 9)) for step in range(10)),
        latent=recorded.latent,
        architecture=recorded.architecture,
    )


_EVERY = EveryCheckpoint()
VARIANTS: Mapping[str, Variant] = {
    "ten stages at equal drift": Variant("path"),
    "ten checkpoints, in order": Variant("path", _in_order, _EVERY),
    "the same, reversed": Variant("path", _reversed, _EVERY),
    "the same, shuffled": Variant("path", _shuffled, _EVERY),
    "last checkpoint only": Variant("path", lambda t: still(t, 1), _EVERY),
    "straight line from random weights": Variant("path", _straight, _EVERY),
    "averages of the last 20, 10, 5, 2, 1": Variant("path", lambda t: t.smoothed(), _EVERY),
    "prior annealed, no path": Variant("prior", lambda t: still(t, 5), _EVERY, anneal=4.0),
    "prior annealed along ten stages": Variant("prior", anneal=4.0),
    "prior annealed along averages": Variant("prior", lambda t: t.smoothed(), _EVERY, anneal=4.0),
    "3 stages": Variant("stages", schedule=EqualDrift(3)),
    "5 stages": Variant("stages", schedule=EqualDrift(5)),
    "20 stages": Variant("stages", schedule=EqualDrift(20)),
    "every fifth checkpoint": Variant("stages", schedule=EveryNth(5)),
    "every checkpoint": Variant("stages", schedule=_EVERY),
    "secant predictor": Variant("predictor", predictor=Secant()),
    "tangent predictor": Variant("predictor", predictor=Tangent()),
    "from a quarter on": Variant("start stage", schedule=EqualDrift(10, start=0.25)),
    "from a half on": Variant("start stage", schedule=EqualDrift(10, start=0.5)),
    "from three quarters on": Variant("start stage", schedule=EqualDrift(10, start=0.75)),
}


def run(
    config: Config,
    out: Path,
    *,
    device: str = "cpu",
    progress: Tick | None = None,
    workers: int = 1,
) -> Record:
    """A part is a cell, an operator and a variant."""
    tasks = {
        f"{cell} {operator.replace(':', '')} {name}": (config, cell, operator, name)
        for cell in available(config.cells)
        for operator in config.operators
        for name in VARIANTS
    }
    parts = Parts(out, "ablations", config)
    return document(config, parts.measure(_measure, tasks, progress=progress, workers=workers))


def _measure(config: Config, cell: str, operator: str, name: str) -> dict[str, Any]:
    bed, variant = open_cell(cell), VARIANTS[name]
    own = own_samples(bed.trajectory, bed.generator, config.targets, seed=config.seed)
    forward = as_operator(
        None if operator == "all" else operator, tuple(own.x.shape[1:]), seed=config.seed
    )
    began = time.perf_counter()
    solution = surf(
        variant.path(bed.trajectory),
        forward(own.x),
        generator=bed.generator,
        operator=forward,
        schedule=variant.schedule,
        predictor=variant.predictor,
        anneal=variant.anneal,
        seed=config.seed,
    )
    found = (solution.z - own.z).norm(dim=1) < FOUND
    return {
        "cell": cell,
        "operator": operator,
        "variant": name,
        "group": variant.group,
        "found": [int(found.sum()), len(found)],
        "cost": round(float(solution.cost.mean()), 1),
        "seconds": round(time.perf_counter() - began, 2),
    }


def figures(record: Record, out: Path) -> list[Path]:
    """Success of each variant, a panel a problem."""
    results = list(record["results"].values())
    problems = list(dict.fromkeys((r["cell"], r["operator"]) for r in results))
    names = list(dict.fromkeys(r["variant"] for r in results))
    figure = Figure(figsize=(2.0 * len(problems) + 2.6, 0.22 * len(names) + 0.8),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots(1, len(problems), squeeze=False, sharey=True)[0]
    for ax, problem in zip(axes, problems):
        rows = [r for r in results if (r["cell"], r["operator"]) == problem]
        for r in rows:
            at, share = names.index(r["variant"]), r["found"][0] / r["found"][1]
            low, high = wilson(*r["found"])
            ax.plot((low, high), (at, at), color="#197278", lw=1.2)
            ax.plot(share, at, "o", color="#197278", ms=4)
        ax.set_title(f"{labelled(problem[0])}\n{problem[1]}", fontsize=8)
        ax.set_xlim(-0.02, 1.02)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].invert_yaxis()
    figure.supxlabel("latents found from one start", fontsize=9)
    return [save(figure, out / "ablations-variants.png")]


def markdown(record: Record) -> str:
    """A line a variant, a column a problem."""
    results = list(record["results"].values())
    problems = list(dict.fromkeys((r["cell"], r["operator"]) for r in results))
    columns = [Column("group", "varied", right=False), Column("variant", "ride", right=False)]
    for i, (cell, operator) in enumerate(problems):
        columns += [Column(f"f{i}", f"{labelled(cell)}, {operator}", rate)]
        columns += [Column(f"c{i}", "cost", count)]
    table = Table("", columns, notes=(
        f"Latents found from one start, {record['config']['targets']} targets, with 95% Wilson "
        "intervals; Levenberg-Marquardt throughout. Costs differ: see the budget table for equal "
        "cost.",
    ))  # fmt: skip
    for name in dict.fromkeys(r["variant"] for r in results):
        row: dict[str, Any] = {"variant": name, "group": VARIANTS[name].group}
        for i, problem in enumerate(problems):
            key = (*problem, name)
            hit = next(r for r in results if (r["cell"], r["operator"], r["variant"]) == key)
            row |= {f"f{i}": hit["found"], f"c{i}": hit["cost"]}
        table = table.add(**row)
    return table.markdown()

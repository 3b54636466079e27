"""Who takes part in the recovery benchmark, with how many targets, and with what settings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cells import Solver
from benchmarks.ours import (
    DirectAdam,
    DirectLBFGS,
    DirectLM,
    Recover,
    SurfingAdam,
    SurfingLM,
)
from benchmarks.rivals import CMAES, CSGM, ScipyTRF, TorchLBFGS

__all__ = ["METHODS", "Method", "configured", "named", "quick"]

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """One line of the table.

    Args:
        name: its key in records.
        label: for people.
        solver: with the settings used where none were tuned.
        grid: settings that tuning tries.
        ours: all targets in one batch, by this library.
        targets: at most so many; None for all.
        repeats: timed runs.
        tuning_targets: for each setting of the grid.
        like: the method whose tuned settings it takes; its own where left out.
        on_request: it takes part only where it is named.
    """

    name: str
    label: str
    solver: Any
    grid: Sequence[Settings]
    ours: bool = False
    targets: int | None = None
    repeats: int = 1
    tuning_targets: int = 24
    like: str = ""
    on_request: bool = False

    def settings(self) -> dict[str, Any]:
        """The solver's fields."""
        return dataclasses.asdict(self.solver)


_STEP_SIZES: Sequence[Settings] = [{"step_size": s} for s in (0.02, 0.05, 0.1, 0.2, 0.4)]

METHODS: tuple[Method, ...] = (
    Method(
        "lm-surfing",
        "LM surfing",
        SurfingLM(),
        [
            {"stages": n, "skip": skip, "stage_steps": steps}
            for n in (5, 10)
            for skip in (0.0, 0.5)
            for steps in (1, 2)
        ],
        ours=True,
        repeats=5,
    ),
    Method("recover", "recover, budget 2000", Recover(), [{}], ours=True, repeats=3),
    Method(
        "lm",
        "direct LM",
        DirectLM(),
        [{"damping": d} for d in (1e-3, 1e-2, 1e-1)],
        ours=True,
        repeats=5,
    ),
    Method(
        "lbfgs",
        "direct L-BFGS rows",
        DirectLBFGS(),
        [{"history": 5}, {"history": 10}, {"history": 20}],
        ours=True,
        repeats=3,
    ),
    Method("adam", "batched Adam, 1000 steps", DirectAdam(), _STEP_SIZES, ours=True),
    Method("adam-surfing", "Adam surfing, 40 x 50 + 500", SurfingAdam(), _STEP_SIZES, ours=True),
    Method(
        "torch-lbfgs",
        "torch.optim.LBFGS, strong Wolfe",
        TorchLBFGS(),
        [{"history": h, "scale": s} for h in (10, 20, 40) for s in (1.0, 0.01)],
        tuning_targets=12,
    ),
    Method(
        "scipy-jacfwd",
        "scipy TRF, torch jacfwd",
        ScipyTRF(),
        [{"tolerance": t, "double": d} for t in (1e-6, 1e-8) for d in (False, True)],
        tuning_targets=12,
    ),
    Method(
        "scipy-2-point",
        "scipy TRF, its own 2-point",
        ScipyTRF("2-point", difference=1e-3),
        [
            {"double": False, "difference": 1e-3},
            {"double": False, "difference": 3e-3},
            {"double": False, "difference": 1e-2},
            {"double": True, "difference": None},
        ],
        tuning_targets=12,
    ),
    Method(
        "csgm",
        "deepinv CSGMGenerator",
        CSGM(),
        [{"step_size": s, "tolerance": t} for t in (1e-4, 1e-6) for s in (0.02, 0.05, 0.1, 0.2)],
        targets=16,
        tuning_targets=4,
    ),
    Method(
        "cma-es",
        "CMA-ES",
        CMAES(),
        [{"sigma": s, "population": p} for s in (0.3, 1.0) for p in (None, 20)],
        targets=8,
        tuning_targets=4,
    ),
    Method(
        "lm-surfing-float64",
        "LM surfing, polished in float64",
        SurfingLM(polish=True),
        [],
        ours=True,
        like="lm-surfing",
        on_request=True,
    ),
    Method(
        "scipy-float64",
        "scipy TRF, torch jacfwd, float64 to its end",
        ScipyTRF(double=True, tolerance=1e-15, at_floor=False),
        [],
        on_request=True,
    ),
)

_QUICK: Mapping[str, Settings] = {
    "lm-surfing": {"stages": 3},
    "lm-surfing-float64": {"stages": 3},
    "recover": {"budget": 200},
    "adam": {"max_steps": 20},
    "adam-surfing": {"stages": 3, "stage_steps": 3, "max_steps": 10},
    "torch-lbfgs": {"max_iterations": 20},
    "csgm": {"max_iterations": 20},
    "cma-es": {"evaluations": 100},
}


def quick(methods: Sequence[Method], targets: int) -> list[Method]:
    """The same lines at a few steps and targets: they show that it runs, and nothing else."""
    return [
        dataclasses.replace(
            with_settings(method, _QUICK.get(method.name, {})),
            grid=method.grid[:2],
            targets=min(targets, 2) if method.targets else None,
            tuning_targets=2,
            repeats=min(method.repeats, 2),
        )
        for method in methods
    ]


def with_settings(method: Method, settings: Settings) -> Method:
    """The method with some of its solver's fields changed."""
    return dataclasses.replace(method, solver=dataclasses.replace(method.solver, **settings))


def configured(methods: Sequence[Method], tuning: str | Path | None, cell: str) -> list[Method]:
    """The methods with the settings that were tuned for a cell; untouched where none were."""
    if tuning is None or not Path(tuning).is_file():
        return list(methods)
    cells = json.loads(Path(tuning).read_text())["cells"]
    chosen: dict[str, Settings] = {}
    for entry in cells:
        if entry["operator"] == cell:
            chosen = {name: trial["best"] for name, trial in entry["methods"].items()}
    return [with_settings(method, chosen.get(method.like or method.name, {})) for method in methods]


def named(names: Sequence[str] | None) -> list[Method]:
    """The methods of these names; where left out, all but those on request."""
    known = {method.name: method for method in METHODS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise SystemExit(f"methods: expected some of {', '.join(known)}; got {unknown[0]}.")
    return [known[name] for name in names] if names else [m for m in METHODS if not m.on_request]


def run(method: Method, cell: Any) -> Any:
    """Its outcome on as many of the cell's targets as it is given."""
    solver: Solver = method.solver
    return solver(cell if method.targets is None else cell.head(method.targets))

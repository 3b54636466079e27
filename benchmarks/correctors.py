"""Is the corrector that is taken by default the best one? From k = 5 to 512.

``python -m benchmarks.correctors [RUN ...]``: generators of random weights (batch norm has seen
samples), and the trajectories RUN; targets in the range, all pixels, starts drawn from the law, all
targets in one batch. Told is the processor's time a target until the median relative residual is at
most 1e-3, by each corrector, and which of them `direct` and `recover` would take.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import nn

import surfing
from benchmarks import measure
from benchmarks.cells import open_generator
from benchmarks.large import Curve, Problem, ours, upsampling_dcgan
from benchmarks.public_generators import mlp_gan
from surfing.architectures import build_generator
from surfing.descent.default import default_for
from surfing.descent.lbfgs import LBFGS
from surfing.portfolio.solver import solver_of
from surfing.report import Column, Table

__all__ = ["GENERATORS", "main", "table"]

app = App(help=__doc__)

REACHED = 1e-3
WITHIN = 1.2


def _of(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: build_generator(name, **arguments)


GENERATORS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "conv, 28x28": (5, _of("conv", latent_dim=5)),
    "conv, 28x28 ": (20, _of("conv", latent_dim=20)),
    "conv, 28x28  ": (64, _of("conv", latent_dim=64)),
    "dense, 28x28": (40, _of("mlp", latent_dim=40, hidden=256)),
    "MLP GAN, 28x28": (100, mlp_gan),
    "dense, 28x28 ": (200, _of("mlp", latent_dim=200, hidden=512)),
    "DCGAN, 28x28": (100, upsampling_dcgan),
    "deep, 3x64x64": (20, _of("deep", latent_dim=20)),
    "deep, 3x64x64 ": (64, _of("deep", latent_dim=64)),
    "deep, 3x64x64  ": (128, _of("deep", latent_dim=128)),
    "style-based, 3x32x32": (512, _of("style", latent_dim=512, width=8, image_size=32)),
}
"""By a name (blanks keep the keys apart): k, and what builds it."""

CORRECTORS: dict[str, Callable[[int], Any]] = {
    "LM": lambda k: surfing.LevenbergMarquardt(dense_up_to=k),
    "Broyden": lambda k: surfing.Broyden(),
    "L-BFGS": lambda k: LBFGS(history=100 if k >= 64 else 10),
}


@app.default
def main(
    *runs: Annotated[Path, Parameter(name="RUN")],
    out: Path = Path("docs/records/correctors.json"),
    targets: int = 4,
    seconds: float = 3.0,
    only: tuple[str, ...] = (),
    seed: int = 104,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        runs: trajectories whose manifests name an architecture.
        out: the record; lines of others that are in it stay.
        targets: of each generator.
        seconds: of the processor, for each target and corrector at most.
        only: names of generators; all where left out.
        seed: of targets and starts.
    """
    torch.set_num_threads(1)
    record: dict[str, Any] = {"benchmark": "correctors"} | measure.environment()
    record |= {"targets": targets, "seconds": seconds, "seed": seed, "lines": []}
    measured = list(_problems(runs, only, targets, seed))
    new = {(problem.name, problem.starts.shape[1]) for problem in measured}
    record["lines"] = measure.kept_lines(out, lambda n: (n["generator"], n["k"]) in new)
    for problem in measured:
        k = problem.starts.shape[1]
        line: dict[str, Any] = {"generator": problem.name, "k": k}
        line["reached"] = {}
        for name, make in CORRECTORS.items():
            (curve,) = ours(problem, problem.starts, make(k), seconds)
            line["reached"][name] = _when(curve)
        line["direct"] = _name(default_for(problem.model))
        line["recover"] = _name(solver_of(problem.model).descent)
        print(line, file=sys.stderr, flush=True)
        record["lines"].append(line)
        measure.write_record(out, record)
    measure.show(out, table(record))
    return record


def _problems(
    runs: tuple[Path, ...], only: tuple[str, ...], targets: int, seed: int
) -> Iterator[Problem]:
    for run in runs:
        path = surfing.Trajectory.open(run)
        yield _problem(run.name, open_generator(path), path, targets, seed)
    for name, (k, build) in GENERATORS.items():
        if only and name not in only:
            continue
        torch.manual_seed(0)
        net = build().train()
        with torch.no_grad():
            for _ in range(20):
                net(torch.randn(64, k))
        net.eval().requires_grad_(False)
        law = surfing.Normal(k)
        path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=law)
        yield _problem(name.strip(), net, path, targets, seed)


def _problem(
    name: str, net: nn.Module, path: surfing.Trajectory, targets: int, seed: int
) -> Problem:
    assert path.latent is not None
    drawn = path.latent.sample(range(targets), 2, seed=seed)
    with torch.no_grad():
        y = net(drawn[:, 0])
    model = surfing.ForwardModel(path, generator=net)
    return Problem(name, "all pixels", net, model, y, drawn[:, 1])


def _when(curve: Curve) -> float | None:
    return next((seconds for seconds, relative, _ in curve.notes if relative <= REACHED), None)


def _name(descent: Any) -> str:
    kinds = {"LevenbergMarquardt": "LM", "Broyden": "Broyden", "LBFGS": "L-BFGS"}
    return kinds[type(descent).__name__]


def table(record: dict[str, Any]) -> Table:
    """A line for each generator."""
    columns = [
        Column("generator", "generator", str),
        Column("k", "k", str),
        *(Column(n, f"{n}, s", measure.or_dash(".3f")) for n in CORRECTORS),
        Column("direct", "direct takes", str),
        Column("direct_ratio", "× the best", measure.or_dash(".1f")),
        Column("recover", "recover takes", str),
        Column("recover_ratio", "× the best ", measure.or_dash(".1f")),
    ]
    lines = [n | n["reached"] | _ratios(n) for n in record["lines"]]
    note = (
        f"Seconds of the processor a target until the median of {record['targets']} is at "
        f"{REACHED:g}, one thread; – where that took more than {record['seconds']:g}."
    )
    return Table("Correctors", columns, tuple(lines), (note,))


def _ratios(line: dict[str, Any]) -> dict[str, float | None]:
    times = {n: t for n, t in line["reached"].items() if t is not None}
    best = min(times.values(), default=None)
    told: dict[str, float | None] = {}
    for call in ("direct", "recover"):
        mine = times.get(line[call])
        told[f"{call}_ratio"] = None if mine is None or best is None else mine / best
    return told


if __name__ == "__main__":
    app(result_action="return_none")

"""Many latents and colour: what each descent reaches, against the processor's time for a target.

``python -m benchmarks.large [RUN ...] [--seconds .5] [--targets 4]``: generators of 100 to 512
latents, random (batch norm has seen samples) or of the trajectories RUN; targets in the range of
each; one start for every method, drawn from the law, and one more line that begins at the learned
regression, whose own time stands beside it. Batched methods descend all targets at once, the others
one by one; time is that of the process on one thread, divided by the targets, so that other work on
the machine counts for little. Rivals are written here at their best: Adam on all targets in one
batch, torch's L-BFGS with a strong-Wolfe search, scipy's TRF with the Jacobian of ``torch.func``.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor, nn
from torch.func import jvp, vmap

import surfing
from benchmarks import measure
from benchmarks.cells import open_generator
from benchmarks.public_generators import mlp_gan
from benchmarks.rivals import endless_lbfgs
from surfing.architectures import build_generator
from surfing.descent import AbstractDescent, LevenbergMarquardt
from surfing.descent.broyden import Broyden
from surfing.descent.lbfgs import LBFGS
from surfing.errors import require
from surfing.report import Column, Table

__all__ = ["GENERATORS", "Problem", "main", "problems", "table"]

app = App(help=__doc__)

MARKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds a target at which a curve is read."""
REACHED = 0.01
SHARE = 0.25
_SAMPLES = 2000
_COLUMNS = 32
Note = tuple[float, float, float]
"""Seconds, relative residual, ||z|| / sqrt(k)."""


def upsampling_dcgan() -> nn.Module:
    """Layers of a public DCGAN: k = 100, 28x28, nearest upsampling, convolutions of 3x3."""
    return nn.Sequential(
        *(nn.Linear(100, 128 * 49), nn.Unflatten(1, (128, 7, 7)), nn.BatchNorm2d(128)),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(128, 128, 3, 1, 1)),
        *(nn.BatchNorm2d(128, 0.8), nn.LeakyReLU(0.2)),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(128, 64, 3, 1, 1)),
        *(nn.BatchNorm2d(64, 0.8), nn.LeakyReLU(0.2), nn.Conv2d(64, 1, 3, 1, 1), nn.Tanh()),
    )


GENERATORS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "MLP GAN, 28x28, random": (100, mlp_gan),
    "DCGAN, 28x28, random": (100, upsampling_dcgan),
    "style-based, 3x64x64, random": (512, lambda: build_generator("style", latent_dim=512)),
}


@dataclass(frozen=True)
class Problem:
    """Targets of one generator under one operator."""

    name: str
    operator: str
    net: nn.Module
    model: surfing.ForwardModel
    y: Tensor
    starts: Tensor

    def residual(self, z: Tensor, index: slice) -> Tensor:
        """A G(z) - y of some targets, flat."""
        x = self.net(z)
        measured = x if self.model.operator.name == "identity" else self.model.operator(x)
        return (measured - self.y[index]).flatten(1)


@dataclass
class Curve:
    """One target's, or one batch's: the lowest residual so far by time."""

    norm: Tensor
    limit: float
    targets: int
    began: float = field(default_factory=time.process_time)
    notes: list[Note] = field(default_factory=list)

    def add(self, square: Tensor, z: Tensor) -> bool:
        """Note where it stands; whether time is up."""
        seconds = (time.process_time() - self.began) / self.targets
        relative = float((square.double().sqrt() / self.norm).median())
        length = float((z.detach().square().mean(1).sqrt()).median())
        if not self.notes or relative <= self.notes[-1][1]:
            self.notes.append((seconds, relative, length))
        else:
            self.notes.append((seconds, *self.notes[-1][1:]))
        return seconds > self.limit

    def at(self, seconds: float) -> Note:
        """The last note up to then."""
        return [n for n in self.notes if n[0] <= seconds or n is self.notes[0]][-1]


class _Late(Exception):
    pass


def ours(problem: Problem, z: Tensor, descent: AbstractDescent[Any], limit: float) -> list[Curve]:
    """A descent of the library on all targets at once."""
    targets, rows = len(z), torch.arange(len(z))
    risk = problem.model.problem(problem.y).risk(problem.model.last, rows)
    curve = Curve(problem.y.flatten(1).double().norm(dim=1), limit, targets)
    state = descent.init(risk, z, rows)
    while not curve.add(2 * state.value, state.z) and not bool(state.failed.all()):
        state = descent.step(risk, state)
    return [curve]


def adam(problem: Problem, limit: float, *, step_size: float = 0.05) -> list[Curve]:
    """All targets in one batch."""
    z = problem.starts.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=step_size)
    curve = Curve(problem.y.flatten(1).double().norm(dim=1), limit, len(z))
    while True:
        optimiser.zero_grad()
        square = problem.residual(z, slice(None)).square().sum(1)
        if curve.add(square.detach(), z):
            return [curve]
        (square.sum() / 2).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def torch_lbfgs(problem: Problem, limit: float) -> list[Curve]:
    """One target after the other, each as long as its share."""
    curves = []
    for index in range(len(problem.y)):
        part = slice(index, index + 1)
        z = problem.starts[part].clone().requires_grad_()
        optimiser = endless_lbfgs(z, history=10)
        curve = Curve(problem.y[part].flatten(1).double().norm(dim=1), limit, 1)

        def closure(
            z: Tensor = z,
            part: slice = part,
            curve: Curve = curve,
            optimiser: torch.optim.Optimizer = optimiser,
        ) -> Tensor:
            optimiser.zero_grad()
            square = problem.residual(z, part).square().sum(1)
            if curve.add(square.detach(), z):
                raise _Late
            loss = square.sum() / 2
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        with contextlib.suppress(_Late):
            optimiser.step(closure)  # type: ignore[arg-type]
        curves.append(curve)
    return curves


def scipy_trf(problem: Problem, limit: float) -> list[Curve]:
    """One target after the other, with Jacobians in forward mode."""
    solve, curves = require("scipy.optimize", "theory").least_squares, []
    eye = torch.eye(problem.starts.shape[1])
    for index in range(len(problem.y)):
        part = slice(index, index + 1)
        curve = Curve(problem.y[part].flatten(1).double().norm(dim=1), limit, 1)

        def residual(z: Any, part: slice = part, curve: Curve = curve) -> Any:
            at = torch.from_numpy(z).float()[None]
            with torch.no_grad():
                r = problem.residual(at, part)
            if curve.add(r.square().sum(1), at):
                raise _Late
            return r[0].double().numpy()

        def jacobian(z: Any, part: slice = part) -> Any:
            def moved(u: Tensor) -> Tensor:
                return problem.residual(u[None], part)[0]

            with torch.no_grad():
                at = torch.from_numpy(z).float()
                columns = vmap(lambda e: jvp(moved, (at,), (e,))[1], chunk_size=_COLUMNS)(eye)
            return columns.T.double().numpy()

        with contextlib.suppress(_Late):
            solve(residual, problem.starts[index].double().numpy(), jac=jacobian, method="trf")
        curves.append(curve)
    return curves


def _methods(problem: Problem, limit: float) -> Iterator[tuple[str, float, list[Curve]]]:
    """Name, seconds that were spent once, curves."""
    k, starts = problem.starts.shape[1], problem.starts
    dense = LevenbergMarquardt(dense_up_to=k)
    yield "L-BFGS, rows", 0.0, ours(problem, starts, LBFGS(), limit)
    yield "Broyden, rows", 0.0, ours(problem, starts, Broyden(), limit)
    yield "LM, rows", 0.0, ours(problem, starts, dense, limit)
    matrix_free = LevenbergMarquardt(dense_up_to=0)
    yield "LM without J'J, rows", 0.0, ours(problem, starts, matrix_free, limit)
    clock = time.process_time()
    learned = surfing.learn(problem.model, _SAMPLES, seed=0)
    z = learned.starts(problem.model, problem.y, 1)[:, 0]
    once = time.process_time() - clock
    yield "regression, L-BFGS", once, ours(problem, z, LBFGS(), limit)
    yield "regression, Broyden", once, ours(problem, z, Broyden(), limit)
    yield "Adam, one batch", 0.0, adam(problem, limit)
    yield "torch L-BFGS", 0.0, torch_lbfgs(problem, limit)
    yield "scipy TRF", 0.0, scipy_trf(problem, limit)


@app.default
def main(
    *runs: Annotated[Path, Parameter(name="RUN")],
    out: Path = Path("docs/records/large.json"),
    targets: int = 4,
    seconds: float = 0.5,
    most_latents: int = 512,
    least_latents: int = 0,
    shares: tuple[float, ...] = (1.0, SHARE),
    seed: int = 101,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        runs: trajectories whose manifests name an architecture, trained ones.
        out: the record.
        targets: of each generator.
        seconds: of the process, for each target and method.
        most_latents: generators with more are left out.
        least_latents: generators with fewer are left out.
        shares: of the pixels that are measured.
        seed: of targets, starts and masks.
    """
    torch.set_num_threads(1)
    record: dict[str, Any] = {"benchmark": "large"} | measure.environment()
    record |= {"targets": targets, "seconds": seconds, "seed": seed, "samples": _SAMPLES}
    lines: list[dict[str, Any]] = []
    limits = range(least_latents, most_latents + 1)
    for problem in problems(runs, targets, shares, seed, limits):
        for name, once, curves in _methods(problem, seconds):
            line = _line(problem, name, curves) | {"once": once}
            print(line, file=sys.stderr, flush=True)
            lines.append(line)
            measure.write_record(out, record | {"lines": lines})
    record["lines"] = lines
    measure.show(out, table(record))
    return record


def problems(
    runs: tuple[Path, ...], targets: int, shares: tuple[float, ...], seed: int, limits: range
) -> Iterator[Problem]:
    """Every generator under every operator."""
    for name, net, path in _generators(runs):
        if path.latent is None or path.latent.dim not in limits:
            continue
        k = path.latent.dim
        drawn = path.latent.sample(range(targets), 2, seed=seed)
        for share in shares:
            with torch.no_grad():
                x = net(drawn[:, 0])
            operator = None if share == 1 else _masked(x.shape[-2] * x.shape[-1], share, seed)
            model = surfing.ForwardModel(path, generator=net, operator=operator)
            said = "all pixels" if share == 1 else f"{share:.0%} of the pixels"
            y = x if operator is None else operator(x)
            yield Problem(f"{name}, k={k}", said, net, model, y, drawn[:, 1])


def _generators(runs: tuple[Path, ...]) -> Iterator[tuple[str, nn.Module, surfing.Trajectory]]:
    for run in runs:
        path = surfing.Trajectory.open(run)
        yield run.name, open_generator(path), path
    for name, (k, build) in GENERATORS.items():
        torch.manual_seed(0)
        net = build().train()
        with torch.no_grad():
            for _ in range(30):
                net(torch.randn(64, k))
        net.eval().requires_grad_(False)
        state = [(0, net.state_dict())]
        yield name, net, surfing.Trajectory.from_state_dicts(state, latent=surfing.Normal(k))


def _masked(pixels: int, share: float, seed: int) -> Callable[[Tensor], Tensor]:
    rng = torch.Generator().manual_seed(seed)
    kept = torch.randperm(pixels, generator=rng)[: int(share * pixels)].sort().values
    return lambda x: x.flatten(-2)[..., kept]


def _line(problem: Problem, method: str, curves: list[Curve]) -> dict[str, Any]:
    end = max(c.notes[-1][0] for c in curves)
    marks = [m for m in MARKS if m <= 1.2 * curves[0].limit]
    read = {m: [c.at(m) for c in curves] for m in marks}
    reached = [next((n[0] for n in c.notes if n[1] <= REACHED), float("inf")) for c in curves]
    return {
        "generator": problem.name,
        "operator": problem.operator,
        "method": method,
        "relative": {str(m): statistics.median(n[1] for n in ns) for m, ns in read.items()},
        "length": statistics.median(n[2] for n in read[marks[-1]]),
        "seconds_to_reach": statistics.median(reached),
        "ended": end,
    }


def table(record: dict[str, Any]) -> Table:
    """A line for each generator, operator and method."""
    marks = [m for m in MARKS if m <= 1.2 * record["seconds"]]
    lines = [
        line | {f"at {m}": line["relative"].get(str(m)) for m in marks} for line in record["lines"]
    ]
    columns = [
        Column("generator", "generator", str),
        Column("operator", "measured", str),
        Column("method", "method", str),
        *(Column(f"at {m}", f"at {m:g} s", _relative) for m in marks),
        Column("length", "‖z‖ / √k", lambda v: f"{v:.2f}"),
        Column("seconds_to_reach", "s until .01", _seconds),
        Column("once", "s once", lambda v: "" if not v else f"{v:.1f}"),
    ]
    note = (
        f"Median relative residual of {record['targets']} targets, by the processor's seconds for "
        "each target, one thread; s once: learning the regression, for all targets together."
    )
    return Table("Many latents", columns, tuple(lines), (note,))


def _relative(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None or value == float("inf") else f"{value:.2f}"


if __name__ == "__main__":
    app(result_action="return_none")

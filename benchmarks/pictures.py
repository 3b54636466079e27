"""Colour generators of real size: time until targets are met, and PSNR of pictures out of range.

``python -m benchmarks.pictures PICTURES RUN...``: trajectories RUN of ``benchmarks.train_sizes``.
First targets in the range, all pixels: wall time until 95% of them are met (relative residual of
1e-4). Then pictures of the folder PICTURES upside down, an orientation that no training has seen:
PSNR at so many seconds a target. `recover` gets them all at once and the time of all; so does
Adam, in one batch. Torch's L-BFGS and scipy's TRF take one target after the other, start anew from
another draw where they end, and keep the best. One thread, each alone.
"""

from __future__ import annotations

import contextlib
import itertools
import math
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
from benchmarks.rivals import endless_lbfgs
from surfing.errors import require
from surfing.report import Column, Table
from surfing.zoo.data import load_images

__all__ = ["main", "tables"]

app = App(help=__doc__)

MET = 1e-4
SHARE = 0.95
BUDGET = 10_000
"""Of `recover` in the range: rivals have none."""
_TRIES = {"torch L-BFGS": 600, "scipy TRF": 60}
"""Evaluations before another target has its turn; the first comes back from another draw."""
_COLUMNS = 32


class _Stop(Exception):
    pass


@dataclass
class Watch:
    """The best of each target so far, and when it was that good."""

    y: Tensor
    limit: float
    """Seconds in all."""
    began: float = field(default_factory=time.perf_counter)
    notes: list[list[tuple[float, float]]] = field(default_factory=list)
    """For each target (its seconds, ||G(z) - y|| / ||y||), falling."""

    def __post_init__(self) -> None:
        self.norm = self.y.flatten(1).double().norm(dim=1)
        self.notes = [[(0.0, math.inf)] for _ in range(len(self.y))]

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self.began

    def add(self, target: int, square: float, seconds: float) -> bool:
        """Note one value; whether the target is met."""
        relative = math.sqrt(square) / float(self.norm[target])
        if relative < self.notes[target][-1][1]:
            self.notes[target].append((seconds, relative))
        return relative <= MET

    def best(self, target: int, seconds: float) -> float:
        """Of one target up to then."""
        return [r for s, r in self.notes[target] if s <= seconds][-1]

    def until_met(self) -> float | None:
        """Seconds until the share of them was met; None where it was not."""
        met = sorted(n[-1][0] for n in self.notes if n[-1][1] <= MET)
        wanted = math.ceil(SHARE * len(self.notes))
        return met[wanted - 1] if len(met) >= wanted else None

    @property
    def met(self) -> int:
        """How many are."""
        return sum(n[-1][1] <= MET for n in self.notes)


def _adam(net: nn.Module, y: Tensor, z: Tensor, watch: Watch, step_size: float) -> None:
    leaf = z.clone().requires_grad_()
    optimiser = torch.optim.Adam([leaf], lr=step_size)
    while watch.seconds < watch.limit and watch.until_met() is None:
        optimiser.zero_grad()
        square = (net(leaf) - y).flatten(1).square().sum(1)
        for target, value in enumerate(square.tolist()):
            watch.add(target, value, watch.seconds)
        (square.sum() / 2).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


Single = Callable[[nn.Module, Tensor, Tensor, Callable[[float], None]], None]
"""(network, y of one target, start, what is told the squared residual of every evaluation)."""


def _lbfgs(net: nn.Module, y: Tensor, z: Tensor, told: Callable[[float], None]) -> None:
    leaf = z.clone().requires_grad_()
    optimiser = endless_lbfgs(leaf)

    def closure() -> Tensor:
        optimiser.zero_grad()
        square = (net(leaf) - y).square().sum()
        told(float(square.detach()))
        (square / 2).backward()  # type: ignore[no-untyped-call]
        return square / 2

    optimiser.step(closure)  # type: ignore[arg-type]


def _trf(net: nn.Module, y: Tensor, z: Tensor, told: Callable[[float], None]) -> None:
    solve = require("scipy.optimize", "theory").least_squares
    eye = torch.eye(z.shape[1])

    def residual(at: Any) -> Any:
        with torch.no_grad():
            r = (net(torch.from_numpy(at).float()[None]) - y).flatten()
        told(float(r.square().sum()))
        return r.double().numpy()

    def jacobian(at: Any) -> Any:
        point = torch.from_numpy(at).float()[None]
        with torch.no_grad():
            columns = vmap(
                lambda e: jvp(lambda u: net(u).flatten(), (point,), (e[None],))[1],
                chunk_size=_COLUMNS,
            )(eye)
        return columns.T.double().numpy()

    solve(residual, z[0].double().numpy(), jac=jacobian, method="trf")


def _in_turn(
    name: str, net: nn.Module, y: Tensor, law: surfing.Normal, watch: Watch, each: float
) -> None:
    """Targets one after the other, again and again, until enough are met or time is up.

    Args:
        name: of the method.
        net: G.
        y: targets.
        law: of the latents.
        watch: what is told.
        each: seconds of a target; infinite for none but the limit.
    """
    single, spent = _SINGLE[name], [0.0] * len(y)
    for tried in itertools.count():
        for target in range(len(y)):
            if watch.seconds > watch.limit or watch.until_met() is not None:
                return
            if watch.notes[target][-1][1] <= MET or spent[target] > each:
                continue
            start = law.sample([target], tried + 1, seed=5)[0, -1:]
            clock, calls = time.perf_counter(), itertools.count(1)

            def told(
                square: float, target: int = target, clock: float = clock, calls: Any = calls
            ) -> None:
                mine = spent[target] + time.perf_counter() - clock
                at = watch.seconds if math.isinf(each) else mine
                over = next(calls) >= _TRIES[name] or watch.seconds > watch.limit or mine > each
                if watch.add(target, square, at) or over:
                    raise _Stop

            with contextlib.suppress(_Stop):
                single(net, y[target : target + 1], start, told)
            spent[target] += time.perf_counter() - clock
        if all(s > each for s in spent):
            return


_SINGLE: dict[str, Single] = {"torch L-BFGS": _lbfgs, "scipy TRF": _trf}
_STEPS = {"Adam, one batch": 0.1}
"""Of .03 and .1 the better one on the VAE."""
METHODS = ("recover", *_STEPS, *_SINGLE)


def _until(model: surfing.ForwardModel, net: nn.Module, y: Tensor, limit: float) -> Iterator[Any]:
    """A line for each method: when the share was met."""
    for name in METHODS:
        watch = Watch(y, limit)
        if name == "recover":
            enough = surfing.Stopping(rtol=MET)  # as the others
            found = surfing.recover(model, y, stopping=enough, budget=BUDGET)
            line = {"seconds": watch.seconds, "met": int(found.success.sum())}
            if line["met"] < SHARE * len(y):
                line["seconds"] = None
        else:
            _run(name, net, y, model.latent, watch, math.inf)
            line = {"seconds": watch.until_met(), "met": watch.met}
        yield {"method": name, "targets": len(y)} | line


def _run(name: str, net: nn.Module, y: Tensor, law: Any, watch: Watch, each: float) -> None:
    if name in _STEPS:
        starts = law.sample(range(len(y)), 1, seed=5)[:, 0]
        _adam(net, y, starts, watch, _STEPS[name])
    else:
        _in_turn(name, net, y, law, watch, each)


def _out_of_range(
    model: surfing.ForwardModel, net: nn.Module, x: Tensor, marks: tuple[float, ...]
) -> Iterator[Any]:
    """A line for each method: mean PSNR at the marks."""
    pixels = x[0].numel()

    def psnr(relative: Tensor) -> float:
        square = (relative * x.flatten(1).double().norm(dim=1)).square() / pixels
        return float((-10 * square.log10()).mean())

    for name in (m for m in METHODS if m != "scipy TRF"):  # the last by far
        told = {}
        if name == "recover":
            for mark in marks:
                found = surfing.recover(model, x, seconds=mark * len(x), budget=1e6)
                with torch.no_grad():
                    left = (net(found.z) - x).flatten(1).double().norm(dim=1)
                told[mark] = psnr(left / x.flatten(1).double().norm(dim=1))
        else:
            batched = name in _STEPS
            watch = Watch(x, marks[-1] * len(x))
            _run(name, net, x, model.latent, watch, math.inf if batched else marks[-1])
            for mark in marks:
                at = mark * len(x) if batched else mark
                best = [watch.best(target, at) for target in range(len(x))]
                told[mark] = psnr(torch.tensor(best, dtype=torch.float64))
        yield {"method": name, "psnr": {str(m): v for m, v in told.items()}}


@app.default
def main(
    pictures: Path,
    *runs: Annotated[Path, Parameter(name="RUN")],
    out: Path = Path("docs/records/pictures.json"),
    targets: int = 20,
    limit: float = 60.0,
    held_out: int = 3,
    seconds: tuple[float, ...] = (1.0, 5.0, 20.0),
    seed: int = 103,
) -> dict[str, Any]:
    """Measure, write the record and print its tables.

    Args:
        pictures: a folder of pictures.
        runs: trajectories whose manifests name an architecture.
        out: the record; lines of other runs that are in it stay.
        targets: in the range.
        limit: seconds of each method for all of them.
        held_out: pictures out of range.
        seconds: a target, at which their PSNR is read.
        seed: of the targets, and of which pictures.
    """
    torch.set_num_threads(1)
    record: dict[str, Any] = {"benchmark": "pictures"} | measure.environment()
    record |= {"limit": limit, "held_out": held_out, "seconds": list(seconds), "lines": []}
    record["lines"] = measure.kept_lines(out, lambda n: n["run"] in {r.name for r in runs})
    for run in runs:
        path = surfing.Trajectory.open(run)
        net, law = open_generator(path), path.latent
        assert law is not None
        model = surfing.ForwardModel(path, generator=net)
        with torch.no_grad():
            y = net(law.sample(range(targets), 1, seed=seed)[:, 0])
        x = _upside_down(pictures, held_out, y.shape[-1], seed)
        for line in (*_until(model, net, y, limit), *_out_of_range(model, net, x, seconds)):
            record["lines"].append({"run": run.name, "k": law.dim} | line)
            print(record["lines"][-1], file=sys.stderr, flush=True)
            measure.write_record(out, record)
    measure.show(out, *tables(record))
    return record


def _upside_down(pictures: Path, count: int, size: int, seed: int) -> Tensor:
    images = load_images(pictures, image_size=size, channels=3)
    picked = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
    return images[picked].flip(2).float() / 255


def tables(record: dict[str, Any]) -> list[Table]:
    """One of the targets in range, one of the pictures."""
    first = [
        Column("run", "generator", str),
        Column("k", "k", str),
        Column("method", "method", str),
    ]
    until = [
        *first,
        Column("targets", "targets", str),
        Column("met", "met", str),
        Column("seconds", "s until 95% were met", lambda v: "–" if v is None else f"{v:.1f}"),
    ]
    marks = [str(m) for m in record["seconds"]]
    psnr = [*first, *(Column(m, f"PSNR at {float(m):g} s a target", _decibel) for m in marks)]
    lines = record["lines"]
    return [
        Table("In range", until, tuple(n for n in lines if "met" in n), ()),
        Table("Out of range", psnr, tuple(n | n["psnr"] for n in lines if "psnr" in n), ()),
    ]


def _decibel(value: float) -> str:
    return f"{value:.2f}"


if __name__ == "__main__":
    app(result_action="return_none")

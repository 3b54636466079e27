"""The theory, measured: random expansive networks, their formulas, and Algorithm 2 at work."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from paper.document import curve_style, document, save
from paper.parts import Parts
from paper.registry import Record, Tick
from surfing.continuation import EveryCheckpoint, surf
from surfing.descent.regions.piecewise import PiecewiseAffine
from surfing.descent.regions.region_descent import RegionDescent
from surfing.report import Column, Table, linear_regions
from surfing.report.palette import INK, LINES
from surfing.report.tables import number
from surfing.solution import Solution
from surfing.theory import (
    ExpansiveReLU,
    critical_points,
    expected_gradient,
    gaussian_operator,
    global_path,
    range_isometry,
    rho,
    small_trajectory,
    sufficient_tau,
    weight_distribution,
)
from surfing.trajectory import Trajectory

__all__ = ["FULL", "QUICK", "Config", "figures", "markdown", "run"]

_K = 3


@dataclass(frozen=True)
class Config:
    """What is measured.

    Args:
        seed: of networks and latents.
        nets: random networks a point.
        widths: of every layer, growing.
        depths: of the networks whose field and shadow are measured.
        tracked: small trained networks that Algorithm 2 follows, as widths.
        targets: of each of them.
        stages: of their training.
    """

    seed: int = 0
    nets: int = 8
    widths: tuple[int, ...] = (100, 400, 1600)
    depths: tuple[int, ...] = (1, 2, 3)
    tracked: tuple[tuple[int, ...], ...] = ((2, 8, 8, 30), (2, 10, 10, 40), (3, 10, 40))
    targets: int = 3
    stages: int = 16


FULL = Config()
QUICK = Config(nets=2, widths=(50, 200), depths=(1, 2), tracked=((2, 6, 20),), targets=1, stages=5)


def run(
    config: Config,
    out: Path,
    *,
    device: str = "cpu",
    progress: Tick | None = None,
    workers: int = 1,
) -> Record:
    """A part is a law at one width, or one tracked network."""
    laws = {
        f"{name} {depth} {width}": (config, name, depth, width)
        for name, depths in (
            ("field", config.depths),
            ("shadow", tuple(d for d in config.depths if d > 1)),
            ("weights", (1,)),
            ("isometry", (2,)),
            ("ball", (1,)),
        )
        for depth in depths
        for width in config.widths
    }
    tracked = {f"tracking {sizes}": (config, sizes) for sizes in config.tracked}
    parts = Parts(out, "theory", config)
    results = parts.measure(_law, laws, progress=progress, workers=workers)
    results |= parts.measure(_track, tracked, progress=progress, workers=workers)
    return document(config, results)


def _draw(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def _law(config: Config, name: str, depth: int, width: int) -> dict[str, Any]:
    began = time.perf_counter()
    measure = {
        "field": _field,
        "shadow": _shadow,
        "weights": _weights,
        "isometry": _isometry,
        "ball": _ball,
    }[name]
    values = [measure(depth, width, config.seed + net) for net in range(config.nets)]
    return {
        "law": name,
        "depth": depth,
        "width": width,
        "mean": sum(values) / len(values),
        "largest": max(values),
        "predicted": rho(depth) if name == "shadow" else None,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _net(depth: int, width: int, seed: int) -> ExpansiveReLU:
    return ExpansiveReLU([_K, *(width * (i + 1) for i in range(depth))], seed=seed)


def _field(depth: int, width: int, seed: int) -> float:
    """Mean relative difference of the measured gradient and h."""
    net, z, target = _net(depth, width, seed), _draw(30, _K, seed=7), _draw(_K, seed=8)
    leaf = z.clone().requires_grad_()
    y = net(target[None]).detach()
    (slope,) = torch.autograd.grad((net(leaf) - y).square().sum() / 2, leaf)
    field = expected_gradient(z, target, depth)
    return float(((slope - field).norm(dim=1) / field.norm(dim=1)).mean())


def _shadow(depth: int, width: int, seed: int) -> float:
    """t at which f(-t z*) is lowest: <G(-z*), G(z*)> / ||G(-z*)||^2."""
    net, target = _net(depth, width, seed), _draw(1, _K, seed=50 + seed)
    with torch.no_grad():
        here, there = net(target)[0], net(-target)[0]
    return float(here @ there / there.square().sum())


def _weights(depth: int, width: int, seed: int) -> float:
    """The weight distribution constant over 200 pairs."""
    (weight,) = ExpansiveReLU([_K, width], seed=seed).weights
    pairs = _draw(2, 200, _K, seed=seed)
    return float(weight_distribution(weight.detach(), pairs[0], pairs[1]).max())


def _isometry(depth: int, width: int, seed: int) -> float:
    """The range-restricted isometry constant over 200 quadruples; the width is m here."""
    net = _net(depth, 100, seed)
    operator = gaussian_operator(width, 200, seed=seed)
    with torch.no_grad():
        return float(range_isometry(operator, net, _draw(4, 200, _K, seed=seed)).max())


def _ball(depth: int, width: int, seed: int) -> float:
    """The farthest critical point from 0, for y independent of the network, ||y|| = 1."""
    net = ExpansiveReLU([_K, width], readout=width, seed=seed)
    y = _draw(width, seed=90 + seed)
    found = critical_points(
        net, y / y.norm(), _draw(8, _K, seed=seed), max_steps=300, tolerance=1e-4, seed=seed
    )
    return float(found.z.norm(dim=1).max())


def _track(config: Config, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Algorithms 1 and 2 from the first global minimiser, against all pieces enumerated."""
    began = time.perf_counter()
    net, trajectory = small_trajectory(list(sizes), stages=config.stages, seed=config.seed)
    z = _draw(config.targets, sizes[0], seed=70 + config.seed)
    with torch.no_grad():
        y = net(z / z.norm(dim=1, keepdim=True))
    path = global_path(net, trajectory, y, reach=30.0)
    lines = []
    for target in range(config.targets):
        here = slice(target, target + 1)
        tracked = _Tracked(net, trajectory, y[here], path.z[:, target], path.risk[:, target])
        tau = sufficient_tau(net, trajectory, tracked.lowest, tracked.ridden)
        for name, tried in (
            ("Algorithm 2", tau),
            ("Algorithm 2, tau halved", tau / 2),
            ("Algorithm 1", None),
        ):
            lines.append({"method": name, "target": target, "tau": tried, **tracked.line(tried)})
    return {
        "widths": list(sizes),
        "pieces": max(path.pieces),
        "lines": lines,
        "seconds": round(time.perf_counter() - began, 2),
    }


@dataclass(frozen=True)
class _Tracked:
    """One target, and its global minimiser at every stage."""

    net: nn.Module
    trajectory: Trajectory
    y: Tensor
    lowest: Tensor
    risk: Tensor

    def ride(self, tau: float | None) -> Solution:
        """One step of Algorithm 2 a stage; Algorithm 1 where there is no tau."""
        exact = tau is not None
        return surf(
            self.trajectory,
            self.y,
            generator=self.net,
            descent=None if tau is None else RegionDescent(tau, recentre=False, reach=60.0),
            schedule=EveryCheckpoint(),
            z0=self.lowest[0, None, None],
            stage_steps=1 if exact else None,
            max_steps=1 if exact else None,
        )

    def ridden(self, tau: float) -> Tensor:
        """Where Algorithm 2 ended each stage."""
        return self.ride(tau).path[0]

    def line(self, tau: float | None) -> dict[str, Any]:
        """How many stages were exact, where it was lost first, what it cost, where it was."""
        solution = self.ride(tau)
        risk = torch.stack([record.risk[0] for record in solution.stages])
        exact = ((risk - self.risk) / (1e-6 + self.risk)).abs() < 1e-6
        wrong = (~exact).nonzero().flatten().tolist()
        return {
            "stages_exact": int(exact.sum()),
            "first_lost": wrong[0] if wrong else None,
            "cost": float(solution.cost[0]),
            "path": [[round(v, 9) for v in z] for z in solution.path[0].tolist()],
        }


_LAWS = {
    "field": "||grad f - h|| / ||h||, mean",
    "shadow": "t where f(-t z*) is lowest",
    "weights": "weight distribution constant",
    "isometry": "range-restricted isometry constant (width: m)",
    "ball": "farthest critical point, y independent",
}


def figures(record: Record, out: Path) -> list[Path]:
    """A random network's surface, the regions around a path, how the laws sharpen with width."""
    return [
        save(_surface(record["config"]["seed"]), out / "theory-surface.png"),
        save(_regions(record), out / "theory-regions.png"),
        save(_sharpening(record), out / "theory-widths.png"),
    ]


def _surface(seed: int) -> Figure:
    net = ExpansiveReLU([2, 300, 600], seed=seed)
    target = torch.tensor([1.0, 0.0], dtype=torch.float64)
    mark = torch.linspace(-1.6, 1.6, 81, dtype=torch.float64)
    with torch.no_grad():
        grid = torch.cartesian_prod(mark, mark)
        risk = (net(grid) - net(target[None])).square().sum(1) / 2
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    ax = figure.subplots()
    heights = risk.reshape(81, 81).T.numpy()
    ax.contourf(mark.numpy(), mark.numpy(), heights, levels=24, cmap="bone")
    ax.plot(1, 0, "o", color=LINES[1][0], label="z*")
    ax.plot(-rho(2), 0, "D", color=LINES[5][0], label="-rho z*")
    ax.plot(0, 0, "P", mfc="white", mec=INK, ls="", label="0, a local maximum")
    ax.set_aspect("equal")
    ax.set_title("f of a random network, two layers", fontsize=9)
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _regions(record: Record) -> Figure:
    """Algorithm 2 at three stages of the first network, where it had to search least."""
    config, part = record["config"], next(r for r in record["results"].values() if "lines" in r)
    rides = [line for line in part["lines"] if line["method"] == "Algorithm 2"]
    line = min(rides, key=lambda ride: float(ride["tau"]))
    net, trajectory = small_trajectory(part["widths"], stages=config["stages"], seed=config["seed"])
    path = torch.tensor(line["path"], dtype=torch.float64)
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    last = len(trajectory) - 1
    for ax, stage in zip(figure.subplots(1, 3), (1, (last + 1) // 2, last), strict=True):
        network = PiecewiseAffine(net, trajectory[stage].state)
        linear_regions(network, path, stage=stage, tau=line["tau"], ax=ax)
        ax.set_title(f"stage {stage} of {last}", fontsize=9)
    return figure


def _sharpening(record: Record) -> Figure:
    results = [r for r in record["results"].values() if "law" in r and r["law"] != "shadow"]
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    ax = figure.subplots()
    laws = dict.fromkeys((r["law"], r["depth"]) for r in results)
    for place, (name, depth) in enumerate(laws):
        rows = [r for r in results if (r["law"], r["depth"]) == (name, depth)]
        label = f"{name}, d = {depth}" if name == "field" else name
        ax.plot(
            [r["width"] for r in rows], [r["mean"] for r in rows], label=label, **curve_style(place)
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("width (isometry: measurements)")
    ax.set_ylabel("departure from the law")
    ax.spines[["top", "right"]].set_visible(False)
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside right", frameon=False, fontsize=8)
    return figure


def markdown(record: Record) -> str:
    """Two tables: the laws, and the tracking."""
    results = record["results"].values()
    laws = Table(
        "",
        [
            Column("law", "quantity", lambda name: _LAWS[name], right=False),
            Column("depth", "d"),
            Column("width", "width"),
            Column("predicted", "predicted", lambda p: "→ 0" if p is None else f"{p:.4f}"),
            Column("mean", "measured, mean", number),
            Column("largest", "largest", number),
        ],
        tuple(r for r in results if "law" in r),
        (f"{record['config']['nets']} random networks a line, k = {_K}.",),
    )
    lines = [
        {"widths": "-".join(map(str, r["widths"])), "pieces": r["pieces"], **line}
        for r in results
        if "lines" in r
        for line in r["lines"]
    ]
    tracking = Table(
        "",
        [
            Column("widths", "network", right=False),
            Column("pieces", "pieces"),
            Column("target", "target"),
            Column("method", "method", right=False),
            Column("tau", "tau", lambda tau: "" if tau is None else number(tau)),
            Column("stages_exact", f"stages exact, of {record['config']['stages']}"),
            Column("first_lost", "first lost", lambda s: "–" if s is None else str(s)),
            Column("cost", "cost", number),
        ],
        tuple(lines),
        (
            "Exact: the risk is that of the global minimiser, found by enumerating all pieces, to "
            "1e-6 relative. tau is what the ride needs: the largest pre-activation that changes "
            "sign between where it stands and the next global minimiser.",
        ),
    )
    return laws.markdown() + "\n\n" + tracking.markdown()

"""Posteriors of more than one mode, exactly: two latents on a grid, and HMC beside.

The packaged generator with all latents but the first few held at 0 is a generator of so few. With
two the posterior is summed up on a grid; its basins of attraction, shallow ones merged, are the
modes, and what the draws give to each is compared. With two and five Hamiltonian Monte Carlo is run
on the same targets.

    python -m benchmarks.two_modes
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor, nn

import surfing
from benchmarks.hmc import effective_sizes, hamiltonian
from benchmarks.measure import wilson, write_record
from surfing.architectures import generator_from_manifest
from surfing.evaluation.record import provenance

__all__ = ["Few", "basins", "main"]

app = App(help=__doc__)

SIDE, REACH = 321, 4.5
SHALLOW = 1.0
"""Fall of the log density towards a neighbour below which two basins are one mode."""
LEAST = 0.1
FOUND = 0.02
SHARE = 0.1


class Few(nn.Module):
    """A generator whose latents are the first k of another's, the others 0."""

    def __init__(self, whole: nn.Module, k: int, of: int) -> None:
        super().__init__()
        self.whole, self.k, self.of = whole, k, of

    def forward(self, z: Tensor) -> Tensor:
        return self.whole(torch.cat([z, z.new_zeros(len(z), self.of - self.k)], 1))


def few(k: int, m: int | None, seed: int = 0) -> surfing.ForwardModel:
    """The packaged generator with k latents, and m Gaussian measurements; None for all pixels."""
    packaged = surfing.zoo.packaged()
    whole = generator_from_manifest(packaged.architecture, packaged[-1].state)
    whole.load_state_dict(dict(packaged[-1].state))
    net = Few(whole, k, packaged.latent.dim).eval()
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(k)
    )
    operator = None if m is None else f"gaussian:{m}"
    return surfing.ForwardModel(trajectory, generator=net, operator=operator, operator_seed=seed)


def measured(
    model: surfing.ForwardModel, targets: int, share: float, seed: int
) -> tuple[Tensor, Tensor, float]:
    """Truths, their noisy measurements, and the noise, a share of their spread."""
    truth = model.latent.sample(range(targets), 1, seed=seed + 31)[:, 0]
    y = model.measure(model.signals(truth))
    noise = share * float((y - y.mean(0)).square().mean().sqrt())
    stream = torch.Generator().manual_seed(seed)
    return truth, y + noise * torch.randn(y.shape, generator=stream), noise


def basins(log: Tensor) -> tuple[Tensor, Tensor]:
    """The basin of each cell of a grid, and the mass of each basin, heaviest first.

    Each cell leads to the highest of its neighbours. Basins between which the log density falls by
    less than SHALLOW from the lower peak are one.
    """
    side = log.shape[0]
    number = torch.arange(side * side).reshape(side, side)
    best, leads = log.clone(), number.clone()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            moved = torch.full_like(log, -torch.inf)
            index = number.clone()
            rows, columns = _inside(side, down), _inside(side, right)
            to = (slice(*rows[0]), slice(*columns[0]))
            of = (slice(*rows[1]), slice(*columns[1]))
            moved[to], index[to] = log[of], number[of]
            better = moved > best
            best, leads = torch.where(better, moved, best), torch.where(better, index, leads)
    leads = leads.flatten()
    for _ in range(20):
        leads = leads[leads]
    peaks, label = leads.unique(return_inverse=True)
    label = label.reshape(side, side)
    label = _merged(log, label, log.flatten()[peaks])
    mass = torch.zeros(int(label.max()) + 1, dtype=torch.float64)
    density = torch.softmax(log.flatten(), 0)
    mass.index_add_(0, label.flatten(), density)
    order = mass.argsort(descending=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    return rank[label], mass[order]


def _inside(side: int, shift: int) -> tuple[tuple[int, int], tuple[int, int]]:
    to = (max(0, -shift), side - max(0, shift))
    return to, (to[0] + shift, to[1] + shift)


def _merged(log: Tensor, label: Tensor, peak: Tensor) -> Tensor:
    """Join the pair with the shallowest saddle, until all are deep."""
    height = peak.tolist()
    beside: dict[int, dict[int, float]] = {number: {} for number in range(len(height))}
    for a, b, low in _borders(log, label):
        saddle = max(low, beside[a].get(b, -float("inf")))
        beside[a][b] = beside[b][a] = saddle
    into = list(range(len(height)))
    while True:
        depth, keep, gone = min(
            (
                (min(height[a], height[b]) - low, a, b)
                for a, near in beside.items()
                for b, low in near.items()
                if a < b
            ),
            default=(float("inf"), 0, 0),
        )
        if depth >= SHALLOW:
            break
        height[keep] = max(height[keep], height[gone])
        into[gone] = keep
        for other, low in beside.pop(gone).items():
            beside[other].pop(gone)
            if other != keep:
                low = max(low, beside[keep].get(other, -float("inf")))
                beside[keep][other] = beside[other][keep] = low
    for number in range(len(into)):
        while into[into[number]] != into[number]:
            into[number] = into[into[number]]
    return torch.tensor(into)[label].unique(return_inverse=True)[1].reshape(label.shape)


def _borders(log: Tensor, label: Tensor) -> list[tuple[int, int, float]]:
    found = []
    for one, two, f, g in (
        (label[1:], label[:-1], log[1:], log[:-1]),
        (label[:, 1:], label[:, :-1], log[:, 1:], log[:, :-1]),
    ):
        where = one != two
        low = torch.minimum(f[where], g[where])
        a, b = torch.minimum(one[where], two[where]), torch.maximum(one[where], two[where])
        key, index = torch.stack([a, b], 1).unique(dim=0, return_inverse=True)
        most = torch.full((len(key),), -torch.inf, dtype=low.dtype)
        most = most.scatter_reduce(0, index, low, "amax")
        found += [(int(k[0]), int(k[1]), float(v)) for k, v in zip(key, most)]
    return found


def exact(targets: int, *, m: int, share: float, draws: int, seed: int) -> dict[str, Any]:
    """Masses of modes with two latents, against the grid."""
    model = few(2, m, seed)
    _, y, noise = measured(model, targets, share, seed)
    line = torch.linspace(-REACH, REACH, SIDE)
    grid = torch.cartesian_prod(line, line)
    parts = [model.measure(model.signals(part)) for part in grid.split(4096)]
    image = torch.cat(parts).flatten(1).double()
    made = surfing.sample(model, y, noise=noise, draws=draws, seed=seed)
    prior = grid.double().square().sum(1) / -2
    cases = []
    for target in range(targets):
        gap = (image - y[target].flatten().double()).square().sum(1) / (2 * noise**2)
        label, mass = basins((prior - gap).reshape(SIDE, SIDE))
        deep = int((mass >= LEAST).sum())
        if deep < 2:
            continue
        cell = ((made.z[target] + REACH) / (2 * REACH) * (SIDE - 1)).round().long()
        cell = cell.clamp(0, SIDE - 1)
        share_of = torch.zeros_like(mass)
        share_of.index_add_(0, label[cell[:, 0], cell[:, 1]], made.weights[target])
        gap_of = (share_of - mass)[:deep].abs()
        cases.append(
            {
                "exact": mass[:deep].tolist(),
                "draws": share_of[:deep].tolist(),
                "found": bool((share_of[:deep] >= FOUND).all()),
                "gap": float(gap_of.max()),
                "ess": float(made.ess[target]),
            }
        )
    found, near = sum(c["found"] for c in cases), sum(c["gap"] <= 0.1 for c in cases)
    return {
        **{"targets": targets, "m": m, "noise_share": share, "draws": draws},
        "cases": len(cases),
        "found": [found, *wilson(found, len(cases))],
        "within": [near, *wilson(near, len(cases))],
        "gap": float(torch.tensor([c["gap"] for c in cases]).median()) if cases else None,
        "each": cases,
    }


def rival(
    model: surfing.ForwardModel, targets: int, *, share: float, quick: bool, seed: int
) -> dict[str, Any]:
    """The same targets by draws of ours and by HMC: seconds and costs for each effective draw."""
    _, y, noise = measured(model, targets, share, seed)
    began = time.perf_counter()
    ours = surfing.sample(model, y, noise=noise, draws=100, seed=seed)
    seconds = time.perf_counter() - began
    length = 20 if quick else 200
    # Chains begin at the best latents, which HMC gets for nothing: from draws of the law they end
    # in one local mode each.
    best = surfing.recover(model, y, noise=noise, prior="law", seed=seed).z
    chains = hamiltonian(
        model,
        y,
        noise,
        chains=4,
        warmup=length,
        iterations=length,
        start=best[:, None].repeat(1, 4, 1),
        seed=seed,
    )
    ess, split = effective_sizes(chains.z)
    pooled = chains.z.flatten(1, 2)
    std = pooled.std(1).clamp(min=1e-9)
    shift = ((ours.mean - pooled.mean(1)).abs() / std).amax(1)
    mixed = split < 1.05
    line: dict[str, Any] = {
        "targets": targets,
        "k": model.latent.dim,
        "m": int(torch.tensor(model.measurement_shape).prod()),
        "noise_share": share,
        "ours": {
            "ess": float(ours.ess.median()),
            "seconds": seconds,
            "cost": float(ours.cost.mean()) + ours.cost_once / targets,
        },
        "hmc": {
            "ess": float(ess.median()),
            "seconds": chains.seconds,
            "cost": chains.cost,
            "acceptance": chains.acceptance,
            "mixed": int(mixed.sum()),
            "rhat": [float(split.quantile(q)) for q in (0.1, 0.5, 0.9)],
        },
        "shift_where_mixed": float(shift[mixed].median()) if bool(mixed.any()) else None,
        "std_ratio_where_mixed": float((ours.std / std)[mixed].median())
        if bool(mixed.any())
        else None,
    }
    # Half of the chains' time is warm-up, which is there whatever is asked for.
    wanted = line["ours"]["ess"]
    equal = chains.seconds * (0.5 + 0.5 * wanted / max(line["hmc"]["ess"], 1e-9))
    line["seconds_ratio_at_equal_ess"] = equal / seconds
    line["cost_ratio_at_equal_ess"] = (
        chains.cost * (0.5 + 0.5 * wanted / max(line["hmc"]["ess"], 1e-9)) / line["ours"]["cost"]
    )
    return line


@app.default
def main(
    *,
    out: Path = Path("docs/records/calibration.json"),
    targets: int = 120,
    beside: int = 8,
    seed: int = 0,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure, and write into the record of `benchmarks.calibration`.

    Args:
        out: the record.
        targets: with two latents, against the grid; those with one mode are left aside.
        beside: with HMC beside.
        seed: of everything random.
        short: a few targets: shows that it runs.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    if short:
        targets, beside = 6, 2
    two = [
        exact(targets, m=m, share=SHARE, draws=draws, seed=seed)
        for m, draws in ((3, 100), (2, 100), (3, 400))[: 1 if short else 3]
    ]
    lines = [
        rival(model, beside, share=SHARE, quick=short, seed=seed)
        for model in (
            few(2, 3, seed),
            few(5, 8, seed),
            surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:20"),
            surfing.ForwardModel(surfing.zoo.packaged()),
        )[: 1 if short else 4]
    ]
    record = json.loads(out.read_text()) if out.is_file() else {"cells": {}}
    record |= {"two_modes": two, "rival": lines, "rival_provenance": provenance(seed, began=began)}
    write_record(out, record)
    for cell in two:
        print({name: value for name, value in cell.items() if name != "each"})
    for line in lines:
        print(line)
    return record


if __name__ == "__main__":
    app(result_action="return_none")

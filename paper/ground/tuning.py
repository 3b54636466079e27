"""Adam, direct and surfing, by step size: the part of the record that has every model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paper.ground.comparing import Cell, Pair, bound, first_found, mean_cost, slope_of_many
from paper.ground.model import MODELS
from paper.ground.tasks import DIRECT, RIDE

__all__ = ["Line", "Pooled", "by_rate", "picked", "place", "pooled", "total"]

Grid = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """One model, and what was measured of its signals.

    Attributes:
        model: its name.
        where: "all" pixels or "2k" measurements.
        run: number of the run.
        grids: by way, by step size: targets found and mean cost.
        rates: by way, the step size that was picked.
        targets: number of them.
        cells: by way, what was measured at that step size on other targets, where it was.
    """

    model: str
    where: str
    run: int
    grids: Mapping[str, Grid]
    rates: Mapping[str, float]
    targets: int
    cells: Mapping[str, Cell]

    def part(self, way: str, rate: float | None = None) -> Mapping[str, Any]:
        """Found and cost at a step size, the picked one where it is left out."""
        return self.grids[way][str(self.rates[way] if rate is None else rate)]

    def found(self, way: str, rate: float | None = None) -> Pair:
        """(found, targets): at a step size while it was chosen; else of other targets if any."""
        if rate is None and way in self.cells:
            return first_found(self.cells[way])
        return int(self.part(way, rate)["found"]), self.targets

    def cost(self, way: str) -> float:
        """Forward-equivalents of what `found` counts at the picked step size."""
        return mean_cost(self.cells[way]) if way in self.cells else self.part(way)["cost"]

    @property
    def smallest(self) -> list[str]:
        """Ways for which the smallest step size was the best."""
        return [
            way for way in (DIRECT, RIDE) if self.rates[way] == min(map(float, self.grids[way]))
        ]

    def restarts(self) -> tuple[str, float, tuple[float, float, float]]:
        """Of direct Adam for the ride's cost: step size, number, bound and interval."""
        return bound(self.grids[DIRECT], self.targets, self.cost(RIDE))


@dataclass(frozen=True)
class Pooled:
    """Several models together, at equal cost.

    Attributes:
        lines: of the models.
        direct: targets that one direct descent found, of all.
        ride: targets that the ride found, of all.
        restarts: share that restarts of direct Adam for the ride's cost find at most.
        difference: ride less restarts, and the ends of its 95% interval.
    """

    lines: Sequence[Line]
    direct: Pair
    ride: Pair
    restarts: float
    difference: tuple[float, float, float]

    @property
    def verdict(self) -> str:
        """Which of the two is ahead, where the interval tells."""
        _, low, high = self.difference
        return "ahead" if low > 0 else "behind" if high < 0 else "not told apart"


def pooled(lines: Sequence[Line]) -> Pooled:
    """The ride against the bound of restarts, the models counted alike.

    The interval is normal; each share's variance is that of a count with one success and one
    failure more, so that a share of 1 is not taken for certain.
    """
    gap, variance, most = 0.0, 0.0, 0.0
    for line in lines:
        size, number, (restarts, _, _) = line.restarts()
        alone = line.found(DIRECT, float(size))
        slope = slope_of_many(_shrunk(alone), number)
        gap += _share(line.found(RIDE)) - restarts
        variance += _variance(line.found(RIDE)) + slope**2 * _variance(alone)
        most += restarts
    models = len(lines)
    mean, half = gap / models, 1.96 * math.sqrt(variance) / models
    return Pooled(
        lines,
        total(line.found(DIRECT) for line in lines),
        total(line.found(RIDE) for line in lines),
        most / models,
        (mean, mean - half, mean + half),
    )


def _share(pair: Pair) -> float:
    return pair[0] / pair[1]


def _shrunk(pair: Pair) -> float:
    return (pair[0] + 1) / (pair[1] + 2)


def _variance(pair: Pair) -> float:
    share = _shrunk(pair)
    return share * (1 - share) / pair[1]


def total(pairs: Iterable[Pair]) -> Pair:
    """(found, targets) of several together."""
    found, targets = zip(*pairs)
    return sum(found), sum(targets)


def picked(record: Mapping[str, Any], *, again: bool = False) -> list[Line]:
    """Each model's lines in the order of the models.

    Args:
        record: of the ground.
        again: models that were trained and tuned a second time, rather than the first times.
    """
    seen: dict[str, Any] = {}
    second: dict[str, Any] = {}
    for entry in record["tuning"]:
        (second if entry["model"] in seen else seen).setdefault(entry["model"], entry)
    chosen: Mapping[str, Any] = second if again else seen
    return [
        _line(chosen[model], where, record.get("cells", ()))
        for where in ("all", "2k")
        for model in sorted(chosen, key=place)
        if model in MODELS
    ]


def place(model: str) -> tuple[str, int]:
    """Where a model stands in the tables: its kind, then its latents."""
    name, _, rest = model.partition("-k")
    order = ("vae", "dcgan", "wgan", "wgan-gp")
    return f"{order.index(name)}", int(rest.partition("-")[0])


def _line(entry: Mapping[str, Any], where: str, cells: Iterable[Cell]) -> Line:
    ways = (DIRECT, RIDE)
    _, k = place(entry["model"])
    task, m = ("table1", 0) if where == "all" else ("few", 2 * k)
    key = (entry["run"], entry["model"], task, m)
    fresh = {c["method"]: c for c in cells if (c["run"], c["model"], c["task"], c["m"]) == key}
    return Line(
        entry["model"],
        where,
        entry["run"],
        {way: entry["grid"][f"{way} {where}"] for way in ways},
        {way: entry["chosen"][f"{way} {where}"] for way in ways},
        entry["targets"],
        {way: fresh[way] for way in ways if way in fresh},
    )


def by_rate(lines: Sequence[Line], way: str, rate: float) -> tuple[Pair, float]:
    """All models at one step size: (found, targets), and the mean cost."""
    cost = sum(line.part(way, rate)["cost"] for line in lines) / len(lines)
    return total(line.found(way, rate) for line in lines), cost

"""Adam, direct and surfing, by step size: what chose the step sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paper.ground.comparing import Pair, total
from paper.ground.model import MODELS, place
from paper.ground.tasks import DIRECT, RIDE

__all__ = ["Line", "by_rate", "picked"]

Grid = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """One model, and what was measured of its signals.

    Attributes:
        model: its name.
        where: "all" pixels or "2k" measurements.
        grids: by way, by step size: targets found and mean cost.
        rates: by way, the step size that was picked.
        targets: number of them.
    """

    model: str
    where: str
    grids: Mapping[str, Grid]
    rates: Mapping[str, float]
    targets: int

    def part(self, way: str, rate: float | None = None) -> Mapping[str, Any]:
        """Found and cost at a step size, the picked one where it is left out."""
        return self.grids[way][str(self.rates[way] if rate is None else rate)]

    def found(self, way: str, rate: float | None = None) -> Pair:
        """(found, targets) at a step size."""
        return int(self.part(way, rate)["found"]), self.targets

    @property
    def smallest(self) -> list[str]:
        """Ways for which the smallest step size was the best."""
        return [
            way for way in (DIRECT, RIDE) if self.rates[way] == min(map(float, self.grids[way]))
        ]


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
        _line(chosen[model], where)
        for where in ("all", "2k")
        for model in sorted(chosen, key=place)
        if model in MODELS
    ]


def _line(entry: Mapping[str, Any], where: str) -> Line:
    ways = (DIRECT, RIDE)
    return Line(
        entry["model"],
        where,
        {way: entry["grid"][f"{way} {where}"] for way in ways},
        {way: entry["chosen"][f"{way} {where}"] for way in ways},
        entry["targets"],
    )


def by_rate(lines: Sequence[Line], way: str, rate: float) -> tuple[Pair, float]:
    """All models at one step size: (found, targets), and the mean cost."""
    cost = sum(line.part(way, rate)["cost"] for line in lines) / len(lines)
    return total(line.found(way, rate) for line in lines), cost

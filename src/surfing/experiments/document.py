"""What all experiments do alike: say what was run, and save what was drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surfing.experiments.record import provenance
from surfing.experiments.registry import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["document", "labelled", "save"]


def document(config: Any, results: Mapping[str, Any], **facts: Any) -> Record:
    """The record: configuration, provenance, results by part.

    Args:
        config: a frozen dataclass with a field `seed`.
        results: JSON values by part, each with the `seconds` that it took.
        **facts: anything else.
    """
    spent = sum(float(part.get("seconds", 0.0)) for part in results.values())
    return {
        **provenance(config.seed),
        "seconds": round(spent, 1),
        "config": dataclasses.asdict(config),
        **facts,
        "results": dict(results),
    }


def labelled(cell: str) -> str:
    """A cell for people: wgan-gp-k10 is WGAN-GP, k=10."""
    model, _, k = cell.rpartition("-k")
    return f"{model.upper()}, k={k}" if k.isdigit() else cell


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path

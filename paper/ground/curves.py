"""Figures 1, 3 and 4 on the ground: surfaces, success by measurements, held-out images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper.ground.comparing import Cell, all_in, first_found
from paper.ground.groups import latest, networks
from paper.ground.model import place
from paper.ground.pictures import along, cumulative, grid, saved, with_legend
from paper.ground.tasks import DIRECT, RIDE, WAYS
from paper.ground.text import drawn, either, labelled, measured
from surfing.report import Column, rate
from surfing.report.tables import count

__all__ = [
    "curves",
    "fewest",
    "held_out",
    "held_out_pictures",
    "measurements",
    "nearer",
    "surfaces",
    "thresholds",
]

Record = Mapping[str, Any]
_LEVEL = 0.05
"""Squared errors that differ by less are alike."""

Curves = Mapping[str, Mapping[str, Sequence[Cell]]]


def _by_model(record: Record, cells: Iterable[Cell]) -> Curves:
    """Cells by model and way; of a model that was trained again the later ones."""
    found: dict[str, dict[str, list[Cell]]] = {}
    for cell in sorted(latest(record, cells), key=_order):
        found.setdefault(cell["model"], {}).setdefault(cell["method"], []).append(cell)
    return found


def _order(cell: Cell) -> tuple[Any, ...]:
    return place(cell["model"]), WAYS.index(cell["method"]), cell["m"]


def _points(record: Record) -> Curves:
    """Figure 3: its own cells, and those of 2k and 4k by the same ways on the same networks."""
    own = [cell for cell in record["cells"] if cell["task"] == "fig3"]
    there = {(networks(record, cell), cell["model"]) for cell in own}
    ways = {cell["method"] for cell in own}
    few = [
        cell
        for cell in record["cells"]
        if cell["task"] == "few"
        and cell["method"] in ways
        and (networks(record, cell), cell["model"]) in there
    ]
    return _by_model(record, [*few, *own])


def fewest(cells: Sequence[Cell], share: float) -> int | None:
    """The least m that was tried from which on at least this share is found."""
    enough = None
    for cell in sorted(cells, key=lambda c: c["m"], reverse=True):
        found, targets = first_found(cell)
        if found < share * targets:
            break
        enough = cell["m"]
    return enough


def curves(record: Record) -> Iterator[str]:
    """Figure 3's tables: a line a way, a column a number of measurements."""
    for model, ways in _points(record).items():
        counts = sorted({cell["m"] for cells in ways.values() for cell in cells})
        rows = tuple(_row(name, cells) for name, cells in ways.items())
        columns = [
            Column("way", "way", right=False),
            *(Column(f"{m}", f"{m}") for m in counts),
            Column("half", "m for 50%"),
            Column("most", "m for 90%"),
        ]
        targets = either(cell["targets"] for cells in ways.values() for cell in cells)
        note = (
            f"{targets} targets a point, one start; found, and cost in forward-equivalents. m for: "
            "the least that was tried from which on at least so many are found. A dash: not "
            "measured."
        )
        head = f"**Found by number of Gaussian measurements: {labelled(model)}**"
        yield f"{head}\n\n{drawn(columns, rows, note)}"


def thresholds(record: Record) -> Iterator[str]:
    """For the top of the page: the fewest measurements of direct Adam and of the ride."""
    told = []
    for model, ways in _points(record).items():
        if {DIRECT, RIDE} <= set(ways):
            both = set.intersection(*({c["m"] for c in ways[way]} for way in (RIDE, DIRECT)))
            cells = {way: [c for c in ways[way] if c["m"] in both] for way in (RIDE, DIRECT)}
            half, most = (
                " against ".join(_least(fewest(cells[way], share)) for way in (RIDE, DIRECT))
                for share in (0.5, 0.9)
            )
            told.append(f"{labelled(model)}: half {half}, 90% {most}")
    if told:
        yield (
            "**Fewest Gaussian measurements** from which on half and 90% are found, of those that "
            "both were tried with, "
            f"Adam surfing against direct Adam: {'; '.join(told)}."
        )


def _least(m: int | None) -> str:
    return "none" if m is None else str(m)


def held_out_pictures(record: Record, out: Path) -> list[Path]:
    """Figure 4: cumulative shares of the images by their error."""
    panels = {
        f"{labelled(model)}, {measured(m)}": [
            cell for cells in ways.values() for cell in cells if cell["m"] == m
        ]
        for m in sorted({cell["m"] for cell in record["cells"] if cell["task"] == "fig4"})
        for model, ways in _held_out(record).items()
    }
    label = "mean squared error per pixel"
    path = out / "ground-fig4.png"
    return [cumulative(panels, path, key="pixel_error", label=label, mark=None)] if panels else []


def _held_out(record: Record) -> Curves:
    return _by_model(record, [cell for cell in record["cells"] if cell["task"] == "fig4"])


def held_out(record: Record) -> Iterator[str]:
    """Figure 4's table: how near each way comes to images that no network saw."""
    models = _held_out(record)
    if not models:
        return
    counts = sorted({c["m"] for ways in models.values() for cells in ways.values() for c in cells})
    rows = tuple(
        {"model": labelled(model), "way": way}
        | {str(cell["m"]): f"{_typical(cell):.4f} at {count(all_in(cell))}" for cell in cells}
        for model, ways in models.items()
        for way, cells in ways.items()
    )
    columns = [
        Column("model", "model", right=False),
        Column("way", "way", right=False),
        *(Column(str(m), measured(m)) for m in counts),
    ]
    images = max(c["targets"] for ways in models.values() for cells in ways.values() for c in cells)
    note = (
        f"{images} images of the test set, one start but for recover: mean squared error per "
        "pixel (values in [0, 1]), median over the images, and forward-equivalents."
    )
    yield "**Images that no network saw**\n\n" + drawn(columns, rows, note)


def nearer(record: Record) -> Iterator[str]:
    """For the top of the page: on how many images the ride comes nearer than direct Adam."""
    ratios: dict[int, list[float]] = {}
    models = [ways for ways in _held_out(record).values() if {DIRECT, RIDE} <= set(ways)]
    for ways in models:
        alone = {cell["m"]: cell["pixel_error"] for cell in ways[DIRECT]}
        for cell in ways[RIDE]:
            pairs = zip(cell["pixel_error"], alone.get(cell["m"], ()))
            ratios.setdefault(cell["m"], []).extend(a[0] / b[0] for a, b in pairs)
    told = [
        f"{measured(m)}: nearer on {sum(r < 1 - _LEVEL for r in part)} of {len(part)}, less near "
        f"on {sum(r > 1 + _LEVEL for r in part)}"
        for m, part in sorted(ratios.items())
    ]
    if told:
        yield (
            f"**Images that no network saw**, {len(models)} models together, Adam surfing against "
            f"direct Adam by their squared errors, a difference of {_LEVEL:.0%} at least: "
            f"{'; '.join(told)}."
        )


def _typical(cell: Cell) -> float:
    return float(median(row[0] for row in cell["pixel_error"]))


def _row(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    points = {f"{c['m']}": f"{rate(first_found(c))}, {count(all_in(c))}" for c in cells}
    least = {"half": fewest(cells, 0.5), "most": fewest(cells, 0.9)}
    told = {key: _least(m) for key, m in least.items()}
    return {"way": name} | points | told


def measurements(record: Record, out: Path) -> list[Path]:
    """Figure 3: a panel a model."""
    models = _points(record)
    if not models:
        return []
    figure, axes = grid(len(models))
    for ax, (model, ways) in zip(axes, models.items()):
        points = {
            way: sorted((cell["m"], first_found(cell)) for cell in cells)
            for way, cells in ways.items()
        }
        along(ax, points, ticks=sorted({m for part in points.values() for m, _ in part}))
        ax.set_title(labelled(model), fontsize=8, loc="left")
        ax.set_xlabel("Gaussian measurements", fontsize=8)
    return [with_legend(figure, axes, out / "ground-fig3.png")]


def surfaces(record: Record, out: Path) -> list[Path]:
    """Figure 1: the risk of two targets on the plane of z, the ride so far, the direct descent."""
    last = {part["model"]: part for part in record.get("surfaces", ())}
    return [_surfaces(part, out / f"ground-fig1-{model}.png") for model, part in last.items()]


def _surfaces(part: Record, path: Path) -> Path:
    panels = part["panels"]
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    axes = figure.subplots(2, len(panels), sharex=True, sharey=True)
    for column, panel in enumerate(panels):
        for target, ax in enumerate(axes[:, column]):
            _surface(ax, part, panel, target)
        axes[0, column].set_title(f"training step {panel['step']}", fontsize=8)
    for target, ax in enumerate(axes[:, -1]):
        ax.plot(*part["direct"][target], "s", color="#0072b2", ms=6, mfc="none", mew=1.6)
    told = (
        f"{labelled(part['model'])}: risk of two targets (a line each), dark is low. Cross: the "
        f"latent; line and dot: Adam surfing so far;\nsquare: Adam direct from the same start. Of "
        f"{part['tried']} targets only surfing found {part['only_ride']}, only direct "
        f"{part['only_direct']}; shown are the first two"
        + (f" of the {part['only_ride']}." if part["only_ride"] > 1 else ".")
    )
    figure.suptitle(told, fontsize=8.5, x=0.01, ha="left")
    return saved(figure, path)


def _surface(ax: Any, part: Record, panel: Record, target: int) -> None:
    line = np.linspace(-part["width"], part["width"], len(panel["risk"][target]))
    height = np.log10(np.maximum(np.asarray(panel["risk"][target]), 1e-6)).T
    # Closer together where the risk is low: that is where minima lie.
    levels = np.unique(np.quantile(height, np.linspace(0, 1, 24) ** 2))
    if len(levels) > 2:
        ax.contourf(line, line, height, levels=levels, cmap="bone")
    path = np.asarray([z[target] for z in part["path"][: panel["stage"] + 1]])
    ax.plot(path[:, 0], path[:, 1], color="#e2a03f", lw=1.2)
    ax.plot(*path[-1], "o", color="#c44536", ms=5)
    ax.plot(*part["truth"][target], "x", color="white", ms=7, mew=2)
    ax.set(aspect="equal", xlim=line[[0, -1]], ylim=line[[0, -1]])
    ax.tick_params(labelsize=6)

"""The section of the results page: what was measured on the paper's ground, and what was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.ground.ages import ages, by_age, from_end_to_end
from paper.ground.by_model import tables
from paper.ground.comparing import Cell, Pair, first_found, total
from paper.ground.cost import AT_COST, COST_CAPTION, success_at_cost
from paper.ground.curves import (
    curves,
    held_out,
    held_out_pictures,
    measurements,
    nearer,
    surfaces,
    thresholds,
)
from paper.ground.glance import against_direct, glance, second_order
from paper.ground.groups import MAIN, groups
from paper.ground.model import parts_of
from paper.ground.paths import paths
from paper.ground.pictures import cumulative, found_by_model
from paper.ground.tables import rest
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.text import drawn, labelled
from paper.ground.tuning import Line, by_rate, picked
from paper.ground.wave import draw, wave
from surfing.report import Column, rate
from surfing.report.tables import count

__all__ = [
    "AT_COST",
    "against_direct",
    "caption",
    "figures",
    "glance",
    "in_short",
    "made_by",
    "markdown",
    "second_order",
]

Record = Mapping[str, Any]

_COMMON = 0.02
"""A step size of both ways on all models."""
_SIGNALS = {"all": "all pixels", "2k": "2k Gaussian"}
_SAMPLES = "ground-samples.png"
_CAPTIONS = {
    "cost": COST_CAPTION,
    "samples": "Samples of each model, taken as they come.",
    "found": "Latents found, model by model, with 95% intervals.",
    "distances": "Figure 2: how far from the truth each way ends, on the models with k = 20.",
    "fig3": "Figure 3: latents found against the number of Gaussian measurements.",
    "fig4": "Figure 4: how near each way comes to images that no network saw.",
    "fig1": "Figure 1: the surface as it is learned, and the surfer on it.",
    "ages": "Latents found by the length of the training and by the width, one training of each.",
    "wave": "Targets near the truth's own minimiser, network by network.",
}


def made_by(record: Record) -> str:
    """Where its runs stand, and how they became one record."""
    return (
        f"{len(record['runs'])} runs of `python -m paper.ground`, in the last table of this "
        "section; their zips read by `python -m paper.ground.reading ZIP... --samples PICTURE` "
        f"into `docs/records/ground.json`, seed {record['seed']}."
    )


def _runs(record: Record) -> str:
    """The commands, machines and times."""
    rows = [
        {
            "run": str(number),
            "date": run["date"],
            "machine": run["machine"].get("cuda") or "CPU, a thread a model",
            "surfing": run["versions"]["surfing"],
            "torch": run["versions"]["torch"],
            "seconds": count(run["seconds"]),
            "command": f"`{run['command']}`",
        }
        for number, run in enumerate(record["runs"])
    ]
    columns = [
        Column("run", "run"),
        *(Column(key, key, right=False) for key in ("date", "machine", "surfing", "torch")),
        Column("seconds", "seconds"),
        Column("command", "`python -m paper.ground` and", right=False),
    ]
    note = (
        "KEPT is the folder of an earlier run's networks; `--data` and `--out` are left out. What "
        "options mean is what they meant on that day."
    )
    return f"**The runs**\n\n{drawn(columns, rows, note)}"


def figures(record: Record, out: Path) -> list[Path]:
    """Pictures from the record, and the samples that its reading drew."""
    makers = (success_at_cost, measurements, held_out_pictures, surfaces, by_age)
    pictures = [path for make in makers for path in make(record, out)]
    if shares := _shares(record):
        pictures.insert(0, found_by_model(shares, out / "ground-found.png"))
    if panels := _distances(record):
        pictures.append(cumulative(panels, out / "ground-distances.png"))
    if drawing := draw(record, out / "ground-wave.png"):
        pictures.append(drawing)
    samples = out / _SAMPLES
    return [*pictures, samples] if samples.is_file() else pictures


def _shares(record: Record) -> dict[str, dict[str, dict[str, Pair]]]:
    """(found, targets) by what is measured, the fewest first, way and model."""
    return {
        group.what: {
            way: {model: first_found(cell) for model, cell in cells.items()}
            for way in MAIN
            if (cells := group.of(way))
        }
        for group in sorted(groups(record), key=lambda group: (group.what[0] != "m", group.what))
    }


def _distances(record: Record) -> dict[str, list[Cell]]:
    """All ways on the models with the most latents of which all main ways were measured."""
    panels = {}
    for group in groups(record):
        models, _ = group.together()
        for model in models:
            if parts_of(model).latents == max(parts_of(m).latents for m in models):
                cells = [cell for way in group.ways if (cell := group.of(way).get(model))]
                panels[f"{labelled(model)}, {group.what}"] = cells
    return panels


def caption(name: str) -> str:
    """What stands under a picture, by the name of its file."""
    return next(said for kind, said in _CAPTIONS.items() if name.startswith(f"ground-{kind}"))


def markdown(record: Record, shown: Mapping[str, str] | None = None) -> str:
    """All of it.

    Args:
        record: of the ground.
        shown: by file name, what shows a picture; those that are missing are left out.
    """

    def pictures(kind: str) -> list[str]:
        there = [line for name, line in (shown or {}).items() if name.startswith(f"ground-{kind}")]
        return [*there, f"*{_CAPTIONS[kind]}*"] if there else []

    parts = [
        _ground(record), *pictures("samples"), *pictures("found"), *tables(record),
        *pictures("distances"), *curves(record), *pictures("fig3"), *held_out(record),
        *pictures("fig4"), *pictures("fig1"), *ages(record), *pictures("ages"), wave(record),
        *pictures("wave"), *paths(record), rest(record), _step_sizes(record), _runs(record),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def in_short(record: Record) -> list[str]:
    """Sentences for the top of the page, losses beside wins."""
    return [*thresholds(record), *nearer(record), *from_end_to_end(record), _at_any_size(record)]


def _at_any_size(record: Record) -> str:
    """All models at a step size that nothing chose."""
    lines = [line for line in picked(record) if line.model != "vae-k2"]
    said = [_at_one_size([w for w in lines if w.where == where]) for where in _SIGNALS]
    return (
        f"Direct Adam and Adam surfing at one step size, {_COMMON}, on all {len(lines) // 2} "
        f"models, on the {lines[0].targets} targets of each that chose step sizes, "
        f"{count(record['runs'][0]['plan']['tuning_cap'])} steps at most: {'; '.join(said)}."
    )


def _at_one_size(lines: Sequence[Line]) -> str:
    alone, alone_cost = by_rate(lines, DIRECT, _COMMON)
    ride, ride_cost = by_rate(lines, RIDE, _COMMON)
    return (
        f"{_SIGNALS[lines[0].where]} {rate(alone)} (cost {count(alone_cost)}) and {rate(ride)} "
        f"({count(ride_cost)})"
    )


def _ground(record: Record) -> str:
    first = record["runs"][0]
    sizes, plan = first["sizes"], first["plan"]
    until = plan["until"]
    return (
        f"The layout of the paper's networks at full size [reconstructed]: {sizes['hidden']} "
        f"units, then 128 and {sizes['width']} channels; {sizes['steps']:,} training steps and a "
        f"network every {sizes['every']} of them; latents uniform on [-1, 1]^k, the VAE's normal. "
        f"Found: ||z - z*|| < .01. Adam surfing takes {plan['stage_steps']} steps at each network; "
        f"at the last one both ways go on until the lowest risk falls by less than "
        f"{until['tolerance']:.0%} in {until['patience']} steps, {until['cap']:,} steps at most "
        f"({plan['tuning_cap']:,} while step sizes are chosen). Its step sizes were chosen on "
        "other targets, with all pixels and with 2k measurements, which serves for any number; for "
        "the tables by model on another training of each. Cost: "
        "forward-equivalents a target. "
        "The tables below this section are those of the first release's ground: "
        "networks a tenth as wide, trained three times as long, Adam cut off."
    ).replace(",000", " 000")


def _step_sizes(record: Record) -> str:
    lines = picked(record)
    rows = tuple(_step_size_row(line) for line in lines)
    columns = [
        Column("model", "model", right=False),
        Column("where", "measured", right=False),
        *(Column(f"{way}{part}", f"{way}{told}") for way in (DIRECT, RIDE)
          for part, told in (("", ""), ("_at", ": step size, cost"))),
    ]  # fmt: skip
    note = (
        f"One start each. The step size is the best of "
        f"{', '.join(map(str, record['runs'][0]['plan']['rates']))} for each way on these "
        f"{lines[0].targets} targets, whose share is a little too high therefore; all tables above "
        f"have others. The smallest step size was the best in {_smallest(lines)} of "
        f"{2 * len(lines)} cases: there a smaller one might find more. {_again(record)}"
    )
    whole = drawn(columns, rows, note)
    return f"**What chose Adam's step sizes**\n\n{whole}"


def _step_size_row(line: Line) -> dict[str, Any]:
    told: dict[str, Any] = {"model": labelled(line.model), "where": _SIGNALS[line.where]}
    for way in (DIRECT, RIDE):
        told[way] = rate(line.found(way))
        told[f"{way}_at"] = f"{line.rates[way]}, {count(line.part(way)['cost'])}"
    return told


def _smallest(lines: Sequence[Line]) -> int:
    return sum(len(line.smallest) for line in lines)


def _again(record: Record) -> str:
    """Models that were trained a second time: the same numbers once more."""
    lines = [w for w in picked(record, again=True) if w.model != "vae-k2"]
    told = [
        f"{_SIGNALS[where]} {_together(group, DIRECT)} and {_together(group, RIDE)}"
        for where in _SIGNALS
        if (group := [w for w in lines if w.where == where])
    ]
    if not told:
        return ""
    models = len({w.model for w in lines})
    return f"A second training of {models} of the models, together: {'; '.join(told)}."


def _together(lines: Sequence[Line], way: str) -> str:
    return rate(total(line.found(way) for line in lines))

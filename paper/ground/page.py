"""The section of the results page: what was measured on the paper's ground, and what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.ground.by_model import others, sentences, tables, two
from paper.ground.comparing import all_in, disjoint, first_found
from paper.ground.curves import curves, measurements, surfaces
from paper.ground.paths import paths
from paper.ground.pictures import distances, found_by_model, labelled
from paper.ground.tables import MANY, ages, few, whole
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.tuning import Line, Pooled, by_rate, picked, pooled, total
from paper.ground.wave import draw, wave
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["figures", "in_short", "made_by", "markdown"]

Record = Mapping[str, Any]
Cell = Mapping[str, Any]

_COMMON = 0.02
"""A step size of both ways on all models, so that nothing is picked on what is told."""
_SIGNALS = {"all": "all pixels", "2k": "2k Gaussian"}
_SAMPLES = "ground-samples.png"


def made_by(record: Record) -> str:
    """The commands, machines and times."""
    runs = "; ".join(
        f"`python -m paper.ground {run['command']}` ({run['date']}, "
        f"{run['machine'].get('cuda') or 'CPU, one thread'}, torch {run['versions']['torch']}, "
        f"{count(run['seconds'])} s)"
        for run in record["runs"]
    )
    return (
        f"{runs}; the zips of these runs read by `python -m paper.ground.reading ZIP... "
        f"--samples PICTURE` into `docs/records/ground.json`, seed {record['seed']}."
    )


def figures(record: Record, out: Path) -> list[Path]:
    """Pictures from the record, and the samples that its reading drew."""
    drawn = [found_by_model(record, out / "ground-adam.png"), *measurements(record, out),
             *surfaces(record, out)]  # fmt: skip
    if panels := _panels(record):
        drawn.append(distances(panels, out / "ground-distances.png"))
    if drawing := draw(record, out / "ground-wave.png"):
        drawn.append(drawing)
    samples = out / _SAMPLES
    return [*drawn, samples] if samples.is_file() else drawn


def _panels(record: Record) -> dict[str, list[Cell]]:
    """Cells of one model and number of measurements, where Adam and LM both stand."""
    groups: dict[str, list[Cell]] = {}
    for cell in others(record):
        if "error" in cell:
            what = f"m = {cell['m']}" if cell["m"] else "all pixels"
            title = f"{labelled(cell['model'])}, {what}, {cell['targets']} targets"
            groups.setdefault(title, []).append(cell)
    return {title: cells for title, cells in groups.items()
            if len({c["method"] for c in cells}) >= MANY}  # fmt: skip


def markdown(record: Record) -> str:
    """All of it."""
    parts = [_ground(record), _step_sizes(record), *tables(record), whole(record), *few(record),
             *curves(record), *paths(record), wave(record), *ages(record)]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def in_short(record: Record) -> list[str]:
    """Sentences for the top of the page, losses beside wins."""
    lines = [line for line in picked(record) if line.model != "vae-k2"]
    said = [_at_one_size([w for w in lines if w.where == where]) for where in _SIGNALS]
    verdicts = [_verdicts([w for w in lines if w.where == where]) for where in _SIGNALS]
    costs = [
        f"{_SIGNALS[where]}, k={k} {_difference(pooled(group))}"
        for where, k, group in _adversarial(lines)
    ]
    return [
        f"**On the paper's ground**, {len(lines) // 2} models at full size, a network every 40 of "
        f"4 000 steps, Adam until it converges, {lines[0].targets} targets each: direct Adam and "
        f"Adam surfing at step size {_COMMON}, {'; '.join(said)}.",
        f"On that ground, each way at its best step size, on other targets where these were "
        f"measured: {'; '.join(verdicts)}. {_mastered(lines)}",
        "On that ground **at equal cost**, Adam surfing less the most that restarts of direct Adam "
        f"can find, the three GANs pooled: {'; '.join(costs)}.",
        *sentences(record),
        *_scarce(record),
    ]


def _mastered(lines: Sequence[Line]) -> str:
    """Where the ride finds nearly all, on targets that chose nothing."""
    fresh = [w for w in lines if w.where == "all" and RIDE in w.cells]
    if not fresh:
        return ""
    most = sum(found >= 0.95 * targets for found, targets in (w.found(RIDE) for w in fresh))
    lowest = min(fresh, key=lambda w: w.found(RIDE)[0] / w.found(RIDE)[1])
    return (
        f"All pixels, {fresh[0].found(RIDE)[1]} targets that chose no step size: Adam surfing "
        f"finds at least 95% on {most} of {len(fresh)}, least on {labelled(lowest.model)}, "
        f"{rate(lowest.found(RIDE))}."
    )


def _scarce(record: Record) -> list[str]:
    """Every way on few measurements, one start each; of runs of one way the last."""
    groups: dict[str, dict[str, str]] = {}
    for cell in others(record):
        if cell["task"] == "few":
            what = f"{labelled(cell['model'])}, m={cell['m']}, {cell['targets']} targets"
            told = f"{cell['method']} {rate(first_found(cell))} at {count(all_in(cell))}"
            groups.setdefault(what, {})[cell["method"]] = told
    return [f"On that ground, {what}, one start each, found and cost: {'; '.join(told.values())}."
            for what, told in groups.items() if len(told) >= MANY]  # fmt: skip


def _at_one_size(lines: Sequence[Line]) -> str:
    alone, alone_cost = by_rate(lines, DIRECT, _COMMON)
    ride, ride_cost = by_rate(lines, RIDE, _COMMON)
    return (
        f"{_SIGNALS[lines[0].where]} {rate(alone)} (cost {count(alone_cost)}) and {rate(ride)} "
        f"({count(ride_cost)})"
    )


def _verdicts(lines: Sequence[Line]) -> str:
    clear = Counter(disjoint(w.found(RIDE), w.found(DIRECT)) for w in lines)
    above = sum(w.found(RIDE)[0] > w.found(DIRECT)[0] for w in lines)
    below = sum(w.found(RIDE)[0] < w.found(DIRECT)[0] for w in lines)
    return (
        f"{_SIGNALS[lines[0].where]}, surfing is above direct Adam on {above} of {len(lines)} "
        f"({clear['ahead']} with disjoint 95% intervals), below on {below} ({clear['behind']})"
    )


def _adversarial(lines: Sequence[Line]) -> Iterator[tuple[str, int, list[Line]]]:
    """The GANs by signal and number of latents."""
    for where in _SIGNALS:
        for k in (5, 10, 20):
            group = [
                w
                for w in lines
                if w.where == where and "gan" in w.model and w.model.endswith(f"-k{k}")
            ]
            if group:
                yield where, k, group


def _difference(held: Pooled) -> str:
    mean, low, high = held.difference
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] ({held.verdict})"


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
        f"{until['tolerance']:.0%} in {until['patience']} steps, {plan['tuning_cap']:,} steps at "
        f"most in the first table and {until['cap']:,} in the others. Cost: forward-equivalents "
        "a target. The tables below this section are those of the first release's ground: "
        "networks a tenth as wide, trained three times as long, Adam cut off."
    ).replace(",000", " 000")


def _step_sizes(record: Record) -> str:
    lines = picked(record)
    rows = tuple(_step_size_row(line) for line in lines)
    columns = [
        Column("model", "model", right=False),
        Column("where", "measured", right=False),
        Column("alone", "direct Adam"),
        Column("alone_at", "step size, cost"),
        Column("ride", "Adam surfing"),
        Column("ride_at", "step size, cost"),
        Column("restarts", "restarts of direct Adam for this cost find at most"),
    ]
    note = (
        f"One start each. The step size is the best of "
        f"{', '.join(map(str, record['runs'][0]['plan']['rates']))} for each way on "
        f"{lines[0].targets} targets. Where more were measured, the share is of others and their "
        f"number stands beside it; else it is of **these very {lines[0].targets}**, a little too "
        "high, which is in favour of direct Adam wherever the ride has a number. R restarts that "
        "each find a share p find at most 1 - (1 - p)^R, here at the step size where that is "
        "highest; with so few targets hardly a line alone tells the ride from them. A mean cost "
        f"near {count(3 * record['tuning'][0]['cap'])} means that most direct descents ended at "
        "the cap. The smallest "
        f"step size was the best in {_smallest(lines)} of {2 * len(lines)} cases: there a smaller "
        f"one might find more. {_again(record)}"
    )
    whole = Table("", columns, rows, (note,)).markdown()
    return f"**Adam, direct and surfing, on all models**\n\n{whole}\n\n{_at_equal_cost(lines)}"


def _at_equal_cost(lines: Sequence[Line]) -> str:
    """The GANs together, whose three lines tell what one does not."""
    rows = []
    for where, k, group in _adversarial(lines):
        held = pooled(group)
        rows.append({
            "what": f"{len(group)} GANs, k={k}, {_SIGNALS[where]}",
            "alone": rate(held.direct),
            "ride": rate(held.ride),
            "restarts": two(held.restarts),
            "difference": _difference(held),
        })  # fmt: skip
    columns = [
        Column("what", "models", right=False),
        Column("alone", "direct Adam"),
        Column("ride", "Adam surfing"),
        Column("restarts", "restarts for this cost, at most"),
        Column("difference", "surfing less restarts", right=False),
    ]
    note = (
        "The lines above, the models of a kind together; the difference with its normal 95% "
        "interval, each share's variance from its own count."
    )
    head = "**Adam surfing and restarts of direct Adam at equal cost**"
    return f"{head}\n\n{Table('', columns, tuple(rows), (note,)).markdown()}"


def _step_size_row(line: Line) -> dict[str, Any]:
    size, number, (share, low, high) = line.restarts()
    return {
        "model": labelled(line.model),
        "where": _SIGNALS[line.where],
        "alone": _of_targets(line, DIRECT),
        "alone_at": f"{line.rates[DIRECT]}, {count(line.cost(DIRECT))}",
        "ride": _of_targets(line, RIDE),
        "ride_at": f"{line.rates[RIDE]}, {count(line.cost(RIDE))}",
        "restarts": f"{_share(share, low, high)} ({number:.1f} at {size})",
    }


def _of_targets(line: Line, way: str) -> str:
    found, targets = line.found(way)
    return rate((found, targets)) + (f" ({targets})" if way in line.cells else "")


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


def _share(*values: float) -> str:
    share, low, high = map(two, values)
    return f"{share} [{low}, {high}]"

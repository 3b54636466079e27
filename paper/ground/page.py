"""The section of the results page: what was measured on the paper's ground, and what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.ground.comparing import (
    AtCost,
    any_found,
    at_equal_cost,
    disjoint,
    first_found,
    mean_cost,
    sign_test,
)
from paper.ground.model import MODELS
from paper.ground.pictures import distances, found_by_model, labelled
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.tuning import Line, Pooled, by_rate, picked, pooled
from paper.ground.ways import LM
from surfing.report import Column, Table, rate
from surfing.report.tables import count

__all__ = ["figures", "in_short", "made_by", "markdown"]

Record = Mapping[str, Any]
Cell = Mapping[str, Any]

_COMMON = 0.02
"""A step size of both ways on all models, so that nothing is picked on what is told."""
_SIGNALS = {"all": "all pixels", "2k": "2k Gaussian"}
_WAYS = (DIRECT, RIDE, *LM)
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
    drawn = [found_by_model(record, out / "ground-adam.png")]
    if panels := _panels(record):
        drawn.append(distances(panels, out / "ground-distances.png"))
    samples = out / _SAMPLES
    return [*drawn, samples] if samples.is_file() else drawn


def _panels(record: Record) -> dict[str, list[Cell]]:
    """Cells of one model and number of measurements, where Adam and LM both stand."""
    groups: dict[str, list[Cell]] = {}
    for cell in record["cells"]:
        if "error" in cell and cell["task"] in ("table1", "few"):
            what = f"m = {cell['m']}" if cell["m"] else "all pixels"
            title = f"{labelled(cell['model'])}, {what}, {cell['targets']} targets"
            groups.setdefault(title, []).append(cell)
    return {title: cells for title, cells in groups.items()
            if len({c["method"] for c in cells}) >= 4}  # fmt: skip


def markdown(record: Record) -> str:
    """All of it."""
    parts = [_ground(record), _step_sizes(record), _whole(record), *_few(record), *_ages(record)]
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
        f"On that ground, each way at its best step size: {'; '.join(verdicts)}.",
        "On that ground **at equal cost**, Adam surfing less the most that restarts of direct Adam "
        f"can find, the three GANs pooled: {'; '.join(costs)}.",
    ]


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
        f"{lines[0].targets} targets a model, one start each; the step size is the best of "
        f"{', '.join(map(str, record['runs'][0]['plan']['rates']))} for each way **on these very "
        "targets**, so both columns are a little too high, by the same effort. R restarts that "
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
            "restarts": f"{held.restarts:.2f}".removeprefix("0"),
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
        "alone": rate(line.found(DIRECT)),
        "alone_at": f"{line.rates[DIRECT]}, {count(line.part(DIRECT)['cost'])}",
        "ride": rate(line.found(RIDE)),
        "ride_at": f"{line.rates[RIDE]}, {count(line.part(RIDE)['cost'])}",
        "restarts": f"{_share(share, low, high)} ({number:.1f} at {size})",
    }


def _smallest(lines: Sequence[Line]) -> int:
    return sum(len(line.smallest) for line in lines)


def _again(record: Record) -> str:
    """Models that were trained a second time: the same numbers once more."""
    told = [
        f"{labelled(w.model)}, {_SIGNALS[w.where]} {rate(w.found(DIRECT))} and "
        f"{rate(w.found(RIDE))}"
        for w in picked(record, again=True)
    ]
    return f"Trained and measured a second time: {'; '.join(told)}." if told else ""


def _share(*values: float) -> str:
    share, low, high = (f"{v:.2f}".removeprefix("0") for v in values)
    return f"{share} [{low}, {high}]"


def _whole(record: Record) -> str:
    """Table 1 as far as it was measured."""
    cells = [c for c in record["cells"] if c["task"] == "table1"]
    if not cells:
        return ""
    order = {
        model: place for place, model in enumerate(sorted({c["model"] for c in cells}, key=_by))
    }
    cells.sort(key=lambda c: (c["run"], order[c["model"]], _WAYS.index(c["method"])))
    rows = tuple(_cell_row(cell) for cell in cells)
    note = (
        f"One start each; where several were run, the last column takes the start with the lowest "
        f"residual. {_missing(record, len(cells))} {_equal_costs(cells)}"
    )
    return "**Table 1, all pixels, as far as it was measured**\n\n" + _table(rows, note)


def _by(model: str) -> tuple[str, int]:
    name, _, k = model.rpartition("-k")
    return str(("vae", "dcgan", "wgan", "wgan-gp").index(name)), int(k)


def _table(rows: tuple[dict[str, Any], ...], note: str) -> str:
    columns = [
        Column("model", "model", right=False),
        Column("method", "way", right=False),
        Column("found", "found"),
        Column("rate", "step size"),
        Column("steps", "steps, third quartile"),
        Column("cost", "cost", count),
        Column("many", "best of so many starts"),
    ]
    return Table("", columns, rows, (note,)).markdown()


def _cell_row(cell: Cell) -> dict[str, Any]:
    once = cell.get("cost_once") or 0.0
    steps = cell.get("steps_quartiles")
    capped = f" ({cell['capped']} at the cap)" if cell.get("capped") else ""
    many = f"{cell['starts']}: {rate(any_found(cell))}" if cell["starts"] > 1 else "–"
    return {
        "model": labelled(cell["model"]),
        "method": cell["method"],
        "found": rate(first_found(cell)),
        "rate": str(cell.get("rate", "–")),
        "steps": f"{count(steps[2])}{capped}" if steps else "–",
        "cost": mean_cost(cell) + once / cell["targets"],
        "many": many,
    }


def _missing(record: Record, there: int) -> str:
    """How many cells of the table are not there, and why."""
    lacking: Counter[str] = Counter()
    for line in record["missing"]:
        if line["task"] == "table1" and line["run"] == 0 and line["model"] in MODELS:
            reason = "memory of the GPU" if "memory" in line["why"] else "time"
            lacking[reason] += 1 if "method" in line else len(_WAYS)
    told = " and ".join(f"{number} for want of {why}" for why, number in sorted(lacking.items()))
    wanted = len(MODELS) * len(_WAYS)
    return (
        f"The first run, which was to have {wanted} such cells, lacks {told}: its models shared "
        "one GPU for some eight minutes and stood in each other's way. `missing` in the record "
        "names them. A cell that is there has all its targets."
    )


def _equal_costs(cells: Sequence[Cell]) -> str:
    told = [_against(ride, alone) for ride, alone in _pairs(cells)]
    return f"At equal cost, on the same targets: {'; '.join(told)}." if told else ""


def _pairs(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """A ride, and the direct method that it is to be compared with, on the same targets."""
    for ride in cells:
        if "surfing" not in ride["method"]:
            continue
        wanted = DIRECT if ride["method"] == RIDE else "LM direct"
        for alone in cells:
            same = all(alone[key] == ride[key] for key in ("run", "model", "m", "task"))
            if same and alone["method"] == wanted and alone.get("training") == ride.get("training"):
                yield ride, alone


def _against(ride: Cell, alone: Cell) -> str:
    held: AtCost = at_equal_cost(ride, alone)
    won, lost, p = sign_test(ride, alone)
    most = "" if held.enough else f", of which {alone['starts']} were run"
    mean, low, high = held.difference
    return (
        f"{labelled(ride['model'])}, m={ride['m'] or 'all'}: {ride['method']} {held.ride:.2f}, "
        f"{held.number:.1f} starts of {alone['method']}{most} {held.restarts:.2f}, difference "
        f"{mean:+.2f} [{low:+.2f}, {high:+.2f}], {held.verdict} (one start each: {won} found by "
        f"the ride alone, {lost} by direct descent alone, p = {p:.2g})"
    )


def _few(record: Record) -> Iterator[str]:
    """Few measurements, by model and run."""
    groups: dict[tuple[int, str, int], list[Cell]] = {}
    for cell in record["cells"]:
        if cell["task"] == "few":
            groups.setdefault((cell["run"], cell["model"], cell["m"]), []).append(cell)
    for (run, model, m), cells in groups.items():
        machine = record["runs"][run]["machine"].get("cuda") or "CPU"
        rows = tuple(
            _cell_row(cell) for cell in sorted(cells, key=lambda c: _WAYS.index(c["method"]))
        )
        note = (
            f"{cells[0]['targets']} targets, trained and measured on {machine}. "
            f"{_equal_costs(cells)}"
        )
        yield f"**{labelled(model)}, {m} Gaussian measurements**\n\n" + _table(rows, note)


def _ages(record: Record) -> Iterator[str]:
    """Other widths, other lengths."""
    cells = [c for c in record["cells"] if c["task"] == "age"]
    if not cells:
        return
    rows = tuple(
        {**_cell_row(c), "model": f"{labelled(c['model'])}, after {c['training']} steps"}
        for c in cells
    )
    note = (
        f"{cells[0]['targets']} targets, m = 2k; what comes after is missing, so how success falls "
        f"with the length of training was not measured. {_equal_costs(cells)}"
    )
    yield "**Other widths, early in the training**\n\n" + _table(rows, note)

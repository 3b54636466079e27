"""The top of the page: all ways on the same networks, and Adam's ride against what it replaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from paper.ground.comparing import (
    AtCost,
    Cell,
    all_in,
    difference,
    disjoint,
    first_found,
    share,
    total,
)
from paper.ground.groups import (
    CARRIED,
    LM_DIRECT,
    RECOVER,
    STAGES,
    WHOLE,
    Group,
    groups,
)
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.text import drawn, either, signed, two
from paper.ground.ways import AGAIN
from surfing.report import Column, rate
from surfing.report.tables import count

__all__ = ["against_direct", "glance", "second_order"]

Record = Mapping[str, Any]

_NEAR = 0.1
"""||z - z*|| within which Adam is on its way to the latent."""
_MODELS = "models, targets of each"
_MOST = 0.95
_NEARLY_ALL = 0.99
"""What was hoped for of Adam's ride, and of one of second order."""
_SECOND = (RIDE, LM_DIRECT, STAGES, CARRIED, f"{LM_DIRECT}{AGAIN}", f"{STAGES}{AGAIN}", RECOVER)


def glance(record: Record) -> str:
    """The main ways, a line each, the models together."""
    lines: dict[str, dict[str, str]] = {_MODELS: {}}
    for group in groups(record):
        models, ways = group.together()
        if models:
            number = len(ways[RECOVER][0]["error"])
            lines[_MODELS][group.what] = f"{len(models)}, {number}"
            for way, cells in ways.items():
                lines.setdefault(way, {})[group.what] = _together(cells)
    note = (
        "**On the paper's ground**: share of the latents found with its 95% interval, and "
        "forward-equivalents a target, all in; k latents, m Gaussian measurements or all pixels. "
        "The paper's networks at full size, the same models "
        "and targets for all ways of a column, those that have them all. One start, but for what "
        "starts again for targets that it did not solve. What is spent once is shared by all "
        "targets of its run."
    )
    return _turned(lines, "found, cost", note) if lines[_MODELS] else ""


def against_direct(record: Record) -> str:
    """Adam surfing and direct Adam: how many models, by how much, and at equal cost."""
    made = groups(record)
    lines: dict[str, dict[str, str]] = {}
    for group in made:
        for name, value in _against(group).items():
            lines.setdefault(name, {})[group.what] = value
    if not lines:
        return ""
    note = (
        "**Adam surfing against direct Adam** on the same networks, targets and starts. Disjoint: "
        f"the 95% intervals do not meet. Nearer than {_NEAR}: those that are on their way as well, "
        "since Adam ends where its progress is slow. Less restarts: at equal cost, direct Adam "
        "as often as the ride pays for, target by target, at that of the step sizes that were run, "
        "for single starts and for restarts, which the ride is least ahead of; "
        f"{_targets(made)} targets. Where too few were run, those that were: they flatter the ride."
    )
    return _turned(lines, "Adam surfing and direct Adam", note)


def _turned(lines: Mapping[str, Mapping[str, str]], head: str, note: str) -> str:
    """A line a name, a column for what was measured."""
    there = list(dict.fromkeys(what for line in lines.values() for what in line))
    columns = [Column("name", head, right=False), *(Column(what, what) for what in there)]
    return drawn(columns, ({"name": name} | dict(line) for name, line in lines.items()), note)


def _against(group: Group) -> dict[str, str]:
    ours, theirs = (group.of(way) for way in (RIDE, DIRECT))
    both = [model for model in group.models if model in ours and model in theirs]
    if not both:
        return {}
    pairs = [(first_found(ours[m]), first_found(theirs[m])) for m in both]
    clear = Counter(disjoint(*pair) for pair in pairs)
    near = [[first_found(cells[m], _NEAR) for m in both] for cells in (ours, theirs)]
    above, below = (
        f"{sum(sign * (share(a) - share(b)) > 0 for a, b in pairs)} ({clear[name]})"
        for sign, name in ((1, "ahead"), (-1, "behind"))
    )
    return {
        "models": str(len(both)),
        "found by surfing": rate(total(ours for ours, _ in pairs)),
        "found by direct Adam": rate(total(theirs for _, theirs in pairs)),
        "surfing above on (disjoint)": above,
        "surfing below on (disjoint)": below,
        f"surfing finds {_MOST:.0%} on": str(sum(share(a) >= _MOST for a, _ in pairs)),
        f"nearer than {_NEAR}: surfing, direct": ", ".join(two(share(total(p))) for p in near),
        **{
            f"surfing less restarts, k={k}": f"{signed(difference(held))} ({_verdicts(held)})"
            for k, part in group.by_latents()
            if len(held := list(part.held(RIDE, DIRECT).values())) > 1
        },
    }


def _targets(made: Sequence[Group]) -> str:
    return either(one.targets for group in made for one in group.held(RIDE, DIRECT).values())


def _verdicts(held: Sequence[AtCost]) -> str:
    told = Counter(one.verdict for one in held)
    return ", ".join(f"{verdict} on {number}" for verdict, number in told.items())


def second_order(record: Record) -> str:
    """Ways that take second-order steps, with all pixels: on how many models, at what cost."""
    rows = [
        _second_order(way, cells, group.of(RIDE))
        for group in groups(record)
        if group.what == WHOLE
        for way in _SECOND
        if (cells := group.of(way))
    ]
    if not rows:
        return ""
    columns = [
        Column("way", "all pixels", right=False),
        Column("most", f"at least {_NEARLY_ALL:.0%} on"),
        Column("every", "every latent on"),
        Column("cost", "cost, of Adam surfing's"),
        Column("cheap", "a tenth at most on"),
    ]
    note = (
        "**Second order with all pixels**, and Adam surfing itself: of so many models; cost all "
        "in, where Adam surfing was measured as well. Again until solved: started again for the "
        "targets that the way itself did not call solved."
    )
    return drawn(columns, rows, note)


def _second_order(way: str, cells: Mapping[str, Cell], adam: Mapping[str, Cell]) -> dict[str, str]:
    found = [share(first_found(cell)) for cell in cells.values()]
    told = {
        "way": way,
        "most": f"{sum(part >= _NEARLY_ALL for part in found)} of {len(found)}",
        "every": f"{sum(part == 1 for part in found)} of {len(found)}",
    }
    if way == RIDE:
        return told
    if parts := [all_in(c) / all_in(adam[m]) for m, c in cells.items() if m in adam]:
        told["cost"] = f"{min(parts):.3f} to {max(parts):.3f}"
        told["cheap"] = f"{sum(part <= 0.1 for part in parts)} of {len(parts)}"
    return told


def _together(cells: Sequence[Cell]) -> str:
    return f"{rate(total(map(first_found, cells)))} at {count(fmean(map(all_in, cells)))}"

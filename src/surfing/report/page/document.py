"""Everything that the page shows, as JSON values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from surfing import check
from surfing.report.intervals import wilson
from surfing.report.page.detail import detail
from surfing.report.page.measured import depends, measurements
from surfing.report.page.pictures import Atlas, is_image
from surfing.report.page.surfaces import surfaces
from surfing.report.success import affordable
from surfing.report.tables import seconds
from surfing.solution import Status, summarise_status

if TYPE_CHECKING:
    from torch import Tensor

    from surfing.report.page.scene import Scene
    from surfing.solution import Solution

__all__ = ["document"]


def document(scene: Scene, *, featured: int = 8, size: int | None = None) -> dict[str, Any]:
    """The page's data.

    Args:
        scene: what is shown.
        featured: how many targets get a surface.
        size: points along each side of a surface; None fits the surfaces into some seconds.

    Raises:
        InputError: a size that makes no surface.
    """
    if size is not None:
        check.integer("size", size, low=3)
    chosen = scene.featured(featured)
    wanted = detail(scene, chosen, size=size) if scene.has_surfaces and chosen else None
    chosen = chosen if wanted is None else wanted.targets
    return {
        "title": scene.title,
        "facts": _facts(scene),
        "named": _named(scene.solution.method),
        "notes": list(scene.solution.notes),
        "statuses": {int(s): [s.label, s.message, s.success] for s in Status},
        "words": {
            "surfed": summarise_status(scene.solution.status),
            "direct": [] if scene.beside is None else summarise_status(scene.beside.status),
        },
        "stages": [[record.stage, record.step] for record in scene.solution.stages],
        "training": _training(scene),
        "surfed": _outcome(scene, scene.solution),
        "direct": None if scene.beside is None else _outcome(scene, scene.beside),
        "ride": _ride(scene.solution),
        "success": _success(scene),
        "featured": chosen,
        "pictures": _pictures(scene, chosen),
        "surfaces": None if wanted is None else surfaces(scene, wanted),
        "measured": measurements(scene),
    }


def _named(method: str) -> dict[str, str]:
    """What the page calls the run: the method, and what it did to a target."""
    for prefix, did, who in (("surf", "surfed", "Surfing"), ("recover", "recovered", "Recovery")):
        if method.startswith(prefix):
            return {"did": did, "who": who}
    return {"did": "found", "who": "The run"}


def _facts(scene: Scene) -> list[tuple[str, str]]:
    solution = scene.solution
    facts = [("method", solution.method or "unnamed"), ("targets", f"{len(solution)}")]
    facts.append(("latent dimension", f"{solution.z.shape[1]}"))
    if scene.problem is not None:
        operator = scene.problem.architecture.operator.name
        m, counted = scene.problem.y.shape[1], depends(scene).sum(1)
        least, most = int(counted.min()), int(counted.max())
        used = f"{least}" if least == most else f"{least} to {most}"
        said = f"m = {m}" if least == m else f"m = {used} of {m} entries"
        facts.append(("measured", f"{operator}, {said}"))
    facts.append(("time", seconds(solution.seconds)))
    if "seed" in solution.info:
        facts.append(("seed", str(solution.info["seed"])))
    return facts


def _training(scene: Scene) -> dict[str, Any] | None:
    if scene.trajectory is None:
        return None
    drift = scene.trajectory.recorded_drift
    return {"steps": list(scene.trajectory.steps), "drift": list(drift)}


def _outcome(scene: Scene, solution: Solution) -> dict[str, Any]:
    """What became of each target."""
    error = None if scene.truth is None else (solution.z - scene.truth).norm(dim=1)
    return {
        "status": solution.status.tolist(),
        "norm": _short((2 * solution.risk).sqrt()),
        "cost": _short(solution.cost),
        "error": None if error is None else _short(error),
    }


def _ride(solution: Solution) -> dict[str, Any]:
    """By stage, then by target."""
    dampings = [record.damping for record in solution.stages if record.damping is not None]
    return {
        "damping": [_short(d) for d in dampings] if len(dampings) == len(solution.stages) else None,
        "norm": [_short((2 * record.risk).sqrt()) for record in solution.stages],
        "steps": [record.steps.tolist() for record in solution.stages],
        "cost": [_short(record.cost) for record in solution.stages],
    }


def _success(scene: Scene) -> list[dict[str, Any]] | None:
    """One entry per method: cost, share met, and its 95% interval."""
    if scene.success is None:
        return None
    return [
        {
            "name": name,
            "trials": max(trials for _, _, trials in points),
            "points": [[cost, met / n, *wilson(met, n)] for cost, met, n in affordable(points)],
        }
        for name, points in scene.success.items()
    ]


def _short(values: Tensor) -> list[float | None]:
    """Four digits are more than a page can show; what is not finite is null."""
    numbers = values.detach().cpu().double().tolist()
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in numbers]


def _pictures(scene: Scene, chosen: list[int]) -> dict[str, Any] | None:
    """One picture of all signals; the strips of as many targets as there is room for."""
    x = scene.solution.x
    if not is_image(tuple(x.shape[1:])) or len(x) == 0:
        return None
    true = scene.signals()
    atlas = Atlas(x if true is None else true)
    count = min(len(x), atlas.room // 3)
    places = {
        "target": None if true is None else atlas.add(true[:count]),
        "surfed": atlas.add(x[:count]),
        "direct": None if scene.beside is None else atlas.add(scene.beside.x[:count]),
    }
    strips = _strips(scene, atlas, chosen)
    return {**atlas.document(), **places, "strips": strips}


def _strips(scene: Scene, atlas: Atlas, chosen: list[int]) -> dict[int, list[int]]:
    """G_t(z_t) by stage: first for the targets with a surface, then for the others in order."""
    stages = scene.solution.stages
    if scene.trajectory is None or scene.problem is None or not stages:
        return {}
    first = set(chosen)
    order = [*chosen, *(i for i in range(len(scene.solution)) if i not in first)]
    order = order[: atlas.room // len(stages)]
    strips: dict[int, list[int]] = {target: [] for target in order}
    for record in stages:
        seen = scene.problem.signals(scene.trajectory.at(record.stage), record.z[order])
        for target, place in zip(order, atlas.add(seen)):
            strips[target].append(place)
    return strips

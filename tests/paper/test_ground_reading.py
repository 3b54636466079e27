"""Records of the ground: restarts against rides, what is missing, and the page that they make."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from paper.ground.ages import ages, by_age, from_end_to_end
from paper.ground.by_model import tables
from paper.ground.comparing import (
    all_in,
    any_found,
    at_equal_cost,
    difference,
    first_found,
    meet,
    sign_test,
    total,
)
from paper.ground.cost import AT_COST, _panels, _restarts, success_at_cost
from paper.ground.curves import (
    curves,
    held_out,
    held_out_pictures,
    measurements,
    nearer,
    thresholds,
)
from paper.ground.glance import against_direct, glance, second_order
from paper.ground.groups import STAGES, groups, others
from paper.ground.model import MODELS, parts_of
from paper.ground.reading import lines_of, main, read
from paper.ground.running import _tuned
from paper.ground.tables import rest
from paper.ground.tasks import DIRECT, RESTARTED, RIDE
from paper.ground.tuning import picked
from paper.ground.ways import AGAIN, LM
from paper.page import draw, page, read_records

from surfing.errors import InputError
from surfing.report import rate
from surfing.report.tables import count

PUBLISHED = Path(__file__).parents[2] / "docs" / "records" / "ground.json"
HIT, MISS = 1e-4, 1.0
THEN = (DIRECT, RIDE, *(way for way in LM if "again" not in way))
"""The ways that the first run had."""
EQUAL_COST: dict[str, set[tuple[str, int]]] = {
    "ahead": {("all pixels", 20), ("m = 2k", 10), ("m = 2k", 20), ("m = 4k", 20)},
    "behind": {("all pixels", 5), ("m = 2k", 5)},
    "neither": {("all pixels", 10), ("m = 4k", 5), ("m = 4k", 10)},
}
"""Adam surfing and restarts of direct Adam, as README and the pages of methods tell it."""
LM_DIRECT = "LM direct"


def cell(rows: list[list[float]], cost: float = 100.0, **more: Any) -> dict[str, Any]:
    """Errors by target and start; the residual tells a hit from a miss."""
    return {"error": rows, "residual": [[e / 10 for e in row] for row in rows],
            "cost": [[cost] * len(row) for row in rows], "starts": len(rows[0]),
            "targets": len(rows), **more}  # fmt: skip


def test_restarts_take_the_lowest_residual_not_the_lowest_error() -> None:
    fooled = cell([[HIT, MISS]]) | {"residual": [[0.5, 0.1]]}
    assert any_found(fooled) == (0, 1)
    assert any_found(cell([[HIT, MISS]])) == (1, 1)


def test_one_restart_finds_the_mean_share_and_all_of_them_the_best() -> None:
    rows = [[HIT, MISS, MISS, MISS], [MISS] * 4, [HIT] * 4]
    for number, share in ((1, (0.25 + 0 + 1) / 3), (2, (0.5 + 0 + 1) / 3), (4, 2 / 3)):
        ride = cell([[MISS]] * 3, cost=100.0 * number)
        assert at_equal_cost(ride, cell(rows)).restarts == pytest.approx(share)


def test_a_ride_that_pays_for_half_a_start_is_set_against_half_of_it() -> None:
    held = at_equal_cost(cell([[HIT]] * 3, cost=50.0), cell([[HIT]] * 3))
    assert (held.number, held.restarts, held.verdict) == (0.5, 0.5, "ahead")


def test_what_a_ride_spends_once_pays_for_restarts_too() -> None:
    ride = cell([[HIT]] * 4, cost=100.0) | {"cost_once": 400.0}
    assert at_equal_cost(ride, cell([[MISS, MISS]] * 4)).number == 2.0


def test_more_restarts_than_were_run_are_said_to_be_too_few() -> None:
    held = at_equal_cost(cell([[HIT]] * 3, cost=500.0), cell([[MISS, MISS]] * 3))
    assert not held.enough
    assert held.verdict == "too few restarts were run to tell"
    assert at_equal_cost(cell([[HIT]] * 3, cost=200.0), cell([[MISS, MISS]] * 3)).enough


def test_restarts_of_fewer_targets_are_set_against_the_ride_on_those() -> None:
    ride = cell([[HIT], [HIT], [MISS], [MISS]])
    held = at_equal_cost(ride, cell([[MISS], [MISS]]))
    assert (held.ride, held.restarts) == (1.0, 0.0)


def test_a_way_against_itself_is_not_told_apart() -> None:
    same = cell([[HIT], [MISS], [HIT]])
    assert at_equal_cost(same, same).verdict == "not told apart"
    assert sign_test(same, same) == (0, 0, 1.0)


def test_the_paired_test_is_exact_and_knows_no_side() -> None:
    ours, theirs = cell([[HIT]] * 6), cell([[MISS]] * 6)
    assert sign_test(ours, theirs) == (6, 0, pytest.approx(2 * 2**-6))
    assert sign_test(theirs, ours) == (0, 6, pytest.approx(2 * 2**-6))


def test_intervals_meet_or_not() -> None:
    assert meet((50, 100), (60, 100))
    assert not meet((50, 100), (80, 100))
    assert not meet((80, 100), (50, 100))


def line(direct: int, ride: int, cost: float) -> dict[str, Any]:
    grids = {f"{way} {where}": {"0.05": {"found": found, "cost": price}}
             for where in ("all", "2k")
             for way, found, price in ((DIRECT, direct, 1000.0), (RIDE, ride, cost))}  # fmt: skip
    return {"run": 0, "grid": grids, "chosen": dict.fromkeys(grids, 0.05), "targets": 100,
            "cap": 4000}  # fmt: skip


def archive(path: Path, documents: dict[str, Any]) -> Path:
    command = "--models vae-k5 --out somewhere --tuned /far/away/a.zip --data elsewhere"
    facts = {"seed": 0, "versions": {}, "machine": {}, "date": "2026-01-01", "seconds": 1.0,
             "command": command, "sizes": {}}  # fmt: skip
    with zipfile.ZipFile(path, "w") as opened:
        for name, document in {"facts.json": facts, **documents}.items():
            opened.writestr(name, json.dumps(document))
    return path


def test_what_failed_and_what_never_came_is_told_with_its_cause(tmp_path: Path) -> None:
    way, other = list(LM)[:2]
    whole = {"method": DIRECT, "m": 0, **cell([[HIT]])}
    failed = {"method": way, "m": 0, "failed": "torch.OutOfMemoryError: CUDA out of memory"}
    zipped = archive(tmp_path / "a.zip", {
        "vae-k5/training.json": {"seconds": 1.0, "recipe": {}},
        "vae-k5/table1.partial": {"records": [whole], "whole": False},
        "vae-k5/table1-lm.partial": {"records": [failed], "whole": False},
    })  # fmt: skip
    record = read([zipped])
    assert [c["method"] for c in record["cells"]] == [DIRECT]
    missing = {line.get("method", line["task"]): line["why"] for line in record["missing"]}
    assert missing[way] == "memory of the GPU"
    assert missing[other] == missing[RIDE] == "time"
    assert DIRECT not in missing
    assert record["runs"][0]["command"] == "--models vae-k5 --tuned a.zip"


def test_step_sizes_come_from_a_run_or_from_the_record_of_it(tmp_path: Path) -> None:
    tuning = {"chosen": {"Adam direct all": 0.05}}
    zipped = archive(tmp_path / "a.zip", {
        "vae-k5/training.json": {"seconds": 1.0, "recipe": {}},
        "vae-k5/tune.json": {"records": [tuning]},
    })  # fmt: skip
    record = tmp_path / "r.json"
    assert main([str(zipped), "--out", str(record)]) == 0
    for source in (zipped, record):
        assert _tuned(source, "vae-k5")["chosen"] == tuning["chosen"]
    assert _tuned(record, "vae-k5-x3")["model"] == "vae-k5"  # as of the usual length
    with pytest.raises(InputError, match="no step sizes for vae-k10"):
        _tuned(record, "vae-k10")


def test_a_record_is_json_whatever_its_lines(tmp_path: Path) -> None:
    zipped = archive(tmp_path / "a.zip", {"vae-k5/training.json": {"seconds": 1.0, "recipe": {}}})
    assert json.loads(lines_of(read([zipped, zipped]))) == read([zipped, zipped])
    assert main([str(zipped), "--out", str(tmp_path / "r.json")]) == 0
    assert json.loads((tmp_path / "r.json").read_text()) == read([zipped])


def test_runs_of_a_record_are_taken_over_or_left(tmp_path: Path) -> None:
    runs = [
        archive(tmp_path / f"{name}.zip", {
            f"{name}/training.json": {"seconds": 1.0, "recipe": {}},
            f"{name}/table1-lm.json": {"records": [{"method": LM_DIRECT, "m": 0, **cell([[HIT]])}],
                                       "whole": True},
        })
        for name in ("vae-k5", "vae-k10", "vae-k20")
    ]  # fmt: skip
    record = tmp_path / "r.json"
    record.write_text(lines_of(read(runs[1:])))
    joined = read([runs[0], record], leave=[0])
    assert [run["file"] for run in joined["runs"]] == ["vae-k5.zip", "vae-k20.zip"]
    told = {(c["run"], c["model"], c["task"]) for c in joined["cells"]}
    assert told == {(0, "vae-k5", "table1"), (1, "vae-k20", "table1")}


def many(
    found: dict[str, int], ways: tuple[str, ...] = tuple(LM), task: str = "table1", m: int = 0
) -> dict[str, Any]:
    """A record with one run of all ways on some models, ten targets each, at cost 100."""
    cells = [
        {"run": 0, "model": model, "task": task, "m": m, "method": way,
         **cell([[HIT]] * hits + [[MISS]] * (10 - hits))}
        for model, hits in found.items() for way in ways
    ]  # fmt: skip
    run = {"machine": {"cuda": None}, "plan": {"table": 10, "few": 10, "rates": []}}
    return {"runs": [run], "cells": cells, "tuning": [], "missing": [], "trainings": []}


THREE = {"vae-k5": 10, "wgan-k5": 10, "dcgan-k20": 9}


def test_a_run_of_many_models_has_a_line_for_each_and_is_told_once() -> None:
    record = many(THREE)
    table, *_ = tables(record)
    assert [row.split("|")[1].strip() for row in table.splitlines() if "at 100" in row] == [
        "VAE, k=5", "DCGAN, k=20", "WGAN, k=5"
    ]  # fmt: skip
    ways = [row for row in second_order(record).splitlines() if "of 3" in row]
    assert len(ways) == 6
    assert all(row.endswith("| 2 of 3 | 2 of 3 | – | – |") for row in ways)
    assert [row.count("|") for row in glance(record).splitlines()[:8]] == [3] * 8
    assert "| models, targets of each | 3, 10 |" in glance(record)
    assert glance(record).count(f"| {rate((29, 30))} at 100 |") == 5
    assert rest(record) == ""
    two = many({"vae-k5": 10, "wgan-k5": 10})  # too few to be a table of models
    assert list(tables(two)) == []
    assert glance(two) == ""
    assert "VAE, k=5" in rest(two)


def test_all_ways_of_many_models_are_points_of_one_picture(tmp_path: Path) -> None:
    (panel,) = _panels(record := many(THREE))
    assert panel.points == dict.fromkeys(LM, (100.0, (29, 30)))
    assert [path.name for path in success_at_cost(record, tmp_path)] == [AT_COST]
    assert success_at_cost(many({"vae-k5": 10}), tmp_path) == []


def test_what_is_measured_later_on_the_same_networks_joins_them() -> None:
    record = many(THREE)
    later = [c | {"run": 1} for c in record["cells"] if c["method"] == LM_DIRECT]
    joined = [c for c in record["cells"] if c["method"] != LM_DIRECT] + later
    kept = {"command": "--keep KEPT", **record["runs"][0]}
    again = {"command": "--trajectories KEPT", **record["runs"][0]}
    trained = [{"run": 0, "model": model} for model in THREE]
    same = record | {"runs": [kept, again], "cells": joined, "trainings": trained}
    assert list(tables(same)) == list(tables(record))
    # Networks that a run trained itself are others; and so are those of another model.
    for other in ({"runs": [kept, kept]}, {"trainings": trained[:2]}):
        (group,) = groups(same | other)
        there = set(group.of(LM_DIRECT))
        assert there == (set() if "runs" in other else {"vae-k5", "wgan-k5"})
        assert {c["model"] for c in others(same | other)} == set(THREE) - there


def test_what_was_measured_before_is_set_beside_and_not_told_again() -> None:
    record = many(THREE)
    before = [c | {"run": 1, **cell([[HIT]] * 10)} for c in record["cells"]]
    lost = [c | {"run": 1, **cell([[MISS]] * 10)} for c in record["cells"][:1]]
    runs = [*record["runs"], {"command": "", **record["runs"][0]}]
    fewer = [c | cell([[HIT]] * 4) for c in record["cells"][:1]]  # on the same networks
    for cells, apart in ((before[:2], 0), (lost, 1), (fewer, 0)):
        both = record | {"runs": runs, "cells": record["cells"] + cells}
        told = list(tables(both))[-1]
        assert next(iter(tables(both))) == next(iter(tables(record)))
        assert told.startswith(f"{len(cells)} of these cells")
        assert f"intervals of {len(cells) - apart} of those {len(cells)} measurements" in told
        assert ("The others: VAE, k=5, all pixels, LM direct .00" in told) == bool(apart)


def test_adam_and_its_restarts_are_told_by_their_number_of_latents() -> None:
    record = many({"wgan-k5": 9, "dcgan-k5": 9, "wgan-k20": 10, "dcgan-k20": 10},
                  (DIRECT, RIDE, "recover"), "few", 10)  # fmt: skip
    for one in record["cells"]:
        one["m"] = 2 * int(one["model"].split("-k")[1])
        if one["method"] == DIRECT:
            one |= cell([[MISS, MISS]] * 10 if "k20" in one["model"] else [[HIT, HIT]] * 10)
    table, equal = tables(record)
    assert "| 10, 0, 0.002 |" in table
    lines = [row.split("|")[1:-1] for row in equal.splitlines() if f"| {RIDE}" in row]
    assert [[part.strip() for part in row][3:9] for row in lines] == [
        ["5", "2", "10", "0", "2", "0"], ["20", "2", "10", "2", "0", "0"]
    ]  # fmt: skip
    told = against_direct(record)

    def values(page: str) -> list[str]:
        return [row.split("|")[2].strip() for row in page.splitlines() if row.startswith("| ")]

    some, all_of_them = rate((38, 40)), rate((20, 40))
    assert values(told)[:7] == ["m = 2k", "4", some, all_of_them, "2 (2)", "2 (0)", "2"]
    near = [c | cell([[0.05]] * 10) if c["method"] == DIRECT else c for c in record["cells"]]
    slow = against_direct(record | {"cells": near})
    none = rate((0, 40))
    assert values(slow)[2:8] == [some, none, "4 (4)", "0 (0)", "2", ".95, 1.00"]
    last = ["-0.10 [-0.24, +0.04] (not told apart on 2)", "+1.00 [+1.00, +1.00] (ahead on 2)"]
    assert values(told)[8:] == last


def test_restarts_are_those_of_the_step_size_that_the_ride_is_least_ahead_of(
    tmp_path: Path,
) -> None:
    models = ("wgan-k5", "dcgan-k5", "vae-k5")
    record = many(dict.fromkeys(models, 10), (DIRECT, RIDE, "recover"))
    for one in record["cells"]:
        if one["method"] == DIRECT:
            one |= cell([[MISS]] * 10) | {"rate": 0.02}

    def restarted(rows: list[list[float]], cost: float, rate: float) -> list[dict[str, Any]]:
        more = cell(rows, cost=cost) | {"rate": rate, "task": "restarts", "method": RESTARTED}
        return [{"run": 0, "model": model, "m": 0, **more} for model in models[:2]]

    # Single starts at 0.02 find nothing; of the first five targets two starts at 0.1 find all,
    # and two at 0.2 half as many.
    weak = restarted([[MISS, HIT]] * 2 + [[MISS, MISS]] * 3, 50.0, 0.2)
    record["cells"] += restarted([[MISS, HIT]] * 5, 50.0, 0.1) + weak
    table, equal = tables(record)
    assert RESTARTED not in table  # a share of single starts says nothing of it
    (row,) = (row for row in equal.splitlines() if f"| {RIDE}" in row)
    shown = [part.strip() for part in row.split("|")[4:10]]
    assert shown == ["5", "3", "5 or 10", "1", "2", "0"]
    (group,) = groups(record)
    assert {m: c["rate"] for m, c in group.of_restarts().items()} == {
        "wgan-k5": 0.1, "dcgan-k5": 0.1, "vae-k5": 0.02
    }  # fmt: skip
    costs, found = _restarts(group, ["dcgan-k5", "wgan-k5"])
    assert (costs[0], costs[-1]) == (pytest.approx(50.0), pytest.approx(100.0))
    assert (found[0], found[-1]) == (pytest.approx(0.5), pytest.approx(1.0))
    assert _restarts(group, ["vae-k5"]) == ([], [])  # it pays for no more than one
    assert _restarts(group, ["vae-k20"]) == ([], [])
    assert success_at_cost(record, tmp_path)
    # Two starts that find nothing, at forty passes each, are too few to make it a win.
    few = [c | cell([[MISS, MISS]] * 10, cost=40.0) if c["method"] == RESTARTED else c
           for c in record["cells"]]  # fmt: skip
    told = against_direct(record | {"cells": few})
    assert "too few restarts were run to tell on 2" in told


def test_every_panel_of_the_published_record_has_its_restarts(published: dict[str, Any]) -> None:
    panels = list(_panels(published))
    assert len(panels) == 3
    for panel in panels:
        costs, found = panel.restarts
        assert costs[-1] == pytest.approx(panel.points[RIDE][0], rel=0.02)
        assert 0 < found[0] < found[-1] <= 1


def test_ways_are_told_together_on_the_targets_that_all_have() -> None:
    record = many({"wgan-k5": 10, "dcgan-k5": 10, "vae-k5": 10}, (RIDE, "recover"))
    hard = [c for c in record["cells"] if c["model"] == "wgan-k5"]
    for one in hard:
        one |= cell([[MISS]] * (4 if one["method"] == RIDE else 10))
    told = glance(record)
    assert "| models, targets of each | 3, 4 |" in told
    assert told.count(f"| {rate((8, 12))} at 100 |") == 2  # not .83 of 24 and .67 of 30


def test_other_seeds_have_other_targets() -> None:
    record = many(THREE)
    seeded = {**record["runs"][0], "plan": {**record["runs"][0]["plan"], "seed": 7},
              "command": "--trajectories KEPT --seed 7"}  # fmt: skip
    kept = {"command": "--keep KEPT", **record["runs"][0]}
    again = [c | {"run": 1, **cell([[MISS]] * 20)} for c in record["cells"][:1]]
    trained = [{"run": 0, "model": model} for model in THREE]
    both = record | {"runs": [kept, seeded], "cells": record["cells"] + again,
                     "trainings": trained}  # fmt: skip
    assert [len(group.cells) for group in groups(both)] == [len(record["cells"])]
    assert next(iter(tables(both))) == next(iter(tables(record)))


def test_a_second_training_of_many_models_is_a_table_of_its_own() -> None:
    record = many(THREE)
    more = record | {
        "runs": record["runs"] * 2,
        "cells": record["cells"] + [c | {"run": 1} for c in record["cells"]],
    }
    assert [group.what for group in groups(more)] == ["all pixels", "all pixels, trained again (1)"]


def point(way: str, m: int, hits: int, targets: int = 10, run: int = 0) -> dict[str, Any]:
    rows = [[HIT]] * hits + [[MISS]] * (targets - hits)
    return {"run": run, "model": "wgan-k20", "task": "fig3", "m": m, "method": way, **cell(rows)}


def test_thresholds_are_the_fewest_from_which_on_enough_are_found(tmp_path: Path) -> None:
    cells = [point(DIRECT, m, hits) for m, hits in ((10, 6), (20, 2), (40, 5), (80, 9))]
    cells += [point(RIDE, m, hits) for m, hits in ((10, 0), (20, 5), (40, 9), (80, 10))]
    record = {"runs": [{"command": ""}], "trainings": [], "cells": cells}
    (told,) = thresholds(record)
    assert "WGAN, k=20: half 20 against 40, 90% 40 against 80." in told
    # A cell of fewer targets does not take the place of another.
    less = record | {"cells": [*cells, point(DIRECT, 80, 0, targets=2)]}
    assert list(thresholds(less)) == [told]
    assert list(curves(less)) == list(curves(record))
    (picture,) = measurements(record, tmp_path)
    assert picture.is_file()
    # The tables' cells of 2k and 4k are points as well, of the ways that have others.
    moved = [c | {"task": "few"} if c["m"] == 40 else c for c in cells]
    moved.append(point("recover", 40, 10) | {"task": "few"})
    assert list(curves(record | {"cells": moved})) == list(curves(record))
    none = record | {"cells": [c for c in cells if c["method"] == RIDE]}
    assert list(thresholds(none)) == []


def aged(model: str, training: int, way: str, hits: int, **more: Any) -> dict[str, Any]:
    rows = cell([[HIT]] * hits + [[MISS]] * (10 - hits))
    return {"run": 0, "model": model, "task": "age", "m": 20, "method": way,
            "training": training, **rows, **more}  # fmt: skip


def test_widths_and_lengths_have_a_line_each_and_a_later_training_takes_the_place(
    tmp_path: Path,
) -> None:
    cells = [
        aged(model, training, way, hits)
        for model, lengths in (("dcgan-k10-x3", (1080, 4080, 12000)), ("dcgan-k10-w8", (4000,)),
                               ("dcgan-k10-w16", (4000,)))
        for training in lengths
        for way, hits in ((DIRECT, 2), (RIDE, 9))
    ]  # fmt: skip
    before = aged("dcgan-k10-w8", 4000, RIDE, 0)
    # The usual width after the usual training is that of the tables.
    usual = [
        aged("dcgan-k10", 0, way, hits) | {"task": "few"} for way, hits in ((DIRECT, 3), (RIDE, 8))
    ]
    elsewhere = aged("dcgan-k10", 0, RIDE, 0) | {"task": "few", "m": 40}
    later = [one | {"run": 1} for one in (*cells, *usual, elsewhere)]
    runs = [{"command": ""}] * 2
    table, again = ages({"runs": runs, "trainings": [], "cells": [before, *later]})
    assert again.startswith("1 of these cells")
    assert "The others: DCGAN, k=10, width 8, m = 2k after 4 000 steps, Adam surfing .00" in again
    lines = [[part.strip() for part in row.split("|")[1:-1]] for row in table.splitlines()
             if "at 100" in row]  # fmt: skip
    assert [line[:2] for line in lines] == [
        ["8", "4 000"], ["16", "4 000"], ["64", "4 000"],
        ["64", "1 080"], ["64", "4 080"], ["64", "12 000"],
    ]  # fmt: skip
    shares = [f"{rate((hits, 10))} at 100" for hits in (9, 9, 8, 9, 9, 9)]
    assert [line[5] for line in lines] == shares
    ahead = [line[6].split(" ")[-1] for line in lines]
    assert ahead == ["(ahead)"] * 2 + ["–"] + ["(ahead)"] * 3
    record = {"runs": runs, "trainings": [], "cells": later}
    (said,) = from_end_to_end(record)
    assert f"steps apart, steps of training 1 080, 4 080, 12 000: {DIRECT} .20, .20, .20" in said
    assert f"width 8, 16, 64: {DIRECT} .20, .20, .30, {RIDE} .90, .90, .80." in said
    (picture,) = by_age(record, tmp_path)
    assert picture.is_file()
    assert list(ages({"runs": runs, "trainings": [], "cells": []})) == []


def test_held_out_images_are_told_by_their_median_error(tmp_path: Path) -> None:
    images = {"run": 0, "model": "vae-k20", "task": "fig4", "m": 100, "method": RIDE, "starts": 1,
              "targets": 3, "pixel_error": [[0.01], [0.5], [0.02]], "residual": [[0.1]] * 3,
              "cost": [[30.0]] * 3}  # fmt: skip
    record = {"runs": [{"command": ""}], "trainings": [], "cells": [images]}
    (table,) = held_out(record)
    assert list(nearer(record)) == []
    alone = images | {"method": DIRECT, "pixel_error": [[0.02], [0.5], [0.01]]}
    (told,) = nearer(record | {"cells": [images, alone]})
    assert "m = 100: nearer on 1 of 3, less near on 1" in told
    assert [path.name for path in held_out_pictures(record, tmp_path)] == ["ground-fig4.png"]
    assert "| VAE, k=20 | Adam surfing | 0.0200 at 30 |" in table


def test_ways_together_stand_on_the_same_models() -> None:
    record = many(THREE | {"wgan-k20": 0})
    record["cells"] = [c for c in record["cells"]
                       if (c["model"], c["method"]) != ("wgan-k20", LM_DIRECT)]  # fmt: skip
    assert "| models, targets of each | 3, 10 |" in glance(record)
    assert f"{rate((29, 30))} at 100" in glance(record)


def test_rides_of_many_models_are_set_against_restarts_together() -> None:
    record = many({"vae-k5": 9, "wgan-k5": 8, "dcgan-k5": 7}, task="few", m=10)
    for one in record["cells"]:
        if one["method"] == LM_DIRECT:
            one |= cell([[MISS]] * 10)
    (table, equal) = tables(record)
    assert table.startswith("**Found, m = 2k")
    told = [row.split("|")[1:-1] for row in equal.splitlines() if "LM surfing, 10 stages" in row]
    assert [part.strip() for part in told[0]][:8] == [
        "m = 2k", "LM surfing, 10 stages", LM_DIRECT, "all", "3", "10", "3", "0"
    ]  # fmt: skip
    alone = {"run": 0, "model": "vae-k5", "task": "table1", "m": 0, "method": LM_DIRECT,
             **cell([[HIT]] * 10)}  # fmt: skip
    assert "VAE, k=5" in rest(record | {"cells": [*record["cells"], alone]})


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def test_every_cell_of_the_first_run_is_there_or_told_missing(published: dict[str, Any]) -> None:
    def of(part: str) -> list[tuple[str, str]]:
        return [
            (entry["model"], method)
            for entry in published[part]
            if entry["run"] == 0 and entry["task"] == "table1" and entry["model"] in MODELS
            for method in ([entry["method"]] if "method" in entry else THEN)
        ]

    there, missing = of("cells"), of("missing")
    assert sorted(there + missing) == sorted((m, w) for m in MODELS for w in THEN)


def test_every_cell_has_all_of_its_targets(published: dict[str, Any]) -> None:
    for one in published["cells"]:
        near = "pixel_error" if one["task"] == "fig4" else "error"
        assert {len(one[key]) for key in (near, "residual", "cost")} == {one["targets"]}


def test_every_model_has_both_ways_at_every_step_size(published: dict[str, Any]) -> None:
    lines = picked(published)
    assert {w.model for w in lines} == set(MODELS)
    rates = {str(r) for r in published["runs"][0]["plan"]["rates"]}
    assert all(set(w.grids[way]) == rates for w in lines for way in (DIRECT, RIDE))


def test_the_page_is_written_from_the_records(tmp_path: Path) -> None:
    docs = PUBLISHED.parents[1]
    # The samples are drawn where the zips are read.
    kept = tmp_path / "assets" / "results" / "ground-samples.png"
    kept.parent.mkdir(parents=True)
    shutil.copy(docs / "assets" / "results" / kept.name, kept)
    records = read_records(docs / "records")
    pictures = draw(records, kept.parent)
    assert page(records, pictures, root=tmp_path) == (docs / "results.md").read_text("utf-8")
    there = {path.name for path in (docs / "assets" / "results").iterdir()}
    assert there == {path.name for paths in pictures.values() for path in paths}


def test_readme_says_what_the_record_says(published: dict[str, Any]) -> None:
    readme = " ".join((PUBLISHED.parents[2] / "README.md").read_text(encoding="utf-8").split())
    by_what = {group.what: group for group in groups(published)}
    told = []
    for what, number in (("all pixels", 300), ("m = 2k", 60)):
        models, ways = by_what[what].together()
        assert what == "all pixels" or all("gan" in model for model in models)
        assert {len(cell["error"]) for cells in ways.values() for cell in cells} == {number}
        found = {way: rate(total(map(first_found, cells))) for way, cells in ways.items()}
        cost = {way: round(fmean(map(all_in, cells))) for way, cells in ways.items()}
        told.append((len(models), found, cost))
    (many, whole, _), (some, scarce, cost) = told
    where = f"On {_word(many)} generators of the paper's size"
    assert f"{where} Adam surfing finds {whole[RIDE]}" in readme
    assert f"direct Adam {whole[DIRECT]} (300 targets of each" in readme
    ours, theirs = (by_what["m = 2k"].of(way) for way in (RIDE, DIRECT))
    assert set(ours) == set(theirs)
    both = " and ".join(rate(total(map(first_found, c.values()))) for c in (ours, theirs))
    assert f"from 2k measurements {both}, on the {_word(len(ours))} GANs" in readme
    assert f"on {_word(some)} of the GANs, `recover` finds {scarce['recover']} at" in readme
    ride = f"{scarce[RIDE]} at {count(cost[RIDE])}."
    assert f"{cost['recover']} passes, where Adam surfing finds {ride}" in readme
    answers = by_what["all pixels"].of("recover").values()
    assert [first_found(cell) for cell in answers] == [(300, 300)] * 12
    costs = [round(all_in(cell)) for cell in answers]
    assert f"at {min(costs)} to {max(costs)} passes a target" in readme
    verdicts: dict[str, set[tuple[str, int]]] = {"ahead": set(), "behind": set(), "neither": set()}
    for what, group in by_what.items():
        for k in (5, 10, 20):
            every = group.held(RIDE, DIRECT).items()
            if held := [one for model, one in every if parts_of(model).latents == k]:
                _, low, high = difference(held)
                verdict = "ahead" if low > 0 else "behind" if high < 0 else "neither"
                verdicts[verdict].add((what, k))
    assert verdicts == EQUAL_COST


def test_the_page_of_methods_says_what_the_record_says(published: dict[str, Any]) -> None:
    text = (PUBLISHED.parents[1] / "methods.md").read_text(encoding="utf-8")
    methods = " ".join(text.split())
    by_what = {group.what: group for group in groups(published)}

    def told(what: str, way: str) -> tuple[tuple[int, int], str]:
        cells = list(by_what[what].of(way).values())
        return total(map(first_found, cells)), count(fmean(map(all_in, cells)))

    again = f"{STAGES}{AGAIN}"
    (found, targets), cost = told("all pixels", again)
    (one, _), alone = told("all pixels", STAGES)
    (adam, _), dear = told("all pixels", RIDE)
    assert (
        f"On [{_word(len(by_what['all pixels'].models))} generators of the paper's size]" in methods
    )
    assert f"finds {count(found)} of {count(targets)} latents at {cost} passes a target" in methods
    assert f"finds {count(one)} at {alone}, Adam surfing {count(adam)} at {dear}, and" in methods
    (direct, _), cheap = told("all pixels", f"{LM_DIRECT}{AGAIN}")
    assert f"direct descents, twenty at most, {count(direct)} at {cheap}." in methods

    def on_all(way: str) -> str:
        parts = []
        for group in groups(published)[1:]:
            cells = group.of(way).values()
            assert len(cells) == 9
            cost = count(fmean(map(all_in, cells)))
            parts.append(f"{rate(total(map(first_found, cells)))} at {cost}")
        return " and ".join(parts)

    assert f"rides again {on_all(again)}; direct descents" in methods
    assert f"direct descents again {on_all(f'{LM_DIRECT}{AGAIN}')};" in methods
    assert f"Adam surfing {on_all(RIDE)}." in methods


def _word(number: int) -> str:
    return {5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 12: "twelve"}[number]

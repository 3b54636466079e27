"""Records of the ground: restarts against rides, what is missing, and the page that they make."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from paper.ground.by_model import sentences, tables
from paper.ground.comparing import all_in, any_found, at_equal_cost, bound, first_found, sign_test
from paper.ground.model import MODELS
from paper.ground.page import in_short, markdown
from paper.ground.reading import lines_of, main, read
from paper.ground.running import _tuned
from paper.ground.tables import few, whole
from paper.ground.tasks import DIRECT, RIDE
from paper.ground.tuning import by_rate, picked, pooled
from paper.ground.ways import LM

from surfing.errors import InputError
from surfing.report import rate

PUBLISHED = Path(__file__).parents[2] / "docs" / "records" / "ground.json"
HIT, MISS = 1e-4, 1.0
ZOO = 9
"""The run that trained all twelve models on a CPU."""
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


def test_a_way_against_itself_is_not_told_apart() -> None:
    same = cell([[HIT], [MISS], [HIT]])
    assert at_equal_cost(same, same).verdict == "not told apart"
    assert sign_test(same, same) == (0, 0, 1.0)


def test_the_paired_test_is_exact_and_knows_no_side() -> None:
    ours, theirs = cell([[HIT]] * 6), cell([[MISS]] * 6)
    assert sign_test(ours, theirs) == (6, 0, pytest.approx(2 * 2**-6))
    assert sign_test(theirs, ours) == (0, 6, pytest.approx(2 * 2**-6))


def test_targets_alike_meet_the_bound_and_others_stay_below() -> None:
    grid = {"0.1": {"found": 50, "cost": 100.0}}
    _, number, (most, low, high) = bound(grid, 100, 300.0)
    assert (number, most) == (3.0, pytest.approx(1 - 0.5**3))
    assert low < most < high
    hard = cell([[HIT] * 4] * 50 + [[MISS] * 4] * 50)
    assert at_equal_cost(cell([[MISS]] * 100, cost=300.0), hard).restarts < most


def line(direct: int, ride: int, cost: float) -> dict[str, Any]:
    grids = {f"{way} {where}": {"0.05": {"found": found, "cost": price}}
             for where in ("all", "2k")
             for way, found, price in ((DIRECT, direct, 1000.0), (RIDE, ride, cost))}  # fmt: skip
    return {"run": 0, "grid": grids, "chosen": dict.fromkeys(grids, 0.05), "targets": 100,
            "cap": 4000}  # fmt: skip


@pytest.mark.parametrize(
    ("direct", "ride", "cost", "verdict"),
    [(20, 95, 2000.0, "ahead"), (60, 60, 4000.0, "behind"), (50, 75, 2000.0, "not told apart")],
)
def test_the_pooled_verdict_falls_either_way(
    direct: int, ride: int, cost: float, verdict: str
) -> None:
    models = ("wgan-k20", "dcgan-k20", "wgan-gp-k20")
    record = {"tuning": [{"model": model, **line(direct, ride, cost)} for model in models]}
    held = pooled([w for w in picked(record) if w.where == "2k"])
    assert held.verdict == verdict
    assert held.ride == (3 * ride, 300)


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


def many(found: dict[str, int], task: str = "table1", m: int = 0) -> dict[str, Any]:
    """A record with one run of all ways on some models, ten targets each, at cost 100."""
    cells = [
        {"run": 0, "model": model, "task": task, "m": m, "method": way,
         **cell([[HIT]] * hits + [[MISS]] * (10 - hits))}
        for model, hits in found.items() for way in LM
    ]  # fmt: skip
    run = {"machine": {"cuda": None}, "plan": {"table": 10, "few": 10}}
    return {"runs": [run], "cells": cells, "tuning": [], "missing": []}


def test_a_run_of_many_models_has_a_line_for_each_and_is_told_once() -> None:
    record = many({"vae-k5": 10, "wgan-k5": 10, "dcgan-k20": 9})
    (table,) = tables(record)
    assert [row.split("|")[1].strip() for row in table.splitlines() if "at 100" in row] == [
        "VAE, k=5", "DCGAN, k=20", "WGAN, k=5"
    ]  # fmt: skip
    (told,) = sentences(record)
    assert "10 targets on each of 3 models" in told
    assert told.count("at least 99% on 2 of 3") == 2
    assert "recover: all on 2 of 3" in told
    assert f"recover {rate((29, 30))} at 100" in told
    assert whole(record) == ""
    kept = {"command": "--keep KEPT", **record["runs"][0]}
    again = {"command": "--trajectories KEPT", **record["runs"][0]}
    later = [c | {"run": 1} for c in record["cells"] if c["method"] == LM_DIRECT]
    rest = [c for c in record["cells"] if c["method"] != LM_DIRECT]
    assert list(tables(record | {"runs": [kept, again], "cells": rest + later})) == [table]
    assert "LM direct" in whole(record | {"runs": [kept, kept], "cells": rest + later})
    two = many({"vae-k5": 10, "wgan-k5": 10})  # too few to be a table of models
    assert list(tables(two)) == []
    assert "VAE, k=5" in whole(two)


def test_rides_of_many_models_are_set_against_restarts_together() -> None:
    record = many({"vae-k5": 9, "wgan-k5": 8, "dcgan-k5": 7}, "few", 10)
    for one in record["cells"]:
        if one["method"] == LM_DIRECT:
            one |= cell([[MISS]] * 10)
    (table, equal) = tables(record)
    assert table.startswith("**The package's ways, m = 2k")
    told = [row.split("|")[1:-1] for row in equal.splitlines() if "LM surfing, 10 stages" in row]
    assert [part.strip() for part in told[0]][:7] == [
        "m = 2k", "LM surfing, 10 stages", LM_DIRECT, "3", "3", "0", "0"
    ]  # fmt: skip
    assert list(few(record)) == []
    alone = {"run": 0, "model": "vae-k5", "task": "table1", "m": 0, "method": LM_DIRECT,
             **cell([[HIT]] * 10)}  # fmt: skip
    assert "VAE, k=5" in whole(record | {"cells": [*record["cells"], alone]})


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def test_every_cell_of_the_first_run_is_there_or_told_missing(published: dict[str, Any]) -> None:
    def of(part: str) -> list[tuple[str, str]]:
        return [
            (entry["model"], method)
            for entry in published[part]
            if entry["run"] == 0 and entry["task"] == "table1" and entry["model"] in MODELS
            for method in ([entry["method"]] if "method" in entry else [DIRECT, RIDE, *LM])
        ]

    there, missing = of("cells"), of("missing")
    assert sorted(there + missing) == sorted((m, w) for m in MODELS for w in (DIRECT, RIDE, *LM))


def test_every_cell_has_all_of_its_targets(published: dict[str, Any]) -> None:
    for one in published["cells"]:
        assert {len(one[key]) for key in ("error", "residual", "cost")} == {one["targets"]}
        assert first_found(one)[1] == one["targets"]


def test_every_model_has_both_ways_at_every_step_size(published: dict[str, Any]) -> None:
    lines = picked(published)
    assert {w.model for w in lines} == set(MODELS)
    rates = {str(r) for r in published["runs"][0]["plan"]["rates"]}
    assert all(set(w.grids[way]) == rates for w in lines for way in (DIRECT, RIDE))


def test_the_page_says_what_lost(published: dict[str, Any]) -> None:
    worse = {**published, "tuning": [{"model": "wgan-k20", **line(90, 10, 5000.0)}]}
    told = in_short(worse | {"tuning": [dict(t, grid={
        name: dict.fromkeys(("0.02", "0.05"), grid["0.05"]) for name, grid in t["grid"].items()
    }) for t in worse["tuning"]]})  # fmt: skip
    assert "above direct Adam on 0 of 1 (0 with disjoint 95% intervals), below on 1 (1)" in told[1]
    assert "(behind)" in told[2]


def test_the_page_is_written_from_the_record(published: dict[str, Any]) -> None:
    page = (PUBLISHED.parents[1] / "results.md").read_text(encoding="utf-8")
    assert markdown(published) in page


def test_readme_says_what_the_record_says(published: dict[str, Any]) -> None:
    readme = " ".join((PUBLISHED.parents[2] / "README.md").read_text(encoding="utf-8").split())
    few = [w for w in picked(published) if w.where == "2k" and w.model != "vae-k2"]
    ride, alone = (rate(by_rate(few, way, 0.02)[0]) for way in (RIDE, DIRECT))
    assert f"Adam surfing finds {ride} of the latents and direct Adam {alone}" in readme
    cells = {
        c["method"]: c
        for c in published["cells"]
        if c["task"] == "few" and (c["model"], c["m"]) == ("dcgan-k10", 20) and c["run"] < ZOO
    }
    answer, wave = cells["recover"], cells[RIDE]
    assert f"it finds {rate(first_found(answer))} from 20 measurements at a sixteenth" in readme
    assert 16 <= all_in(wave) / all_in(answer) < 17
    whole = [c for c in published["cells"] if c["task"] == "table1" and c["method"] == "recover"
             and c["run"] == ZOO]  # fmt: skip
    assert {first_found(c) for c in whole} == {(300, 300)}
    assert len({c["model"] for c in whole}) == len(whole) == 12
    costs = [round(all_in(c)) for c in whole]
    rides = [round(w.cost(RIDE)) for w in picked(published)
             if w.where == "all" and w.model != "vae-k2"]  # fmt: skip
    assert f"at {min(costs)} to {max(costs)} passes a target" in readme
    told = [f"{cost // 1000} {cost % 1000:03}" for cost in (min(rides), max(rides))]
    assert f"Adam surfing takes {told[0]} to {told[1]}" in readme
    ahead = {
        (again, where, k)
        for again in (False, True)
        for where in ("all", "2k")
        for k in (5, 10, 20)
        if pooled([
            w
            for w in picked(published, again=again)
            if w.where == where and "gan" in w.model and w.model.endswith(f"-k{k}")
        ]).verdict == "ahead"
    }  # fmt: skip
    assert ahead == {(False, "2k", 20), (True, "2k", 20), (True, "2k", 10)}

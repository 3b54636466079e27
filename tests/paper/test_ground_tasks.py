"""What the ground measures: every task on a small model, and steps that stay within their bound."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from paper.ground.adam import Until
from paper.ground.comparing import FOUND
from paper.ground.curves import surfaces
from paper.ground.measurements import ALL
from paper.ground.model import Model
from paper.ground.page import markdown
from paper.ground.reading import read
from paper.ground.running import main
from paper.ground.tasks import (
    DIRECT,
    LATER,
    RESTARTED,
    RIDE,
    TASKS,
    Plan,
    Room,
    _settings,
    for_restarts,
)
from paper.ground.ways import LM, Bounded, _until_solved, adam_rows
from paper.ground.why import EXTRA, follow

from surfing.descent import LevenbergMarquardt
from surfing.status import Status
from surfing.zoo import packaged

SMALL = Plan(
    rates=(0.05, 0.1),
    tuning=2,
    table=2,
    few=2,
    restarted=4,
    points=2,
    measurements=(20,),
    restarts=(2, 2),
    lm_restarts=(2, 3),
    stage_steps=2,
    until=Until(cap=40, every=10, patience=20),
)


@pytest.fixture(scope="module")
def model() -> Model:
    trajectory = packaged()
    return Model.of("packaged-k10", trajectory.select([0, 20, len(trajectory) - 1]))


def _records(model: Model, task: str) -> list[dict]:
    room = Room(SMALL, float("inf"), None, {"tune": {"chosen": {f"{RIDE} all": 0.1}}})
    return list((TASKS | EXTRA)[task](model, room))


@pytest.mark.parametrize("task", ["tune", "few", "few-lm", "fig3", "paths", "why"])
def test_no_way_fails_on_the_package_as_it_is(model: Model, task: str) -> None:
    records = _records(model, task)
    assert records
    assert not [record for record in records if "failed" in record]


def test_a_way_goes_again_for_what_it_did_not_solve_and_pays_for_it(model: Model) -> None:
    (setting,) = _settings(model, [20], 6, seed=0)
    alone, asked = LM["LM direct"], []

    def counted(part, starts):
        asked.append(part.names)
        return alone(part, starts)

    once, often = alone(setting, 1), _until_solved(counted, 3)(setting, 1)
    lost = once.status != int(Status.SOLVED)
    assert 0 < int(lost.sum()) < len(lost)
    assert asked[0] is None
    assert asked[1] == tuple(setting.ids(2)[1::2][int(t)] for t in lost.nonzero())
    assert len(asked) <= 3
    assert torch.equal(once.cost[~lost], often.cost[~lost])
    assert (often.cost[lost] > once.cost[lost]).all()
    assert (often.risk <= once.risk).all()
    assert torch.equal(once.z[~lost], often.z[~lost])


def test_every_way_of_table_1_is_there_with_all_its_targets(model: Model) -> None:
    both = _records(model, "table1") + _records(model, f"table1{LATER}")
    records = {record["method"]: record for record in both}
    assert set(records) == {DIRECT, RIDE, *LM}
    for record in records.values():
        assert "failed" not in record
        assert len(record["error"]) == SMALL.table
        assert {len(row) for row in record["error"]} == {record["starts"]}
    assert (records[RIDE]["rate"], records[DIRECT]["rate"]) == (0.1, 0.05)


def test_a_bound_holds_for_every_step_and_none_changes_nothing(model: Model) -> None:
    (setting,) = _settings(model, (20,), 3, 0)
    start = adam_rows(setting, 0.0, 1).z

    def ride(descent: LevenbergMarquardt) -> list[torch.Tensor]:
        places = [start]
        follow(setting, start, steps=1, descent=lambda stage: descent, check=lambda: None,
               seen=lambda stage, z: places.append(z))  # fmt: skip
        return places

    free, unbounded, bounded = (
        ride(LevenbergMarquardt()), ride(Bounded()), ride(Bounded(radius=0.05)),
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(free, unbounded, strict=True))
    early = [(b - a).norm(dim=1).max() for a, b in pairwise(bounded[:-1])]
    assert max(early) <= 0.05 + 1e-6
    assert max((b - a).norm(dim=1).max() for a, b in pairwise(free[:-1])) > 0.05


def test_restarts_take_the_step_size_with_the_most_promise_for_the_cost_of_the_ride(
    model: Model,
) -> None:
    alone = {"0.05": {"found": 9, "cost": 900.0}, "0.1": {"found": 5, "cost": 100.0}}
    grid = {f"{DIRECT} all": alone, f"{RIDE} all": {"0.1": {"found": 10, "cost": 950.0}}}
    tuned = {"chosen": {f"{RIDE} all": 0.1}, "grid": grid, "targets": 10}
    assert for_restarts(tuned, "all") == (0.1, 10)  # 1 - .5**9.5 > 1 - .1**1.06
    grid[f"{RIDE} all"]["0.1"]["cost"] = 100.0
    assert for_restarts(tuned, "all") == (0.1, 1)
    grid[f"{DIRECT} all"]["0.05"]["cost"] = 100.0
    assert for_restarts(tuned, "all") == (0.05, 1)
    known = {"tune": tuned | {
        "grid": grid | {f"{way} 2k": grid[f"{way} all"] for way in (DIRECT, RIDE)},
        "chosen": {f"{RIDE} {where}": 0.1 for where in ("all", "2k")},
    }}  # fmt: skip
    records = list(TASKS["restarts"](model, Room(SMALL, float("inf"), None, known)))
    assert [(r["m"], r["method"], r["starts"]) for r in records] == [
        (m, RESTARTED, 1) for m in (ALL, 2 * model.k, 4 * model.k)
    ]
    whole = _settings(model, [ALL], SMALL.restarted, SMALL.seed)[0]
    assert torch.equal(whole.z[: SMALL.table], _settings(model, [ALL], SMALL.table, 0)[0].z)


def test_targets_of_the_step_sizes_are_not_those_of_the_tables(model: Model) -> None:
    tuning, _ = model.truths(30, seed=SMALL.seed + 1)
    reported, _ = model.truths(30, seed=SMALL.seed)
    assert torch.cdist(tuning, reported).min() > 0.1


def test_from_training_to_the_page(tmp_path: Path) -> None:
    out = tmp_path / "ground"
    arguments = ["--quick", "--models", "vae-k5", "--tasks", "sheet", "tune", "table1", "table1-lm"]
    assert main([*arguments, "--out", str(out)]) == 0
    record = read([out / "ground.zip"])
    assert {cell["method"] for cell in record["cells"]} == {DIRECT, RIDE, *LM}
    assert record["missing"] == []
    assert record["runs"][0]["command"] == " ".join(arguments)
    assert "VAE, k=5, all pixels (6 targets, a CPU) | LM surfing, 10 stages" in markdown(record)
    assert {cell["m"] for cell in record["cells"]} == {ALL}


def test_the_surfaces_are_of_targets_that_only_the_ride_finds_if_there_are_any(
    tmp_path: Path,
) -> None:
    out = tmp_path / "ground"
    assert main(["--quick", "--models", "vae-k2", "--tasks", "surface", "--out", str(out)]) == 0
    record = read([out / "ground.zip"])
    (drawn,) = record["surfaces"]
    truth, ride, alone = (torch.tensor(drawn[name]) for name in ("truth", "end", "direct"))
    won = ((ride - truth).norm(dim=1) < FOUND) & ((alone - truth).norm(dim=1) >= FOUND)
    assert int(won.sum()) == min(2, drawn["only_ride"])
    assert drawn["only_ride"] + drawn["only_direct"] <= drawn["tried"]
    assert len(drawn["path"]) == drawn["panels"][-1]["stage"] + 1 == 5
    assert torch.tensor(drawn["path"]).abs().max() <= drawn["width"]
    pictures = surfaces(record, tmp_path)
    assert [path.name for path in pictures] == ["ground-fig1-vae-k2.png"]
    assert pictures[0].stat().st_size > 10_000

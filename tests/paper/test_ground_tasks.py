"""What the ground measures: every task on a small model, and steps that stay within their bound."""

from __future__ import annotations

from dataclasses import replace
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
from paper.ground.ways import AGAIN, LM, Bounded, _until_solved, adam_rows
from paper.ground.why import EXTRA, follow

from surfing.continuation import Stages, surf
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


def _records(model: Model, task: str, chosen: dict[str, float] | None = None) -> list[dict]:
    known = {"tune": {"chosen": chosen or {f"{RIDE} all": 0.1}}}
    room = Room(SMALL, float("inf"), None, known)
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
        asked.append(part)
        return alone(part, starts)

    once = alone(setting, 1)
    often = _until_solved(setting, 1, counted(setting, 1), [counted] * 2)
    lost = once.status != int(Status.SOLVED)
    assert 0 < int(lost.sum()) < len(lost)
    names = [tuple(part.names) for part in asked[1:]]
    assert asked[0].names is None
    assert names[0] == tuple(setting.ids(2)[1::2][int(t)] for t in lost.nonzero())
    assert len(asked) <= 3
    cost, status = once.cost.clone(), once.status.clone()
    for time, part in enumerate(asked[1:], start=1):
        behind = (status != int(Status.SOLVED)).nonzero().flatten()
        assert names[time - 1] == tuple(setting.ids(3)[time::3][int(t)] for t in behind)
        again = alone(part, 1)
        cost[behind] += again.cost
        status[behind] = torch.where(again.status == 0, again.status, status[behind])
    assert torch.equal(cost, often.cost)
    assert torch.equal(status == 0, often.status == 0)
    assert (often.risk <= once.risk).all()
    assert torch.equal(once.z[~lost], often.z[~lost])


def test_what_was_solved_later_is_kept_whatever_the_risk_before(model: Model) -> None:
    (setting,) = _settings(model, [20], 2, seed=0)
    first = LM["LM direct"](setting, 1)

    def answers(part, starts):
        failed = part.names is None
        status = Status.NONFINITE if failed else Status.SOLVED
        return replace(
            first, status=torch.full_like(first.status, int(status)), seconds=1.0,
            risk=first.risk * float("nan") if failed else first.risk,
            z=first.z if failed else first.z + 1,
        )  # fmt: skip

    found = _until_solved(setting, 1, answers(setting, 1), [answers] * 4)
    assert (found.status == int(Status.SOLVED)).all()
    assert torch.equal(found.z, first.z + 1)
    assert torch.equal(found.cost, 2 * first.cost)
    assert found.seconds == 2.0
    # And what ends without a number takes the place of nothing.
    failed = answers(setting, 1)
    stalled = replace(first, status=torch.full_like(first.status, int(Status.STALLED)))
    kept = _until_solved(setting, 1, stalled, [lambda part, starts: failed])
    assert torch.equal(kept.z, first.z)
    assert torch.equal(kept.risk, first.risk)


def test_a_ride_goes_again_from_later_stages_and_pays_for_its_schedule_once(model: Model) -> None:
    (setting,) = _settings(model, [40], 12, seed=0)
    once = LM["LM surfing, 10 stages"](setting, 1)
    often = LM[f"LM surfing, 10 stages{AGAIN}"](setting, 1)
    lost = (once.status != int(Status.SOLVED)).nonzero().flatten()
    assert 0 < len(lost) < len(once)
    assert often.cost_once == once.cost_once > 0
    stages = [record.stage for record in once.stages]
    cost, status = once.cost.clone(), once.status.clone()
    for time in range(1, len(stages)):
        behind = (status != int(Status.SOLVED)).nonzero().flatten()
        if not len(behind):
            break
        part = setting.again(behind, time)
        again = surf(
            model.trajectory, part.y(1), generator=model.generator, ids=part.ids(1),
            operator=setting.operators.single(0), schedule=Stages(tuple(stages[time:])),
        )  # fmt: skip
        cost[behind] += again.cost
        status[behind] = torch.where(again.status == 0, again.status, status[behind])
    assert torch.equal(cost, often.cost)
    assert torch.equal(status == 0, often.status == 0)


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
    chosen = {f"{RIDE} all": 0.1, f"{DIRECT} all": 0.05}
    tuned = {"chosen": chosen, "grid": grid, "targets": 10}
    # 1 - .5**9.5 > 1 - .1**1.06; 9.5 and an eighth; that of single starts is there too.
    assert for_restarts(tuned, "all") == [(0.05, 2), (0.1, 11)]
    alone["0.1"]["found"] = alone["0.05"]["found"] = 10
    assert for_restarts(tuned, "all") == [(0.05, 2), (0.1, 11)]  # as much by more starts
    alone["0.1"]["found"], alone["0.05"]["found"] = 5, 9
    grid[f"{RIDE} all"]["0.1"]["cost"] = 180.0
    alone["0.05"]["cost"] = 180.0
    assert for_restarts(tuned, "all") == [(0.05, 2)]  # .9 by one start, .71 by 1.8
    chosen[f"{DIRECT} all"] = 0.1
    known = {"tune": tuned | {
        "grid": grid | {f"{way} 2k": grid[f"{way} all"] for way in (DIRECT, RIDE)},
        "chosen": {**chosen, f"{RIDE} 2k": 0.1, f"{DIRECT} 2k": 0.05},
    }}  # fmt: skip
    records = list(TASKS["restarts"](model, Room(SMALL, float("inf"), None, known)))
    counts = (ALL, 2 * model.k, 4 * model.k)
    assert [(r["m"], r["method"], r["rate"], r["starts"]) for r in records] == [
        *((m, RESTARTED, 0.1 if m == ALL else 0.05, 3 if m == ALL else 2) for m in counts),
        (ALL, RESTARTED, 0.05, 2),
    ]
    alone_at = replace(SMALL, restarted_from=(2 * model.k,))
    (only,) = TASKS["restarts"](model, Room(alone_at, float("inf"), None, known))
    assert only["error"] == records[1]["error"]
    # The same targets and starts as those of the table, so that both can be paired.
    alone = next(r for r in _records(model, "table1", {f"{DIRECT} all": 0.05, f"{RIDE} all": 0.1})
                 if r["method"] == DIRECT)  # fmt: skip
    assert SMALL.table < SMALL.restarted
    assert alone["error"] == records[-1]["error"][: SMALL.table]


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

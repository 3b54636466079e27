"""The benchmark commands run, and what their records say follows from what was measured."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch
from benchmarks.measure import wilson
from torch import nn

from benchmarks import (
    distillation,
    jacobian,
    memory,
    methods,
    public_generators,
    recovery,
    scaling,
    table,
    tuning,
)
from surfing.trajectory import Trajectory
from surfing.zoo.packaged import packaged_path

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:deepinv"),
]
METHODS = ("lm-surfing", "lm", "torch-lbfgs", "scipy-jacfwd")


def test_recovery_with_tuned_settings(tmp_path: Path) -> None:
    tuned, out = tmp_path / "tuning.json", tmp_path / "recovery.json"
    common = {"operators": ("gaussian:20",), "threads": 1, "short": True}
    best = tuning.main(packaged_path(), out=tuned, methods=("lm",), **common)  # type: ignore[arg-type]
    recovery.main(packaged_path(), out=out, methods=METHODS, tuning=tuned, **common)  # type: ignore[arg-type]
    record = json.loads(out.read_text())
    (cell,) = record["cells"]
    assert table.table_of(cell, 1).markdown().count("\n|") == 2 + len(METHODS)  # header and rule
    lines = cell["methods"]
    assert list(lines) == list(METHODS)
    chosen = best["cells"][0]["methods"]["lm"]["best"]
    assert lines["lm"]["settings"].items() >= chosen.items()
    for line in lines.values():
        found = [error < 0.01 for error in line["error"]]
        assert line["recovered"] == found
        assert line["cost_per_target"] == pytest.approx(statistics.mean(line["cost"]), rel=1e-5)
        median = statistics.median(line["seconds"])
        if any(found):
            expected = median / sum(found)
            assert line["seconds_per_recovered"] == pytest.approx(expected, rel=1e-5)
        else:
            assert line["seconds_per_recovered"] is None


def test_recovery_of_several_runs_in_double_precision(tmp_path: Path) -> None:
    again = tmp_path / "again"
    Trajectory.open(packaged_path())[-3:].save(again)
    out = tmp_path / "recovery.json"
    recovery.main(
        packaged_path(),
        again,
        out=out,
        methods=("lm-surfing-float64", "scipy-float64", "recover"),
        tuning=tmp_path / "none",
        operators=("all pixels",),
        threads=1,
        short=True,
    )
    cells = json.loads(out.read_text())["cells"]
    assert [cell["trajectory"]["name"] for cell in cells] == [packaged_path().name, "again"]
    for cell in cells:
        told = cell["agreement_with_scipy"]
        assert told["between"] == ["lm-surfing-float64", "scipy-float64"]
        assert 0 < told["within_1e-5"] <= told["count"] <= told["targets"]
        assert table.table_of(cell, 1).markdown().count("agree to 1e-5") == 1
        for line in cell["methods"].values():
            found = sum(line["recovered"])
            interval = wilson(found, line["targets"])
            assert line["success_interval"] == pytest.approx(interval, rel=1e-5)


def test_names_on_request_take_part_only_where_they_are_named() -> None:
    everybody = [method.name for method in methods.named(None)]
    assert "recover" in everybody
    assert not {"lm-surfing-float64", "scipy-float64"} & set(everybody)


def test_what_is_returned_is_counted() -> None:
    line = memory.measured(
        packaged_path(), 10, operator="gaussian:20", budget=60.0, seed=1, threads=1
    )
    assert line["targets"] == 10
    assert line["returned_mib"] * 2**20 == 10 * 4 * (10 + 28 * 28)
    assert 0 < line["cost_per_target"] <= 60


@pytest.mark.slow
def test_memory(tmp_path: Path) -> None:
    record = memory.main(out=tmp_path / "memory.json", short=True)
    assert json.loads((tmp_path / "memory.json").read_text())["quick"] is True
    assert [line["targets"] for line in record["lines"]] == [20, 40]
    for line in record["lines"]:
        assert 0 < line["cost_per_target"] <= record["budget"]
    assert memory.table(record).markdown().count("\n|") == 2 + len(record["lines"])


def test_jacobian(tmp_path: Path) -> None:
    record = jacobian.main(out=tmp_path / "j.json", latents=(3,), threads=(1,), short=True)
    assert json.loads((tmp_path / "j.json").read_text())["quick"] is True
    assert [line["network"] for line in record["lines"]] == list(jacobian.NETWORKS)


def test_multiplications_by_hand() -> None:
    net = nn.Sequential(
        nn.Linear(3, 2 * 4 * 4),
        nn.Unflatten(1, (2, 4, 4)),
        nn.ConvTranspose2d(2, 5, 4, 2, 1),
        nn.Conv2d(5, 1, 3),
    )
    by_hand = 3 * 32 + 16 * 2 * (5 * 16) + 36 * (5 * 9)
    assert jacobian.multiplications(net, torch.zeros(1, 3)) == by_hand


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of processes that Ray starts
def test_scaling_compares_the_same_bits(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        scaling.main(out=tmp_path / "scaling.json", short=True)
    finally:
        torch.set_num_threads(threads)
    record = json.loads((tmp_path / "scaling.json").read_text())
    assert record["same_bits"]
    for name, workers in (("one process", 1), ("ray", 2)):
        side = record["sides"][name]
        assert len(side["finished"]) == record["targets"] / record["shard"]
        again = scaling.rates(side["finished"], record["shard"], workers)
        assert side["rate"] == pytest.approx(again["rate"], rel=1e-3)
    ratio = record["sides"]["ray"]["rate"] / record["sides"]["one process"]["rate"]
    assert record["speed_up"] == pytest.approx(ratio, rel=1e-3)


def test_rides_along_a_made_path(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    common = {"out": tmp_path / "rides.json", "paths": tmp_path / "paths", "short": True}
    try:
        record = distillation.main(measured=("2k",), **common)  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(threads)
    (cell,) = (held["cells"]["2k"] for held in record["models"].values())
    assert {line["found"][1] for line in cell.values()} == {4}
    (row,) = distillation.table(record).rows
    best = max(cell[f"distilled: {ride}"]["found"][0] for ride in distillation.RIDES)
    assert row["distilled"] == (best, 4)
    (one,) = distillation.ride_table(record).rows
    assert one["distilled cost"] == cell[f"distilled: {distillation.CHEAPEST}"]["cost"]
    for rival in ("direct", "annealed"):
        assert one[f"{rival} cost"] >= one["distilled cost"]
    assert not distillation.adam_table(record).rows


@pytest.mark.slow
@pytest.mark.parametrize("name", list(public_generators.GENERATORS))
def test_public_generators_are_distilled_as_they_are(name: str) -> None:
    k, build = public_generators.GENERATORS[name]
    torch.manual_seed(0)
    line = public_generators.made(build(), k, stages=1, steps=1, batch_size=2)
    assert line["ends_with_it"]
    assert line["untouched"]

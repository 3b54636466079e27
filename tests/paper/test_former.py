"""Records of the first release are told under names that no two methods share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paper.former import renamed
from paper.page import PARTS, read_records

from surfing.evaluation.methods import METHODS

RECORDS = Path(__file__).parents[2] / "docs" / "records"


def told(record: dict) -> list[str]:
    parts = record["results"].values()
    return [part.get("method") or part.get("name") for part in parts]


@pytest.mark.parametrize("name", ["table1", "fig3", "fig4", "budget", "adam"])
def test_every_published_part_names_a_method_of_today(name: str) -> None:
    record = read_records(RECORDS)[name]
    assert set(told(record)) <= {*METHODS, "range distance"}
    assert set(record["config"].get("methods", ())) <= set(METHODS)
    for method, part in zip(told(record), record["results"].values()):
        if "label" in part:
            assert part["label"] == METHODS[method].label


def test_the_two_that_were_called_direct_lm_are_told_apart() -> None:
    records = read_records(RECORDS)
    assert "direct-lm" in told(records["table1"])
    assert "lm-restarts" in told(records["budget"])
    assert not set(told(records["table1"])) & {"lm-restarts", "annealed-restarts"}


@pytest.mark.parametrize("name", PARTS)
def test_numbers_stay_and_what_has_todays_names_stays_as_it_is(name: str) -> None:
    path = RECORDS / f"{name}.json"
    if not path.is_file():
        pytest.skip("drawn from another's record, or not made yet")
    old = json.loads(path.read_text())
    new = renamed(old)
    assert renamed(new) == new
    if "results" not in old:
        assert new == old
        return
    assert len(new["results"]) == len(old["results"])
    for before, after in zip(old["results"].values(), new["results"].values()):
        assert {k: v for k, v in before.items() if k not in ("method", "name", "label")} == {
            k: v for k, v in after.items() if k not in ("method", "name", "label")
        }

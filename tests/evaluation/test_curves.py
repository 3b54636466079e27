"""Curves read back from a record are those that the comparison had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surfing.errors import InputError
from surfing.evaluation.compare import Comparison, Curve
from surfing.evaluation.curves import read_curves

RECORDS = Path(__file__).parents[2] / "docs" / "records"


def test_a_comparison_reads_back(tmp_path: Path) -> None:
    curves = (
        Curve("lm", "direct LM", [[True, False, False], [True, True, False]], [9.0, 99.0]),
        Curve("recover", "recover", [[True], [True]], [9.0, 99.0], extra=1500.0),
    )
    path = tmp_path / "compare.json"
    path.write_text(json.dumps(Comparison((100, 200), curves).to_dict()))
    read = read_curves(path, cell="anything")
    assert read["LM restarts, given up early"] == [(100.0, 1, 3), (200.0, 2, 3)]
    # What is spent once is not in the budgets, so it is told with the name.
    assert read["recover, and 1 500 once for all targets"] == [(100.0, 1, 1), (200.0, 1, 1)]


def test_the_budget_record_holds_a_model_or_says_which_it_holds() -> None:
    record = json.loads((RECORDS / "budget.json").read_text())
    for cell in record["config"]["cells"]:
        read = read_curves(RECORDS / "budget.json", cell=cell)
        assert len(read) == len(record["config"]["methods"])
        points = read["LM restarts, given up early"]  # "direct LM" in the record, of two algorithms
        assert [budget for budget, _, _ in points] == record["config"]["budgets"]
    with pytest.raises(InputError, match=f"compares on {', '.join(record['config']['cells'])}"):
        read_curves(RECORDS / "budget.json", cell="another")


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"methods": [{}], "budgets": [1]}', '{"methods": 3, "budgets": []}']
)
def test_what_is_no_comparison_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    with pytest.raises(InputError, match="which is no file"):
        read_curves(path)
    path.write_text(text)
    with pytest.raises(InputError, match=r"--comparison: expected compare\.json"):
        read_curves(path)

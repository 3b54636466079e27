"""The folder of a run: one process at a time, each shard once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from surfing.errors import InputError, OutputExistsError
from surfing.execution import Local, Shards
from surfing.solution import Solution, Status


def double(y: Tensor, *, ids: Sequence[int], progress: object = None) -> Solution:
    return Solution(
        z=2 * y,
        x=y[:, None],
        risk=y[:, 0] ** 2,
        status=torch.full((len(y),), int(Status.SOLVED)),
        cost=torch.tensor(list(ids), dtype=torch.float32),
    )


def begun(out: Path, *, size: int = 2, overwrite: bool = False, **facts: int) -> Shards:
    return Shards.open(out, facts, targets=5, size=size, overwrite=overwrite)


Y = np.arange(10, dtype=np.float32).reshape(5, 2)


def test_a_run_is_gathered_in_order_and_done_once(tmp_path: Path) -> None:
    with begun(tmp_path / "out", a=1) as shards:
        assert shards.run(double, Y, Local()) == 0
        result = shards.gather()
    assert np.array_equal(np.load(tmp_path / "out" / "z.npy"), 2 * Y)
    assert result["cost"] == [0, 1, 2, 3, 4]
    assert result["met"] == result["targets"] == 5
    with begun(tmp_path / "out", a=1, size=4) as again:
        assert again.size == 2
        assert again.run(double, Y, Local()) == 3


def test_another_run_is_refused_and_only_its_results_are_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with begun(out, a=1) as shards:
        shards.run(double, Y, Local())
    (out / "mine.txt").write_text("dear")
    with pytest.raises(OutputExistsError, match=r"^out: .* another a\."):
        begun(out, a=2)
    with begun(out, a=2, overwrite=True) as shards:
        assert not any(map(shards.done, shards.ranges()))
    assert (out / "mine.txt").read_text() == "dear"


def test_a_folder_is_written_by_one_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with begun(out, a=1):
        with pytest.raises(OutputExistsError, match="another process is writing"):
            begun(out, a=1)
        with pytest.raises(OutputExistsError, match="another process is writing"):
            begun(out, a=2, overwrite=True)
    with begun(out, a=1) as shards:
        assert shards.run(double, Y, Local()) == 0
    assert not list(out.glob(".surfing-lock"))


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from surfing.execution import Shards\n"
        "kept = Shards.open(Path(sys.argv[1]), {}, targets=5, size=2, overwrite=False)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    out = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", script, out], check=False)
    assert ended.returncode < 0
    assert (out / ".surfing-lock").exists()
    with begun(out) as shards:
        assert shards.run(double, Y, Local()) == 0


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refusal_lets_go_of_the_folder(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(OutputExistsError, match="holds no run"):
        begun(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(OutputExistsError, match="is a file"):
        begun(tmp_path / "mine.txt")
    for size in (0, "2", 1.5):
        with pytest.raises(InputError, match=r"^shard: "):
            begun(tmp_path / "new", size=size)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (Y[::-1].copy(), "targets 0 to 1 are not those of before"),
        (Y.astype(np.float64), "targets 0 to 1 are not"),
        (np.concatenate([Y, Y], 1), "targets 0 to 1 are not"),
        (np.concatenate([Y[:4], -Y[4:]]), "targets 4 to 4 are not"),
    ],
    ids=["another order", "another type", "another shape", "the last is another"],
)
def test_shards_of_other_measurements_are_refused(y: np.ndarray, said: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with begun(out, a=1) as shards:
        shards.run(double, Y, Local())
    with begun(out, a=1) as shards:
        with pytest.raises(OutputExistsError, match=f"^out: .*{said}"):
            shards.run(double, y, Local())
        assert shards.run(double, Y, Local()) == 3
    with begun(out, a=1, overwrite=True) as shards:
        assert shards.run(double, y, Local()) == 0


def test_a_shard_that_is_there_says_what_it_was_solved_from(tmp_path: Path) -> None:
    with begun(tmp_path / "out") as shards:
        shards.run(double, Y, Local())
        shards.path(range(2, 4)).unlink()  # killed between the two files
        assert shards.run(double, torch.from_numpy(Y), Local()) == 2
        for file in (tmp_path / "out" / "shards").glob("*.json"):
            file.unlink()  # a folder of before
        assert shards.run(double, Y, Local()) == 3


def test_a_run_keeps_its_number_of_targets_and_its_parquet_files_are_its_own(
    tmp_path: Path,
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out"
    with begun(out) as shards:
        shards.run(double, Y, Local())
        shards.gather(parquet=True)
    fewer = {"targets": 3, "size": 2, "overwrite": False}
    with pytest.raises(OutputExistsError, match="another number of targets"):
        Shards.open(out, {}, **fewer)
    described = json.loads((out / "run.json").read_text())
    del described["targets"]  # a folder of before
    (out / "run.json").write_text(json.dumps(described))
    with Shards.open(out, {}, **fewer) as shards:
        shards.run(double, Y[:3], Local())
        shards.gather(parquet=True)
    assert sorted(parquet.read_table(out / "parquet")["id"].to_pylist()) == [0, 1, 2]


@pytest.mark.parametrize("facts", [{"shape": (1, 2)}, {"d": {1: 2}}, {"x": None}, {"deep": ((),)}])
def test_a_run_goes_on_with_the_facts_that_it_began_with(
    facts: dict[str, object], tmp_path: Path
) -> None:
    for found in (0, 3):
        with Shards.open(
            str(tmp_path / "out"), facts, targets=5, size=2, overwrite=False
        ) as shards:
            assert shards.run(double, Y, Local()) == found


def test_an_option_that_a_folder_does_not_know_was_not_used(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for facts in ({"a": 1}, {"a": 1, "new": False}, {"a": 1, "newer": None}, {"a": 1}):
        with Shards.open(out, facts, targets=5, size=2, overwrite=False):
            pass
    with pytest.raises(OutputExistsError, match=r"another new\."):
        begun(out, a=1, new=True)
    with pytest.raises(OutputExistsError, match=r"another b\."):
        begun(out, a=1, b=0)


@pytest.mark.parametrize("value", [Path("a"), np.float32(1), float("nan"), {1}, Y])
def test_facts_without_a_json_form_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^facts: expected JSON values"):
        Shards.open(tmp_path / "out", {"a": value}, targets=5, size=2, overwrite=False)
    assert not (tmp_path / "out").exists()

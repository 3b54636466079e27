"""What a run returns: saved and read back, it is the same."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import surfing
from surfing.solution import Solution, StageRecord, Status, summarise_status


def make(targets: int = 3, k: int = 2, stages: int = 2, *, full: bool = True) -> Solution:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    status = torch.tensor([int(Status.SOLVED), int(Status.CONVERGED), int(Status.NONFINITE)])
    status = status.repeat(targets)[:targets]
    risk = draw(targets).double().square()
    records = tuple(
        StageRecord(
            float(i) / 3,
            10.0 * i,
            draw(targets, k),
            risk,
            torch.arange(targets),
            risk,
            status,
            damping=risk + i if full else None,
        )
        for i in range(stages)
    )
    return Solution(
        z=draw(targets, k),
        x=draw(targets, 1, 2, 2),
        risk=risk,
        status=status,
        cost=risk * 100,
        stages=records,
        candidates_z=draw(targets, 4, k) if full else None,
        candidates_risk=draw(targets, 4) if full else None,
        singular_values=draw(targets, k).abs().sort(1, descending=True).values if full else None,
        covariance=draw(targets, k, k) if full else None,
        y_norm=draw(targets).abs() + 1 if full else None,
        notes=("a note <&>",),
        seconds=1.25,
        depth=7,
        method="surf LevenbergMarquardt",
        info={"seed": 3, "nested": {"a": [1, 2.5, None, True]}},
    )


def same(a: Solution, b: Solution) -> bool:
    def equal(one, other):
        if isinstance(one, torch.Tensor):
            return (
                isinstance(other, torch.Tensor)
                and one.dtype == other.dtype
                and one.shape == other.shape
                and torch.equal(one.nan_to_num(7.5), other.nan_to_num(7.5))
            )
        if isinstance(one, tuple) and one and isinstance(one[0], StageRecord):
            return len(one) == len(other) and all(
                equal(getattr(r, n), getattr(s, n)) for r, s in zip(one, other) for n in vars(r)
            )
        return one == other

    return all(equal(getattr(a, name), getattr(b, name)) for name in vars(a))


@pytest.mark.parametrize("full", [True, False])
def test_save_and_load_is_the_identity(tmp_path, full):
    solution = make(full=full)
    solution.z[0, 0] = torch.nan
    solution.risk[1] = torch.inf
    target = solution.save(tmp_path / "deep" / "s.safetensors")
    assert same(solution, Solution.load(target))
    assert not same(solution, make(targets=2))


@given(targets=st.integers(0, 4), k=st.integers(1, 3), stages=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_any_shape_reads_back(tmp_path_factory, targets, k, stages):
    solution = make(targets, k, stages)
    path = solution.save(tmp_path_factory.mktemp("s") / "s.safetensors")
    assert same(solution, Solution.load(path))


def test_a_file_from_before_dampings_were_kept_still_loads(tmp_path):
    old = make(full=False)
    path = old.save(tmp_path / "s.safetensors")
    with safe_open(path, framework="pt") as handle:
        assert not any("damping" in name for name in handle.keys())  # noqa: SIM118
    assert all(record.damping is None for record in Solution.load(path).stages)


def test_dampings_are_joined_and_moved():
    one, other = make(2), make(3)
    joined = Solution.joined([one, other])
    for number, record in enumerate(joined.stages):
        parts = [one.stages[number].damping, other.stages[number].damping]
        assert torch.equal(record.damping, torch.cat(parts))
    assert {record.damping.device.type for record in one.to("meta").stages} == {"meta"}
    half = Solution.joined([one, make(1, full=False)])
    assert half.stages[0].damping.isnan().tolist() == [False, False, True]
    assert Solution.joined([make(1, full=False)] * 2).stages[0].damping is None


def test_nothing_is_overwritten_unasked(tmp_path):
    path = make().save(tmp_path / "s.safetensors")
    before = path.read_bytes()
    with pytest.raises(surfing.OutputExistsError):
        make(2).save(path)
    assert path.read_bytes() == before
    make(2).save(path, overwrite=True)
    assert len(Solution.load(path)) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("path", [".", "", "..", "/", "folder", "file/below", "file/far/below"])
def test_a_path_that_no_file_can_have_is_an_input_error(tmp_path, monkeypatch, path, overwrite):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(surfing.InputError, match="path: expected a file"):
        make().save(path, overwrite=overwrite)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_what_is_no_solution_is_refused(tmp_path):
    with pytest.raises(surfing.InputError):
        Solution.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\x00" * 40)
    with pytest.raises(surfing.InputError, match="not a saved solution"):
        Solution.load(tmp_path / "bad")
    path = make().save(tmp_path / "cut")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(surfing.InputError):
        Solution.load(path)


def test_the_summary_counts_every_target():
    solution = make(3)
    text = solution.summary()
    assert "3 targets" in text
    for status in Status:
        if int(status) in solution.status.tolist():
            assert f"{status.label}: {status.message}" in text
    assert "note: a note <&>" in text
    assert "&lt;&amp;&gt;" in solution._repr_html_()
    assert sum(count for _, count in summarise_status(solution.status)) == 3


def test_failures_are_raised_on_demand():
    with pytest.raises(surfing.RecoveryError, match="2 of 3 targets failed; target 1: converged"):
        make(3).raise_failures()
    assert make(1).raise_failures().z.shape == (1, 2)


def test_undetermined_directions_are_counted():
    solution = make(1)
    known = torch.tensor([[2.0, 1e-9]])
    from dataclasses import replace

    assert replace(solution, singular_values=known).undetermined.tolist() == [1]
    assert replace(solution, singular_values=torch.ones(1, 2)).undetermined.tolist() == [0]
    assert replace(solution, singular_values=None).undetermined.tolist() == [0]


def test_a_status_is_an_integer_that_prints_as_words():
    solution = make(3)
    status = replace(solution, status=torch.tensor([0, 10, 3])).status
    assert repr(status) == str(status) == "[solved, outside, converged]"
    assert status.tolist() == [0, 10, 3]
    assert type(status == 0) is type(status + 1) is torch.Tensor
    many = replace(make(40), status=torch.zeros(40, dtype=torch.long)).status
    assert repr(many).endswith("solved, ... 28 more]")


def test_the_residual_is_told_relative_to_the_measurements():
    solution = make()
    expected = (2 * solution.risk).sqrt() / solution.y_norm
    assert torch.allclose(solution.relative_residual, expected.to(solution.risk))
    assert "relative to y" in solution.summary()
    unknown = make(full=False)
    assert unknown.relative_residual.isnan().all()
    assert "relative to y" not in unknown.summary()


def test_a_solution_is_copied_and_its_status_is_loaded_as_any_tensor(tmp_path):
    model = surfing.ForwardModel(surfing.zoo.packaged())
    _, x = model.draw(2)
    solution = surfing.recover(model, model.measure(x))
    again = copy.deepcopy(solution)
    assert torch.equal(again.status, solution.status)
    assert repr(again.status) == repr(solution.status)
    torch.save(solution.status, tmp_path / "status.pt")
    assert torch.equal(torch.load(tmp_path / "status.pt"), solution.status)
    nothing = replace(solution, y_norm=torch.zeros(2))
    assert bool(nothing.relative_residual.isnan().all())

from __future__ import annotations

import itertools
import pickle
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from surfing.errors import (
    CorruptTrajectoryError,
    EmptyTrajectoryError,
    GeneratorError,
    InputError,
    NotATrajectoryError,
    OutputExistsError,
)
from surfing.latents import Normal, Uniform
from surfing.trajectory import Trajectory, store
from surfing.trajectory.manifest import Manifest


def scalar_path(values: list[float], latent: Normal | None = None) -> Trajectory:
    states = [
        (10 * i, {"w": torch.tensor([v, -v]), "running_var": torch.tensor([abs(v)])})
        for i, v in enumerate(values)
    ]
    return Trajectory.from_state_dicts(states, latent=latent)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(a[n].equal(b[n]) and a[n].dtype == b[n].dtype for n in a)


# --- opening, saving


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saving_and_opening_is_the_identity(tmp_path: Path, dtype: torch.dtype) -> None:
    states = [
        (
            step,
            {
                "w": torch.randn(3, 4, dtype=dtype),
                "half": torch.randn(3).half().float(),
                "count": torch.tensor(step),
                "mask": torch.tensor([True, False]),
                "none": torch.zeros(0, 3),
                "scalar": torch.tensor(1.5, dtype=dtype),
            },
        )
        for step in (3, 5, 1000)
    ]
    made = Trajectory.from_state_dicts(
        states,
        latent=Uniform(4, -2.0, 3.0),
        architecture={"name": "mlp", "arguments": {"width": 3}},
        metadata={"note": "ü"},
    )
    made.save(tmp_path / "a")
    opened = Trajectory.open(tmp_path / "a")
    assert opened.steps == made.steps == (3, 5, 1000)
    if dtype == torch.float32:
        assert all(same(a.state, b.state) for a, b in zip(made, opened, strict=True))
    else:
        assert all(a.state["w"].equal(b.state["w"]) for a, b in zip(made, opened, strict=True))
    assert opened.latent == made.latent
    assert opened.architecture == made.architecture
    assert opened.metadata["note"] == "ü"
    opened.save(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_what_was_given_is_copied() -> None:
    w = torch.ones(2)
    trajectory = Trajectory.from_state_dicts([(0, {"w": w})])
    w.zero_()
    assert trajectory[0].state["w"].tolist() == [1, 1]


def test_saving_refuses_what_it_would_destroy(tmp_path: Path, trajectory: Trajectory) -> None:
    trajectory[:2].save(tmp_path / "out")
    with pytest.raises(OutputExistsError, match="2 checkpoints"):
        trajectory.save(tmp_path / "out")
    assert len(Trajectory.open(tmp_path / "out")) == 2
    trajectory.save(tmp_path / "out", overwrite=True, dtype="float16")
    assert len(Trajectory.open(tmp_path / "out")) == 5
    assert trajectory.path is not None
    with pytest.raises(InputError, match="another directory"):
        trajectory[:2].save(trajectory.path / ".." / trajectory.path.name, overwrite=True)
    with pytest.raises(InputError, match="dtype"):
        trajectory.save(tmp_path / "new", dtype="int4")
    assert not (tmp_path / "new").exists()
    trajectory.verify()


def test_a_failed_save_leaves_nothing(tmp_path: Path, trajectory: Trajectory) -> None:
    assert trajectory.path is not None
    bad = trajectory.path / "step-000000030.safetensors"
    bad.write_bytes(bytes(bad.stat().st_size))
    with pytest.raises(CorruptTrajectoryError):
        trajectory.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_that_are_no_trajectory(tmp_path: Path) -> None:
    with pytest.raises(NotATrajectoryError, match="import_checkpoints"):
        Trajectory.open(tmp_path)
    with pytest.raises(NotATrajectoryError):
        Trajectory.open(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotATrajectoryError):
        Trajectory.open(tmp_path / "file")
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(CorruptTrajectoryError):
        Trajectory.open(tmp_path)


def test_no_checkpoint(tmp_path: Path) -> None:
    store.Store(tmp_path, Manifest()).update(Manifest())
    with pytest.raises(EmptyTrajectoryError):
        Trajectory.open(tmp_path)
    with pytest.raises(EmptyTrajectoryError):
        Trajectory.from_state_dicts([])
    with pytest.raises(EmptyTrajectoryError):
        scalar_path([1, 2])[2:]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([(0, {"w": torch.ones(1)}), (0, {"w": torch.ones(1)})], "strictly increase"),
        ([(5, {"w": torch.ones(1)}), (4, {"w": torch.ones(1)})], "strictly increase"),
        ([(-1, {"w": torch.ones(1)})], "strictly increase"),
        ([(1.5, {"w": torch.ones(1)})], "states: expected an integer"),
        ([(0, {"w": torch.ones(1)}), (1, {"w": torch.ones(2)})], "step 1"),
        ([(0, {"w": torch.ones(1)}), (1, {"v": torch.ones(1)})], "step 1"),
        ([(0, {"w": 3})], "dense tensor"),
        ([(0, {"w": torch.ones(2).to_sparse()})], "dense tensor"),
        ([(0, {"w": torch.ones(2, device="meta")})], "dense tensor"),
        ([(0, {})], "found none"),
        ([(0, 7)], "mapping"),
    ],
)
def test_state_dicts_that_are_no_trajectory(states: list[tuple[int, object]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Trajectory.from_state_dicts(states)  # type: ignore[arg-type]


def test_a_latent_law_of_somebodys_own(tmp_path: Path) -> None:
    class Sphere(Normal):
        def to_dict(self) -> dict[str, object]:
            return {"law": "sphere", "dim": self.dim}

    scalar_path([1, 2], latent=Sphere(3)).save(tmp_path / "a")
    with pytest.raises(InputError, match="latent="):
        Trajectory.open(tmp_path / "a")
    assert Trajectory.open(tmp_path / "a", latent=Sphere(3)).latent == Sphere(3)


@pytest.mark.parametrize(
    "law",
    [
        {"law": "uniform", "dim": 2, "low": 0, "high": 10**400},
        {"law": "normal", "dim": 10**12},
        {"law": "normal", "dim": -1},
        {"law": "normal"},
        {"law": ["normal"]},
        {},
    ],
)
def test_hostile_latent_laws(tmp_path: Path, law: dict[str, object]) -> None:
    scalar_path([1, 2]).save(tmp_path / "a")
    manifest = store.read_manifest(tmp_path / "a")
    changed = Manifest(latent=law, entries=manifest.entries)
    store.Store(tmp_path / "a", manifest).update(changed)
    with pytest.raises((InputError, CorruptTrajectoryError)):
        Trajectory.open(tmp_path / "a")


def test_a_thousand_checkpoints_open_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.os, "fsync", lambda descriptor: None)
    Trajectory.from_state_dicts(
        (step, {"w": torch.full((4,), float(step))}) for step in range(1000)
    ).save(tmp_path / "a")
    Trajectory.open(tmp_path / "a")
    begin = time.perf_counter()
    trajectory = Trajectory.open(tmp_path / "a")
    assert time.perf_counter() - begin < 0.2
    assert trajectory[777].state["w"][0] == 777


# --- a sequence


def test_it_is_a_sequence(trajectory: Trajectory) -> None:
    assert len(trajectory) == 5
    assert [c.step for c in trajectory] == [0, 10, 20, 30, 40]
    assert trajectory[-1].step == 40
    assert trajectory[1:4:2].steps == (10, 30)
    assert trajectory[1:4].recorded_drift == trajectory.recorded_drift[1:3]
    assert trajectory.select([0, 2, -1]).steps == (0, 20, 40)
    assert trajectory.select([0, 2]).recorded_drift == (None,)
    assert same(trajectory.select([0, 2])[1].state, trajectory.state(2))
    assert same(trajectory.state(-1), trajectory[4].state)
    assert trajectory[1:].latent == Normal(3)
    with pytest.raises(IndexError):
        trajectory[5]
    for wrong in ([5], [-6]):
        with pytest.raises(InputError, match="index"):
            trajectory.select(wrong)
    for unordered in ([1, 0], [1, 1], [-1, 2]):
        with pytest.raises(InputError, match="from_state_dicts"):
            trajectory.select(unordered)
    with pytest.raises(InputError, match="from_state_dicts"):
        trajectory[::-1]
    assert "5 checkpoints, steps 0..40" in repr(trajectory)
    assert "tensor" not in repr(trajectory[0])


def test_it_goes_to_other_processes(trajectory: Trajectory) -> None:
    trajectory.state(0)
    there = pickle.loads(pickle.dumps(trajectory))
    assert len(pickle.dumps(trajectory)) < 5000  # the manifest, not the tensors
    assert same(there.state(3), trajectory.state(3))


def test_few_checkpoints_stay_in_memory(tmp_path: Path) -> None:
    scalar_path([float(i) for i in range(30)]).save(tmp_path / "a")
    trajectory = Trajectory.open(tmp_path / "a")
    for checkpoint in trajectory:
        checkpoint.state
    files = trajectory[0].source.directory  # type: ignore[attr-defined]
    assert len(files._recent) == 8
    assert trajectory.state(29)["w"] is trajectory.state(29)["w"]


def test_a_state_is_a_dictionary_of_ones_own(trajectory: Trajectory) -> None:
    trajectory.state(0).clear()
    assert trajectory.state(0)


# --- between checkpoints


def test_at_a_whole_stage_it_is_exactly_the_checkpoint(trajectory: Trajectory) -> None:
    for i in range(5):
        assert same(trajectory.at(float(i)), trajectory.state(i))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=5),
    st.floats(0, 1, exclude_max=True),
)
def test_between_neighbours_it_is_linear_and_variances_stay_positive(
    values: list[float], where: float
) -> None:
    trajectory = scalar_path(values)
    stage = where * (len(values) - 1)
    i, w = int(stage), stage - int(stage)
    j = min(i + 1, len(values) - 1)
    at = trajectory.at(stage)
    largest = max(abs(values[i]), abs(values[j]))
    expected = (1 - w) * values[i] + w * values[j]
    assert float(at["w"][0]) == pytest.approx(expected, rel=1e-5, abs=1e-6 * largest + 1e-40)
    assert float(at["w"][1]) == -float(at["w"][0])
    assert float(at["running_var"]) >= 0


def test_integers_come_from_the_nearer_checkpoint(trajectory: Trajectory) -> None:
    name = "layers.1.num_batches_tracked"
    assert int(trajectory.at(1.4)[name]) == 3
    assert int(trajectory.at(1.6)[name]) == 6
    assert trajectory.at(1.6)[name].dtype == torch.int64


@pytest.mark.parametrize("stage", [-0.1, 4.1, float("nan"), float("inf"), -1])
def test_stages_out_of_range(trajectory: Trajectory, stage: float) -> None:
    with pytest.raises(InputError, match=r"\[0, 4\]"):
        trajectory.at(stage)


def test_smoothed_is_the_mean_of_the_last_checkpoints(tmp_path: Path) -> None:
    values = [float(v) for v in torch.randn(30, generator=torch.Generator().manual_seed(0))]
    scalar_path(values).save(tmp_path / "a")
    trajectory = Trajectory.open(tmp_path / "a")
    smooth = trajectory.smoothed()
    assert len(smooth) == 5
    for checkpoint, window in zip(smooth, (20, 10, 5, 2, 1), strict=True):
        expected = sum(values[-window:]) / window
        assert float(checkpoint.state["w"][0]) == pytest.approx(expected, rel=1e-5)
        assert checkpoint.step == sum(trajectory.steps[-window:]) // window
    assert same(smooth[-1].state, trajectory[-1].state)
    assert smooth.path is None
    smooth.save(tmp_path / "smooth")
    assert Trajectory.open(tmp_path / "smooth").steps == smooth.steps


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=9, unique=True),
    st.lists(st.integers(1, 12), min_size=1, max_size=6, unique=True),
)
def test_smoothed_steps_always_increase(steps: list[int], windows: list[int]) -> None:
    states = [(step, {"w": torch.ones(1)}) for step in sorted(steps)]
    smooth = Trajectory.from_state_dicts(states).smoothed(sorted(windows, reverse=True))
    assert smooth.steps[0] >= 0
    assert all(a < b for a, b in itertools.pairwise(smooth.steps))


@pytest.mark.parametrize("windows", [(), (1, 2), (3, 3), (2, 0), (2.5, 1), (True,)])
def test_windows_that_do_not_shrink(trajectory: Trajectory, windows: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="windows"):
        trajectory.smoothed(windows)


def test_tied_tensors_stay_one_tensor() -> None:
    shared = torch.ones(2)
    states = [(i, {"a": shared + i, "c": torch.ones(1)}) for i in range(3)]
    states = [(i, {**s, "b": s["a"]}) for i, s in states]
    trajectory = Trajectory.from_state_dicts(states)
    for state in (trajectory.state(1), trajectory.at(0.5), trajectory.smoothed((2, 1))[0].state):
        assert state["a"] is state["b"]
        assert state["a"] is not state["c"]


# --- distances


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.register_buffer("running_var", torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        return z + self.w


def test_drift_is_the_rms_distance_of_signals() -> None:
    trajectory = scalar_path([0, 1, 3, 3], latent=Normal(2))
    assert trajectory.drift(Shift()).tolist() == pytest.approx([1, 2, 0], abs=1e-6)
    assert trajectory.distance(0, 2, Shift()) == pytest.approx(3)
    assert trajectory.distance(1, 1, Shift()) == 0
    assert trajectory[:1].drift(Shift()).shape == (0,)


def test_distances_are_symmetric_and_obey_the_triangle(
    trajectory: Trajectory, generator: nn.Module
) -> None:
    d = [[trajectory.distance(i, j, generator, probes=8) for j in range(3)] for i in range(3)]
    assert d[0][1] == d[1][0]
    assert d[0][2] <= d[0][1] + d[1][2] + 1e-6
    assert trajectory.drift(generator, probes=8)[0] == pytest.approx(d[0][1])
    assert trajectory.distance(0, 1, generator, probes=8, seed=1) != d[0][1]


def test_distances_need_a_law_and_a_generator_that_fits(trajectory: Trajectory) -> None:
    with pytest.raises(InputError, match="latent"):
        scalar_path([0, 1]).drift(Shift())
    with pytest.raises(GeneratorError):
        trajectory.drift(Shift())
    with pytest.raises(InputError, match="probes"):
        scalar_path([0, 1], latent=Normal(2)).drift(Shift(), probes=0)


# --- whole?


def test_a_whole_trajectory_is_reported(trajectory: Trajectory) -> None:
    report = trajectory.verify()
    assert (report.checkpoints, report.files, report.tensors) == (5, 5, 10)
    assert report.not_finite == ()
    assert "all whole" in str(report)
    assert trajectory[1:3].smoothed((2, 1)).verify().checkpoints == 2
    bad = Trajectory.from_state_dicts([(7, {"w": torch.tensor([float("inf")])})]).verify()
    assert bad.not_finite == (7,)
    assert "7" in str(bad)

from __future__ import annotations

import copy
import dataclasses
import errno
import inspect
import itertools
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surfing.errors import (
    CorruptTrajectoryError,
    GeneratorError,
    InputError,
    LockedTrajectoryError,
    OutputExistsError,
    SurfingError,
    TrajectoryError,
)
from surfing.latents import Normal
from surfing.trajectory import (
    ByDrift,
    Every,
    LogSpaced,
    QuadraticSpaced,
    Recorder,
    Trajectory,
    store,
)
from surfing.trajectory.recording import Recording, RecordingOptions

Train = Callable[..., None]


def same(a: Any, b: Any) -> bool:
    return list(a) == list(b) and all(a[n].equal(b[n]) for n in a)


def names(path: Path) -> set[str]:
    return set(os.listdir(path))


def test_every_recorded_state_is_the_live_one(
    tmp_path: Path, generator: nn.Module, train: Train
) -> None:
    seen = {0: copy.deepcopy(generator.state_dict())}
    with Recorder(tmp_path / "run", generator, latent=Normal(3), every=3) as recorder:

        def after() -> None:
            if recorder.step():
                seen[recorder.step_number] = copy.deepcopy(generator.state_dict())

        train(generator, 8, after)
    seen[8] = generator.state_dict()
    trajectory = Trajectory.open(tmp_path / "run")
    assert trajectory.steps == tuple(seen) == (0, 3, 6, 8)
    for checkpoint in trajectory:
        expected = seen[checkpoint.step]
        assert set(checkpoint.state) == set(expected)
        assert all(checkpoint.state[n].equal(expected[n]) for n in expected)
        assert int(checkpoint.state["count"]) == checkpoint.step
    assert trajectory.latent == Normal(3)
    assert trajectory.metadata["versions"]["torch"] == torch.__version__
    assert not [n for n in names(tmp_path / "run") if n.startswith(".")]


def test_stage_zero_is_on_disk_at_once(tmp_path: Path, generator: nn.Module) -> None:
    recorder = Recorder(tmp_path / "run", generator)
    assert Trajectory.open(tmp_path / "run").steps == (0,)
    recorder.close()
    recorder.close()
    with pytest.raises(InputError, match="closed"):
        recorder.step()


def test_the_recorded_drift_is_the_measured_one(
    tmp_path: Path, generator: nn.Module, train: Train
) -> None:
    with Recorder(tmp_path / "run", generator, latent=Normal(3), every=2) as recorder:
        train(generator, 9, recorder.step)
    trajectory = Trajectory.open(tmp_path / "run")
    measured = trajectory.drift(generator)
    torch.testing.assert_close(torch.tensor(trajectory.recorded_drift), measured)
    assert (measured > 0).all()


def test_the_live_module_and_the_random_streams_are_never_touched(
    tmp_path: Path, generator: nn.Module
) -> None:
    generator.train()
    generator.layers[1].requires_grad_(False)
    before = copy.deepcopy(generator.state_dict())
    torch.manual_seed(5)
    expected = torch.randn(4)
    torch.manual_seed(5)
    with Recorder(
        tmp_path / "run", generator, latent=Normal(3), schedule=ByDrift(1e-9), average=0.9
    ) as recorder:
        for _ in range(20):
            recorder.step()
    assert torch.randn(4).equal(expected)
    assert same(before, generator.state_dict())
    assert generator.training
    assert generator.layers[0].weight.requires_grad
    assert not generator.layers[1].weight.requires_grad


def test_an_exception_keeps_what_exists_and_passes(
    tmp_path: Path, generator: nn.Module, train: Train
) -> None:
    def fail_at_seven() -> None:
        recorder.step()
        if recorder.step_number == 7:
            raise RuntimeError("the loader broke")

    with (
        pytest.raises(RuntimeError, match="loader broke"),
        Recorder(tmp_path / "run", generator, every=5) as recorder,
    ):
        train(generator, 20, fail_at_seven)
    trajectory = Trajectory.open(tmp_path / "run")
    assert trajectory.steps == (0, 5, 7)
    assert same(trajectory[-1].state, dict(sorted(generator.state_dict().items())))


def test_the_first_error_is_told_when_the_last_state_cannot_be_written(
    tmp_path: Path, generator: nn.Module
) -> None:
    def lose_the_disk() -> None:
        with Recorder(tmp_path / "run", generator) as recorder:
            recorder.step()
            shutil.rmtree(tmp_path / "run")
            raise RuntimeError("first")

    with pytest.raises(RuntimeError, match="first") as caught:
        lose_the_disk()
    assert "could not be recorded" in caught.value.__notes__[0]


def test_loops_that_know_their_step(tmp_path: Path, generator: nn.Module) -> None:
    with Recorder(tmp_path / "run", generator, every=10) as recorder:
        assert [recorder.at(s) for s in (1, 9, 12, 19, 45)] == [False, False, True, False, True]
        assert recorder.step(4) is False
        assert recorder.step(7) is True
        assert recorder.at(56) is False
        with pytest.raises(InputError, match="resume_from"):
            recorder.at(55)
    assert Trajectory.open(tmp_path / "run").steps == (0, 12, 45, 56)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Every(4), (0, 4, 8, 12, 16, 20)),
        (LogSpaced(count=5, last=16), (0, 1, 2, 4, 8, 16, 20)),
        (QuadraticSpaced(count=4, last=16), (0, 1, 4, 9, 16, 20)),
    ],
)
def test_schedules(
    tmp_path: Path, generator: nn.Module, schedule: Any, expected: tuple[int, ...]
) -> None:
    with Recorder(tmp_path / "run", generator, schedule=schedule) as recorder:
        for _ in range(20):
            recorder.step()
    assert recorder.steps == expected


class Line(nn.Module):
    """G(z) = position everywhere: drift between states is the difference of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        return self.position.expand(len(z), 4)

    def move(self, to: float) -> None:
        with torch.no_grad():
            self.position.fill_(to)


def test_by_drift_records_when_the_function_moved_far_enough(tmp_path: Path) -> None:
    line = Line()
    schedule = ByDrift(1.0, probes=4, check_every=1)
    with Recorder(tmp_path / "run", line, latent=Normal(2), schedule=schedule) as recorder:
        for i, to in enumerate([0.3, 0.9, 1.1, 1.5, 2.05, 2.2, 5.0, 4.5, 3.9], 1):
            line.move(to)
            assert recorder.step() is (i in (3, 6, 7, 9))
    recorded = Trajectory.open(tmp_path / "run").recorded_drift
    assert recorded == pytest.approx((1.1, 1.1, 2.8, 1.1))


def gaps(values: list[float]) -> list[float]:
    return [abs(b - a) for a, b in itertools.pairwise(values)]


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many checkpoints fast: these tests are not about power cuts."""
    monkeypatch.setattr(store.os, "fsync", lambda descriptor: None)


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("power", [0.3, 1.0, 3.0])
def test_thinning_keeps_the_ends_and_spaces_the_rest_evenly_in_drift(
    tmp_path: Path, power: float
) -> None:
    line, steps, limit = Line(), 300, 16
    with Recorder(
        tmp_path / "run", line, latent=Normal(2), every=1, max_checkpoints=limit, probes=2
    ) as recorder:
        for i in range(1, steps + 1):
            line.move((i / steps) ** power)
            recorder.step()
            assert len(recorder.steps) <= limit
    trajectory = Trajectory.open(tmp_path / "run")
    assert len(trajectory) == limit
    assert (trajectory.steps[0], trajectory.steps[-1]) == (0, steps)
    positions = [float(c.state["position"]) for c in trajectory]
    kept = gaps(positions)
    assert trajectory.recorded_drift == pytest.approx(kept, rel=1e-4)
    naive = gaps([(i / (limit - 1)) ** power for i in range(limit)])
    # The newest checkpoint has only just come, so its gap may be of any size; the first gap is at
    # least the first step's, which is large for a small power.
    inner = kept[1:-1]
    assert max(inner) / min(inner) < 4
    assert power == 1.0 or max(inner) / min(inner) < max(naive) / min(naive)
    assert max(inner) < 2.5 / (limit - 1)
    assert len(names(tmp_path / "run")) == limit + 1


@pytest.mark.usefixtures("no_sync")
def test_where_drift_saturates_what_stays_is_spread_over_the_steps(tmp_path: Path) -> None:
    """Every state equally far from every other, as late in adversarial training."""
    jitter, noise = nn.Linear(2, 50), torch.Generator().manual_seed(0)
    with Recorder(
        tmp_path / "run", jitter, latent=Normal(2), every=1, max_checkpoints=16, probes=8
    ) as recorder:
        for _ in range(300):
            with torch.no_grad():
                jitter.weight.copy_(torch.randn(50, 2, generator=noise))
            recorder.step()
    drifts = [d for d in Trajectory.open(tmp_path / "run").recorded_drift[1:] if d]
    assert max(drifts) / min(drifts) < 2
    spaces = gaps([float(s) for s in recorder.steps])
    assert max(spaces) < 3 * 300 / 15


@pytest.mark.usefixtures("no_sync")
def test_without_a_latent_law_steps_are_thinned_evenly(
    tmp_path: Path, generator: nn.Module
) -> None:
    with Recorder(tmp_path / "run", generator, every=1, max_checkpoints=9) as recorder:
        for _ in range(100):
            recorder.step()
    spaces = gaps([float(s) for s in recorder.steps])
    assert len(recorder.steps) == 9
    assert max(spaces) / min(spaces[:-1]) <= 4


def test_half_precision_comes_back_as_single(tmp_path: Path, generator: nn.Module) -> None:
    with torch.no_grad():
        generator.layers[1].running_var.fill_(1e6)  # beyond half precision's range
    with Recorder(tmp_path / "half", generator, dtype="float16"):
        pass
    with Recorder(tmp_path / "single", generator):
        pass
    half, single = (Trajectory.open(tmp_path / n)[0].state for n in ("half", "single"))
    for name, tensor in single.items():
        assert half[name].dtype == tensor.dtype
        torch.testing.assert_close(half[name], tensor, rtol=1e-3, atol=1e-6)
    assert half["layers.1.running_var"].equal(single["layers.1.running_var"])
    file = "step-000000000.safetensors"
    assert (tmp_path / "half" / file).stat().st_size < (tmp_path / "single" / file).stat().st_size


def test_the_running_average_follows_its_law(tmp_path: Path, train: Train) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model.register_buffer("count", torch.zeros((), dtype=torch.int64))
    expected = copy.deepcopy(model.state_dict())
    with Recorder(tmp_path / "run", model, every=4, average=0.9) as recorder:

        def after() -> None:
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point():
                    expected[name] = 0.9 * expected[name] + 0.1 * tensor
                else:
                    expected[name] = tensor.clone()
            recorder.step()

        train(model, 10, after)
    averaged = Trajectory.open(tmp_path / "run", average=True)
    raw = Trajectory.open(tmp_path / "run")
    assert averaged.steps == raw.steps == (0, 4, 8, 10)
    assert same(averaged[0].state, raw[0].state)
    for name, tensor in averaged[-1].state.items():
        torch.testing.assert_close(tensor, expected[name])
    assert raw.verify().files == 8


def test_the_average_goes_on_after_a_resume(tmp_path: Path) -> None:
    def run(path: Path, stops: list[int]) -> Tensor:
        line, done = Line(), 0
        for stop in stops:
            with Recorder(path, line, every=5, average=0.8, resume=True) as recorder:
                for i in range(done + 1, stop + 1):
                    line.move(float(i))
                    recorder.step()
            done = stop
        return Trajectory.open(path, average=True)[-1].state["position"]

    torch.testing.assert_close(run(tmp_path / "a", [20]), run(tmp_path / "b", [7, 13, 20]))


def test_no_average_where_none_was_recorded(tmp_path: Path, generator: nn.Module) -> None:
    Recorder(tmp_path / "run", generator).close()
    with pytest.raises(InputError, match="smoothed"):
        Trajectory.open(tmp_path / "run", average=True)


class Tied(nn.Module):
    """Two names for one weight, and one that is a transposed view."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("view", torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("nothing", torch.zeros(0))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(z)) @ self.view
        return out


def test_tied_and_non_contiguous_tensors(tmp_path: Path) -> None:
    module = Tied()
    with Recorder(tmp_path / "run", module, latent=Normal(3), every=1, average=0.5) as recorder:
        for _ in range(2):
            with torch.no_grad():
                module.a.weight += 1
            recorder.step()
    for average in (False, True):
        trajectory = Trajectory.open(tmp_path / "run", average=average)
        for state in (trajectory[-1].state, trajectory.at(0.5), trajectory.smoothed()[0].state):
            assert state["a.weight"] is state["b.weight"]
            assert state["view"].equal(module.view)
        assert (trajectory.drift(module) > 0).all()
    expected = module.a.weight - 2 + 0.5 * 0.5 + 0.5 * 2 - 0.5 * 0.5 * 0 + 0
    torch.testing.assert_close(trajectory[-1].state["a.weight"], expected)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.optim.swa_utils.AveragedModel,
        lambda module: torch.compile(module, backend="eager"),
        lambda module: nn.DataParallel(torch.compile(module, backend="eager")),
    ],
)
def test_wrapped_generators_are_recorded_unwrapped(
    tmp_path: Path, generator: nn.Module, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    Recorder(tmp_path / "run", wrap(generator), latent=Normal(3)).close()
    assert set(Trajectory.open(tmp_path / "run")[0].state) == set(generator.state_dict())


class Noisy(Line):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) + torch.randn(len(z), 4)


def test_a_generator_with_noise_of_its_own_does_not_drift_by_it(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", Noisy(), latent=Normal(2), every=1) as recorder:
        recorder.step()
    assert Trajectory.open(tmp_path / "run").recorded_drift == (0.0,)


def test_divergence_is_said_and_recorded(tmp_path: Path) -> None:
    line = Line()
    with Recorder(tmp_path / "run", line, latent=Normal(2), every=1) as recorder:
        line.move(float("nan"))
        with pytest.warns(UserWarning, match="diverged"):
            recorder.step()
    trajectory = Trajectory.open(tmp_path / "run")
    assert trajectory.recorded_drift == (None,)
    assert trajectory.verify().not_finite == (1,)


# --- resuming


def test_an_existing_trajectory_is_not_overwritten_unasked(
    tmp_path: Path, generator: nn.Module
) -> None:
    with Recorder(tmp_path / "run", generator, every=1) as recorder:
        recorder.step(3)
    kept = {n: (tmp_path / "run" / n).read_bytes() for n in names(tmp_path / "run")}
    with pytest.raises(OutputExistsError, match="resume=True"):
        Recorder(tmp_path / "run", generator)
    assert kept == {n: (tmp_path / "run" / n).read_bytes() for n in names(tmp_path / "run")}
    (tmp_path / "run" / "notes.txt").write_text("mine")
    Recorder(tmp_path / "run", generator, overwrite=True).close()
    assert Trajectory.open(tmp_path / "run").steps == (0,)
    assert names(tmp_path / "run") == {"manifest.json", "step-000000000.safetensors", "notes.txt"}


def test_resuming_goes_on_where_the_loop_does(tmp_path: Path, generator: nn.Module) -> None:
    with Recorder(tmp_path / "run", generator, every=10, resume=True) as recorder:
        for _ in range(45):
            recorder.step()
    with Recorder(tmp_path / "run", generator, every=10, resume=True) as recorder:
        assert recorder.step_number == 45
        recorder.step(5)
    assert recorder.steps == (0, 10, 20, 30, 40, 45, 50)
    with Recorder(tmp_path / "run", generator, every=10, resume_from=32) as recorder:
        assert recorder.steps == (0, 10, 20, 30)
        assert Trajectory.open(tmp_path / "run").steps == (0, 10, 20, 30)
        assert len(names(tmp_path / "run")) == 4 + 2  # the manifest and the lock
        recorder.step(8)
        recorder.resume_from(38)
        recorder.step(3)
    assert recorder.steps == (0, 10, 20, 30, 41)
    with Recorder(tmp_path / "run", generator, every=10, resume_from=60) as recorder:
        assert recorder.step_number == 60
    assert recorder.steps == (0, 10, 20, 30, 41, 60)


def test_resuming_cleans_what_a_killed_writer_left(tmp_path: Path, generator: nn.Module) -> None:
    run = tmp_path / "run"
    Recorder(run, generator).close()
    whole = names(run)
    for left in (".surfing-tmp-1-manifest.json", "step-000000007.safetensors", ".surfing-lock"):
        (run / left).write_bytes(b"half")
    (run / "other.safetensors").write_bytes(b"not ours")
    assert Trajectory.open(run).verify().checkpoints == 1
    Recorder(run, generator, resume=True).close()
    assert names(run) == whole | {"other.safetensors"}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"latent": Normal(4)}, "latent"),
        ({"dtype": "float16"}, "dtype"),
        ({"average": 0.9}, "average"),
        ({"architecture": {"name": "b"}}, "architecture"),
        ({"seed": 1}, "probes"),
    ],
)
def test_resuming_with_other_arguments_is_refused(
    tmp_path: Path, generator: nn.Module, changed: dict[str, Any], named: str
) -> None:
    first: dict[str, Any] = {"latent": Normal(3), "architecture": {"name": "a", "size": (1, 2)}}
    Recorder(tmp_path / "run", generator, **first).close()
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    module = Line() if "latent" in changed else generator
    with pytest.raises(InputError, match=f"^{named}"):
        Recorder(tmp_path / "run", module, resume=True, **{**first, **changed})
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before
    Recorder(tmp_path / "run", generator, resume=True, **first).close()


def test_resuming_with_another_generator_is_refused(tmp_path: Path, generator: nn.Module) -> None:
    Recorder(tmp_path / "run", generator).close()
    with pytest.raises(GeneratorError, match="step-000000000"):
        Recorder(tmp_path / "run", Line(), resume=True)


# --- one writer


def test_a_second_recorder_is_locked_out(tmp_path: Path, generator: nn.Module) -> None:
    with Recorder(tmp_path / "run", generator):
        for options in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(LockedTrajectoryError, match="another recorder"):
                Recorder(tmp_path / "run", generator, **options)
        Trajectory.open(tmp_path / "run").verify()
    Recorder(tmp_path / "run", generator, resume=True).close()


def test_a_forked_child_does_not_hold_the_lock(tmp_path: Path, generator: nn.Module) -> None:
    recorder = Recorder(tmp_path / "run", generator)
    ready, tell = os.pipe()
    wait, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.write(tell, b"x")
        os.read(wait, 1)
        os._exit(0)
    os.read(ready, 1)
    with pytest.raises(LockedTrajectoryError):  # the child's start did not unlock it
        Recorder(tmp_path / "run", generator, resume=True)
    recorder.close()
    Recorder(tmp_path / "run", generator, resume=True).close()  # though the child is alive
    os.close(end)
    os.waitpid(child, 0)
    for descriptor in (ready, tell, wait):
        os.close(descriptor)


# --- a disk that fails


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Files can't grow beyond the limit: writes fail half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_manifest_and_recording_can_go_on(tmp_path: Path) -> None:
    module, run = nn.Linear(30, 30), tmp_path / "run"
    with Recorder(run, module, every=1) as recorder:
        recorder.step()
        before = (run / "manifest.json").read_bytes()
        with small_disk(1000), pytest.raises(TrajectoryError, match="2 checkpoints up to step 1"):
            recorder.step()
        assert (run / "manifest.json").read_bytes() == before
        assert not [n for n in names(run) if n.startswith(".surfing-tmp")]
        assert Trajectory.open(run).verify().checkpoints == 2
        recorder.step()
    assert Trajectory.open(run).steps == (0, 1, 3)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("count", range(1, 5))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_any_failing_call_leaves_a_whole_trajectory(
    tmp_path: Path,
    generator: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    count: int,
    number: int,
) -> None:
    run, real, calls = tmp_path / "run", getattr(os, call), [0]
    recorder = Recorder(run, generator, every=1, average=0.9, max_checkpoints=2)
    recorder.step()

    def failing(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(store.os, call, failing)
    if call == "replace" and count == 4:
        recorder.step()
    else:
        with pytest.raises(TrajectoryError, match=os.strerror(number)):
            recorder.step()
    monkeypatch.undo()
    opened = Trajectory.open(run)
    assert opened.steps in ((0, 1), (0, 2))
    opened.verify()
    recorder.step()
    recorder.close()
    assert Trajectory.open(run).steps == (0, 3)
    assert Trajectory.open(run).verify().files == 4
    assert len(names(run)) == 5


def test_a_read_only_disk_is_said_at_the_start(
    tmp_path: Path, generator: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(TrajectoryError, match="Read-only"):
        Recorder(tmp_path / "run", generator)
    monkeypatch.undo()
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(store.os, "open", refuse)
    with pytest.raises(TrajectoryError, match="Read-only"):
        Recorder(tmp_path / "run", generator)


def test_a_checkpoint_that_went_bad_does_not_end_the_training(tmp_path: Path) -> None:
    line, run = Line(), tmp_path / "run"
    with Recorder(run, line, latent=Normal(2), every=1, max_checkpoints=4) as recorder:
        for i in range(1, 4):
            line.move(float(i))
            recorder.step()
        bad = run / "step-000000002.safetensors"
        bad.write_bytes(bytes(bad.stat().st_size))
        line.move(4.0)
        with pytest.warns(UserWarning, match="step-000000002"):
            recorder.step()
        line.move(5.0)
        recorder.step()
    assert len(recorder.steps) == 4


# --- bad arguments


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"every": 0}, "steps"),
        ({"every": 2, "schedule": Every(2)}, "every"),
        ({"schedule": 3}, "schedule"),
        ({"schedule": Every}, "schedule"),
        ({"schedule": ByDrift(0.1)}, "latent"),
        ({"latent": 20}, "latent"),
        ({"latent": Normal(3), "probes": -1}, "probes"),
        ({"latent": Normal(4)}, "generator"),
        ({"max_checkpoints": 1}, "max_checkpoints"),
        ({"max_checkpoints": 10**6}, "max_checkpoints"),
        ({"dtype": "int8"}, "dtype"),
        ({"average": 1.0}, "average"),
        ({"average": 99}, "average"),
        ({"architecture": ["mlp"]}, "architecture"),
        ({"metadata": {"a": object()}}, "metadata"),
        ({"seed": -1}, "seed"),
        ({"resume_from": -1}, "resume_from"),
        ({"resume": True, "overwrite": True}, "overwrite"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    tmp_path: Path, generator: nn.Module, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(SurfingError, match=named):
        Recorder(tmp_path / "run", generator, **options)
    assert not (tmp_path / "run").exists()


def test_a_generator_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="Module"):
        Recorder(tmp_path / "run", lambda z: z)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="found none"):
        Recorder(tmp_path / "run", nn.ReLU())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Recorder(tmp_path / "file", nn.Linear(1, 1))


def test_what_is_somebody_elses_is_left_alone(tmp_path: Path, generator: nn.Module) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web application"}')
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(CorruptTrajectoryError, match=r"manifest\.json"):
            Recorder(tmp_path, generator, **options)
    assert names(tmp_path) == {"manifest.json"}


def test_what_is_kept_has_the_same_names_however_it_is_recorded() -> None:
    kept = {field.name: field.default for field in dataclasses.fields(Recording)}
    assert set(kept) == set(RecordingOptions.__annotations__)
    signature = inspect.signature(Recorder).parameters
    own = {"path", "generator", "resume", "resume_from", "overwrite"}
    assert {name: p.default for name, p in signature.items() if name not in own} == kept
    options: RecordingOptions = {"every": 3, "average": 0.5}
    assert Recording(**Recording(**options).options()) == Recording(every=3, average=0.5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"probes": -1}, "probes"),
        ({"probes": "many"}, "probes"),
        ({"latent": "normal"}, "latent"),
        ({"latent": Normal}, "latent"),
        ({"schedule": ByDrift(0.1)}, "latent"),
        ({"architecture": 3}, "architecture"),
        ({"metadata": "abc"}, "metadata"),
        ({"metadata": {"a": object()}}, "latent, architecture, metadata"),
        ({"metadata": {1: "a"}}, "latent, architecture, metadata"),
        ({"seed": 2**70}, "seed"),
    ],
)
def test_what_is_kept_is_checked_before_there_is_a_generator(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=f"^{named}: "):
        Recording(**options)

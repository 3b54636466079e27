from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surfing.errors import InputError
from surfing.trajectory import ByDrift, Every, LogSpaced, QuadraticSpaced, Schedule

counts = st.integers(2, 60)
lasts = st.integers(2, 3000)
spaced = st.builds(LogSpaced, counts, lasts) | st.builds(QuadraticSpaced, counts, lasts)
timed = spaced | st.builds(Every, st.integers(1, 50))


def zero() -> float:
    return 0.0


def due(schedule: Schedule, last: int) -> list[int]:
    return [step for step in range(1, last + 1) if schedule.due(step - 1, step, zero)]


@given(spaced)
def test_spaced_steps_are_what_they_say(schedule: Any) -> None:
    steps = schedule.steps
    assert all(a < b for a, b in itertools.pairwise(steps))
    assert steps[0] >= 1
    assert steps[-1] == schedule.last
    assert len(steps) <= schedule.count
    assert due(schedule, schedule.last) == list(steps)


@given(spaced, st.integers(1, 500))
def test_training_that_goes_on_is_recorded_at_the_last_spacing(schedule: Any, more: int) -> None:
    *_, before_last, last = (0, *schedule.steps)
    spacing = last - before_last
    beyond = [s for s in due(schedule, schedule.last + more) if s > schedule.last]
    assert beyond == list(range(schedule.last + spacing, schedule.last + more + 1, spacing))


@given(timed, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_a_moment_that_is_jumped_over_is_not_lost(schedule: Any, jumps: list[int]) -> None:
    moments, previous = set(due(schedule, sum(jumps))), 0
    for step in itertools.accumulate(jumps):
        jumped = moments & set(range(previous + 1, step + 1))
        assert schedule.due(previous, step, zero) == bool(jumped)
        previous = step


def test_drift_is_measured_only_where_it_is_looked_at() -> None:
    looked = []

    def drift() -> float:
        looked.append(True)
        return 0.5

    schedule = ByDrift(0.4, check_every=10)
    assert [s for s in range(1, 31) if schedule.due(s - 1, s, drift)] == [10, 20, 30]
    assert len(looked) == 3
    assert not ByDrift(0.6, check_every=1).due(0, 1, drift)
    assert ByDrift(0.6, check_every=1).due(0, 1, lambda: float("nan"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Every(0),
        lambda: Every(1.5),  # type: ignore[arg-type]
        lambda: Every(True),
        lambda: LogSpaced(1, 10),
        lambda: LogSpaced(10, 1),
        lambda: QuadraticSpaced(1, 10),
        lambda: QuadraticSpaced(10, 1),
        lambda: ByDrift(0),
        lambda: ByDrift(float("nan")),
        lambda: ByDrift(float("inf")),
        lambda: ByDrift("0.1"),  # type: ignore[arg-type]
        lambda: ByDrift(0.1, probes=0),
        lambda: ByDrift(0.1, check_every=0),
    ],
)
def test_schedules_that_are_none(make: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        make()

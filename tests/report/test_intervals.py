import pytest
from hypothesis import given
from hypothesis import strategies as st

from surfing.errors import InputError
from surfing.report import wilson


def test_known_values() -> None:
    low, high = wilson(9, 10)
    assert low == pytest.approx(0.5958, abs=1e-4)
    assert high == pytest.approx(0.9821, abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_holds_the_rate_and_stays_inside_the_unit_interval(pair: tuple[int, int]) -> None:
    successes, trials = pair
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert high > low


@given(st.integers(0, 100))
def test_is_symmetric(successes: int) -> None:
    low, high = wilson(successes, 100)
    mirrored = wilson(100 - successes, 100)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_nothing_tried_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("pair", [(-1, 3), (4, 3)])
def test_refuses_impossible_counts(pair: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="0 <= successes <= trials"):
        wilson(*pair)

"""A minute's worth at once, then as fast as it drains."""

import pytest
from archipelag_coordinator.domain import rate
from archipelag_coordinator.testing.fakes import START
from hypothesis import given
from hypothesis import strategies as st

NOW = rate.microseconds(START)
SECOND = 1_000_000


@pytest.mark.parametrize(
    ("empty_at", "per_minute", "remaining", "reset_s", "retry_after_s"),
    [
        (None, 60, 59, 1.0, None),
        (NOW - 5 * SECOND, 60, 59, 1.0, None),
        (NOW + 58 * SECOND, 60, 1, 59.0, None),
        (NOW + 59 * SECOND, 60, 0, 60.0, None),
        (NOW + 60 * SECOND, 60, 0, 60.0, 1.0),
        (NOW + 60 * SECOND, 1, 0, 60.0, 60.0),
    ],
)
def test_take(empty_at, per_minute, remaining, reset_s, retry_after_s):
    taken = rate.take(empty_at, NOW, per_minute)

    assert (taken.remaining, taken.reset_s, taken.retry_after_s) == (
        remaining,
        reset_s,
        retry_after_s,
    )


@given(st.integers(1, 1000), st.lists(st.integers(0, 5 * SECOND), max_size=300))
def test_no_window_ever_has_more_than_two_minutes_worth(per_minute, gaps):
    now, empty_at, allowed = NOW, None, []
    for gap in gaps:
        now += gap
        taken = rate.take(empty_at, now, per_minute)
        empty_at = taken.empty_at
        if taken.retry_after_s is None:
            allowed.append(now)

    for start in allowed:
        within = sum(start <= at < start + rate.WINDOW_US for at in allowed)
        assert within <= 2 * per_minute

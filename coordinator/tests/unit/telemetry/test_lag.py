"""How late the event loop was, for everybody who asks."""

from __future__ import annotations

from archipelag_coordinator.adapters.telemetry.lag import SPAN_S, Lag


def test_whoever_asks_is_told_the_same() -> None:
    lag = Lag()
    lag.note(0.4, 100.0)
    lag.note(0.1, 100.1)

    assert [lag.longest_s() for _ in range(3)] == [0.4, 0.4, 0.4]


def test_what_was_is_told_for_a_span_and_forgotten_after_two() -> None:
    lag = Lag()
    lag.note(0.01, 100.0)
    lag.note(0.4, 100.0 + SPAN_S - 0.1)

    lag.note(0.01, 100.0 + SPAN_S)
    just_after = lag.longest_s()
    lag.note(0.02, 100.0 + 2 * SPAN_S)

    assert just_after == 0.4
    assert lag.longest_s() == 0.02

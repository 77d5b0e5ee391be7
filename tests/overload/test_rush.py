"""Twice as much is asked for as can be done: what is foretold comes true, and who comes back in time is served."""

from __future__ import annotations

from benchmarks.rush import Crowd, rush


async def test_under_overload_waits_are_as_foretold_and_who_comes_back_is_served() -> None:
    found = await rush(Crowd(backlog=60, lasts_s=60.0))

    assert found.refused > 20 and len(found.waits) > 50, "it is an overload"
    assert found.served > 0.8 * found.came_back
    early, middle, late = found.quantiles(0.1, 0.5, 0.9)
    assert early > -12.0 and abs(middle) < 5.0 and late < 16.0, "seconds longer than foretold"
    assert found.timed_out < 0.15 * found.begun

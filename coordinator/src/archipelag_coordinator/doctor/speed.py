"""How fast a part answers, by the median of some questions one after another, and what time it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, Final

from archipelag_contracts.findings import Finding, fail, ok, warn

from archipelag_coordinator.clock import Clock

QUESTIONS: Final = 20
SLOW_MS: Final = 20.0
"""A request asks the database and the broker several times before its first token."""
SKEW_WARN_S: Final = 2.0
SKEW_FAIL_S: Final = 30.0
TIME_MAX_S: Final = 10.0
"""After which no more are asked: so slow a part has told enough."""


async def answers(
    what: str, ask: Callable[[], Awaitable[Any]], clock: Clock, advice: str
) -> Finding:
    """Raises what `ask` raises."""
    took_ms: list[float] = []
    began = clock.monotonic()
    while len(took_ms) < QUESTIONS and clock.monotonic() - began < TIME_MAX_S:
        before = clock.monotonic()
        await ask()
        took_ms.append(1000 * (clock.monotonic() - before))
    half = median(took_ms)
    said = f"answers in {half:.1f} ms, the median of {len(took_ms)}; the slowest took {max(took_ms):.1f} ms"
    return warn(what, said, advice) if half > SLOW_MS else ok(what, said)


def clock_finding(what: str, whose: str, ahead_s: float) -> Finding:
    """By how far this machine's clock is ahead of that one's."""
    if abs(ahead_s) <= SKEW_WARN_S:
        return ok(what, f"agrees with the {whose}'s")
    said = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the {whose}'s"
    advice = "set both machines' clocks by the network (`timedatectl set-ntp true`): leases and keys go by them"
    return (fail if abs(ahead_s) >= SKEW_FAIL_S else warn)(what, said, advice)

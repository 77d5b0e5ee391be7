"""How often somebody may ask: a bucket that empties evenly (the generic cell rate algorithm).

One number a bucket: when it will be empty. A minute's worth may come at once; then one request each time that one has
drained, so that nobody gets two minutes' worth around a minute's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

WINDOW_US: Final = 60_000_000
LAST_USED_EVERY: Final = timedelta(minutes=1)
"""How exactly a key's last use is kept, so that not every request writes it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Taken:
    """What became of one request. `empty_at` is in microseconds since 1970."""

    empty_at: int
    remaining: int
    reset_s: float
    retry_after_s: float | None
    """None: go ahead. What is refused does not count."""


def microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def take(empty_at: int | None, now_us: int, per_minute: int) -> Taken:
    """One more request in a bucket that is empty at `empty_at`."""
    before = max(empty_at or 0, now_us)
    after = before + drain_us(per_minute)
    allowed = after <= now_us + WINDOW_US
    return taken(after if allowed else before, now_us, per_minute, allowed=allowed)


def taken(empty_at: int, now_us: int, per_minute: int, *, allowed: bool) -> Taken:
    """The same, where somebody else has done the adding."""
    drain = drain_us(per_minute)
    room = max(0, now_us + WINDOW_US - empty_at) // drain
    wait = empty_at + drain - WINDOW_US - now_us
    return Taken(
        empty_at=empty_at,
        remaining=min(per_minute, room),
        reset_s=max(0, empty_at - now_us) / 1e6,
        retry_after_s=None if allowed else max(0, wait) / 1e6,
    )


def drain_us(per_minute: int) -> int:
    """How long one request takes to drain."""
    assert 1 <= per_minute <= WINDOW_US
    return WINDOW_US // per_minute

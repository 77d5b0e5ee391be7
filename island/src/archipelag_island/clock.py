"""The time, as a thing that is passed in."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time is what people see; monotonic time measures what passes here. No two machines' clocks are compared."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def milliseconds(clock: Clock) -> int:
    """Unix milliseconds."""
    return int(clock.now().timestamp() * 1000)

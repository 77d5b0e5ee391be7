"""What one Coordinator knows of how long jobs wait: the lines, the slots, how long one is held, and places it keeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from archipelag_coordinator.domain.kept_places import KeptPlaces
from archipelag_coordinator.domain.lines import Kept, LineKey, Lines
from archipelag_coordinator.domain.slot_time import SlotTimes
from archipelag_coordinator.domain.waits import Rooms, Wait, expected

COUNTED_ANEW_MAX: Final = 64
"""Islands that are counted whenever somebody asks."""
ROOMS_AGE_S: Final = 1e-4
"""In a larger fleet, the slots may have been counted so long ago for each Island: counting them costs no more than a
few hundredths of a core."""


class Forecast:
    """Guards what a wait is reckoned from. Seconds are monotonic. Not for two threads."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.slot_times = SlotTimes()
        self.kept = KeptPlaces(self.lines.keep)
        self.remembers = False
        """It has learnt from jobs that ended before this process began."""
        self._rooms = Rooms()
        self._counted_at = -1.0

    def rooms(self, count: Callable[[], Rooms], islands: int, now: float) -> Rooms:
        """The slots as of a moment ago; of a small fleet, as they are."""
        age_s = now - self._counted_at
        if islands <= COUNTED_ANEW_MAX or self._counted_at < 0 or age_s >= ROOMS_AGE_S * islands:
            self._rooms, self._counted_at = count(), now
        return self._rooms

    def wait(
        self,
        key: LineKey,
        rooms: Rooms,
        *,
        before: int | None = None,
        since: datetime | None = None,
        kept: Kept = Kept.NOBODY,
    ) -> Wait:
        """Of a job as `Lines.ahead_of` is asked about it."""
        ahead = self.lines.ahead_of(key, before=before, since=since, kept=kept)
        return expected(key.digest, ahead, rooms, self.slot_times.mean_s)

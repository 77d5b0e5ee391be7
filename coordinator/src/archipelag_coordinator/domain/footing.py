"""Since when this process has been able to hear Islands and to write: who could not be heard meanwhile is not late."""

from __future__ import annotations

GAP_S = 6.0
"""Three signs of life of our own: with a longer gap, the time before it does not count."""


class Footing:
    """Guards the moments at which the store took a sign of life of this process, and the broker was there. Monotonic
    seconds throughout."""

    def __init__(self) -> None:
        self._since = 0.0
        self._last: float | None = None
        self._read_at: float | None = None

    def stood(self, now: float) -> None:
        """Both have just been there."""
        if self._last is None or now - self._last > GAP_S:
            self._since = now
        self._last = now

    def firm_for_s(self, now: float) -> float:
        """How long both have been there without a gap; 0 while one is away."""
        if self._last is None or now - self._last > GAP_S:
            return 0.0
        return now - self._since

    def reports_read(self, now: float) -> None:
        """Every report that had come by now is settled."""
        self._read_at = now

    def behind_s(self, now: float) -> float:
        """How long ago that was: a report that has come since may still wait here for its turn."""
        return 0.0 if self._read_at is None else now - self._read_at

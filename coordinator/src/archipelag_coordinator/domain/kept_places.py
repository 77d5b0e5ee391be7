"""Places in line that are kept for callers who were told when to come back, so that they are served when they do."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from archipelag_coordinator.domain.lines import LineKey

GRACE_S: Final = 10.0
"""How long a place is kept after its time."""
KEPT_MAX: Final = 10_000
KEPT_OF_LINE_MAX: Final = 100
"""Who was sent away oftener is told a time all the same, and no more place is kept."""
JITTER: Final = 0.2
"""By at most so much longer than reckoned everybody is sent away, each by another part of it."""


class KeptPlaces:
    """Guards who was told what time. Seconds are monotonic.

    A place counts in its own account's line only, so that whoever asks a thousand times sends nobody else away longer.
    Who asks again before the time is told the same time: it gains nothing and costs nothing.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[LineKey, bytes], float] = OrderedDict()
        self._of_line: Counter[LineKey] = Counter()

    def __len__(self) -> int:
        return len(self._times)

    def time_of(self, key: LineKey, request: bytes) -> float | None:
        """When this very request was told to come back."""
        return self._times.get((key, request))

    def keep(self, key: LineKey, request: bytes, wait_s: float, chance: float, now: float) -> float:
        """When to come back, in seconds from now. `chance` is uniform in [0, 1)."""
        time = now + wait_s * (1 + JITTER * chance)
        if self._of_line[key] < KEPT_OF_LINE_MAX and (key, request) not in self._times:
            self._times[key, request] = time
            self._of_line[key] += 1
            if len(self._times) > KEPT_MAX:
                self.give_up(*next(iter(self._times)))
        return time - now

    def give_up(self, key: LineKey, request: bytes) -> None:
        """It was taken, or nobody came for it."""
        if self._times.pop((key, request), None) is None:
            return
        self._of_line[key] -= 1
        if not self._of_line[key]:
            del self._of_line[key]

    def sweep(self, now: float) -> None:
        """Nobody came for these."""
        for key, request in [one for one, at in self._times.items() if at + GRACE_S < now]:
            self.give_up(key, request)

    def all(self) -> Counter[LineKey]:
        """How many are kept, by line."""
        return self._of_line.copy()

    def due(self, now: float) -> Counter[LineKey]:
        """Those of them whose time has come."""
        return Counter(key for (key, _), at in self._times.items() if at <= now)

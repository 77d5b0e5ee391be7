"""Places in line that are kept for callers who were told when to come back, so that they are served when they do."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from archipelag_coordinator.domain.lines import Kept, LineKey

GRACE_S: Final = 10.0
"""How long a place is kept after its time."""
KEPT_MAX: Final = 10_000
KEPT_OF_LINE_MAX: Final = 100
"""Who was sent away oftener is told a time all the same, and no more place is kept."""
JITTER: Final = 0.2
"""By at most so much longer than reckoned everybody is sent away, each by another part of it."""
SPARE_MAX: Final = 64

Place = tuple[LineKey, bytes]


class KeptPlaces:
    """Guards who was told what time. Seconds are monotonic.

    A place counts in its own account's line only, so that whoever asks a thousand times sends nobody else away longer.
    Who asks again before the time is told the same time: it gains nothing and costs nothing.
    """

    def __init__(self, counted: Callable[[LineKey, Kept, int], None]) -> None:
        """`counted` is told how many places of a line are kept, whenever that has changed."""
        self.told: Counter[LineKey] = Counter()
        """How many are kept, by line."""
        self.due: Counter[LineKey] = Counter()
        """Those of them whose time has come."""
        self._counted = counted
        self._times: OrderedDict[Place, float] = OrderedDict()
        self._ripe: OrderedDict[Place, float] = OrderedDict()
        self._next: list[tuple[float, Place]] = []
        """A heap of those that are not ripe, with some that are kept no more."""

    def __len__(self) -> int:
        return len(self._times)

    def time_of(self, key: LineKey, request: bytes) -> float | None:
        """When this very request was told to come back."""
        return self._times.get((key, request))

    def keep(self, key: LineKey, request: bytes, wait_s: float, chance: float, now: float) -> float:
        """When to come back, in seconds from now. `chance` is uniform in [0, 1)."""
        time, place = now + wait_s * (1 + JITTER * chance), (key, request)
        if self.told[key] < KEPT_OF_LINE_MAX and place not in self._times:
            self._times[place] = time
            self._push(time, place)
            self._count(self.told, key, Kept.TOLD, 1)
            if len(self._times) > KEPT_MAX:
                self.give_up(*next(iter(self._times)))
        return time - now

    def give_up(self, key: LineKey, request: bytes) -> None:
        """It was taken, or nobody came for it."""
        if self._times.pop((key, request), None) is None:
            return
        self._count(self.told, key, Kept.TOLD, -1)
        if self._ripe.pop((key, request), None) is not None:
            self._count(self.due, key, Kept.DUE, -1)

    def ripen(self, now: float) -> None:
        """The time of some may have come."""
        while self._next and self._next[0][0] <= now:
            time, place = heapq.heappop(self._next)
            if self._times.get(place) == time and place not in self._ripe:
                self._ripe[place] = time
                self._count(self.due, place[0], Kept.DUE, 1)

    def sweep(self, now: float) -> None:
        """Nobody came for those whose time is long past."""
        self.ripen(now)
        while self._ripe:
            place, time = next(iter(self._ripe.items()))
            if time + GRACE_S >= now:
                return
            self.give_up(*place)

    def _push(self, time: float, place: Place) -> None:
        heapq.heappush(self._next, (time, place))
        if len(self._next) > 2 * len(self._times) + SPARE_MAX:
            self._next = [(at, one) for one, at in self._times.items() if one not in self._ripe]
            heapq.heapify(self._next)

    def _count(self, places: Counter[LineKey], key: LineKey, kind: Kept, change: int) -> None:
        places[key] += change
        count = places[key]
        if not count:
            del places[key]
        self._counted(key, kind, count)

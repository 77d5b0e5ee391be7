"""When an Island that others have filled is tried again without a word from it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from archipelag_contracts.ids import IslandId

TOLD_S: Final = 1.0
"""So long it is taken for granted that what others hold on an Island still runs: they do not say when it ends."""
TRIES_PER_S_MAX: Final = 32.0
"""Of all Islands together. Where thousands are full, the next heartbeat of most comes first."""


class SecondTries:
    """Guards the order in which full Islands are due, each once. Seconds since 1970."""

    def __init__(self) -> None:
        self._due: list[tuple[float, IslandId]] = []
        self._waiting: set[IslandId] = set()
        self._allowed = TRIES_PER_S_MAX
        self._looked = 0.0

    def put(self, island: IslandId, told: float) -> None:
        """It is full by what it said then. Nothing where it is waiting already: who is due too early waits again."""
        if island not in self._waiting:
            self._waiting.add(island)
            heapq.heappush(self._due, (told + TOLD_S, island))

    def due(self, now: float) -> Iterator[IslandId]:
        """Those whose time has come, the longest first, and no more than may be tried."""
        passed = max(0.0, now - self._looked)
        self._looked = now
        self._allowed = min(TRIES_PER_S_MAX, self._allowed + passed * TRIES_PER_S_MAX)
        while self._due and self._due[0][0] <= now and self._allowed >= 1:
            self._allowed -= 1
            _, island = heapq.heappop(self._due)
            self._waiting.discard(island)
            yield island

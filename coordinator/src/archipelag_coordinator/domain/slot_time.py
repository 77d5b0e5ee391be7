"""How long jobs of a Cargo hold a slot, learnt from those that ended."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

KEPT: Final = 64
"""Of the newest of each Cargo: enough for a mean that is steady, few enough that it follows a change."""
KNOWN_MAX: Final = 1_000
"""Cargos; of which nothing was seen for the longest is forgotten."""
QUICK_SHARE: Final = 0.1
"""So many of those that ended were as quick as what is called quick."""


class SlotTimes:
    """Guards the last times for which a slot was held, by Cargo. A Cargo of which nothing was seen has none."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, deque[float]] = OrderedDict()

    def learn(self, digest: str, held_s: float) -> None:
        """An attempt has ended. What no clock could have measured is passed over."""
        if not 0 <= held_s < math.inf:
            return
        held = self._held.pop(digest, None) or deque(maxlen=KEPT)
        held.append(held_s)
        self._held[digest] = held
        if len(self._held) > KNOWN_MAX:
            self._held.popitem(last=False)

    def remember(self, held: Iterable[tuple[str, float]]) -> None:
        """What was seen before this process began, oldest first."""
        for digest, held_s in held:
            self.learn(digest, held_s)

    def mean_s(self, digest: str) -> float | None:
        held = self._held.get(digest)
        return math.fsum(held) / len(held) if held else None

    def quick_s(self, digest: str) -> float:
        """What can hardly be done in less; 0 where nothing is known."""
        held = self._held.get(digest)
        return sorted(held)[int(QUICK_SHARE * len(held))] if held else 0.0

"""Waits between tries: doubling, bounded, and never the same for two Islands."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass
class Backoff:
    first_s: float
    most_s: float
    chance: Random
    tries: int = 0

    def next_s(self) -> float:
        """Somewhere between half and the whole of the doubled wait, so that a fleet does not come back at once."""
        wait_s = min(self.most_s, self.first_s * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return wait_s * (0.5 + 0.5 * self.chance.random())

    def reset(self) -> None:
        self.tries = 0

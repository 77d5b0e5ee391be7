"""Waits between tries: bounded, and never the same for two Islands."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

SOON_S: Final = 0.25


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


def beat_again_s(unanswered: int, interval_s: float, chance: Random) -> float:
    """To the next heartbeat after so many without an answer, 1 or more.

    A single one may have been lost: soon. After that, a whole fleet waits for its Coordinator, and tries no more often
    than it would beat: so the Coordinator that comes back hears little more than on any other day.
    """
    if unanswered <= 1:
        return SOON_S * chance.uniform(0.5, 1.0)
    return interval_s * chance.uniform(0.6, 1.0)

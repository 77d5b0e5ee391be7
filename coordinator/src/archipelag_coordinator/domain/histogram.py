"""How long something took, counted in bounds: a few integers, whatever was measured."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FAST_S: Final = (0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
"""For what this process does by itself."""
SOON_S: Final = (0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""For what waits for the database, for one Island's word or for a reader's line."""
LONG_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""For what a reader waits for."""


@dataclass(frozen=True)
class Example:
    """One measurement that can be looked up by its trace."""

    seconds: float
    trace_id: str
    at: float
    """Seconds since 1970."""


class Histogram:
    """Guards counts that only grow. Not for two threads."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        assert list(bounds_s) == sorted(set(bounds_s)), "bounds must rise"
        self.bounds_s = tuple(bounds_s)
        self.counts = [0] * (len(self.bounds_s) + 1)
        """How many were at most each bound and above the one before; the last is for all that took longer."""
        self.sum_s = 0.0
        self.examples: dict[int, Example] = {}
        """The newest of each count, by its index."""

    def add(self, seconds: float, example: Example | None = None) -> None:
        """Negative durations, which clocks that were set back give, count as none."""
        seconds = max(0.0, seconds)
        index = bisect_left(self.bounds_s, seconds)
        self.counts[index] += 1
        self.sum_s += seconds
        if example is not None:
            self.examples[index] = example

    @property
    def count(self) -> int:
        return sum(self.counts)

    def rising(self) -> list[int]:
        """How many were at most each bound; the last is all of them."""
        total, so_far = 0, []
        for count in self.counts:
            total += count
            so_far.append(total)
        return so_far

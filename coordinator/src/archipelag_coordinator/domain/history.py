"""The last hour of one process, by the minute: what its counts rose by, and how full it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archipelag_coordinator.domain.essentials import Essential, Sample, Shows

MINUTES: Final = 60


@dataclass(frozen=True)
class Marks:
    """What one sample did in a minute. Of a count that began anew, what it lost does not count as a fall."""

    rose: float
    most: float
    least: float


@dataclass(frozen=True)
class Minute:
    """What could be read in it."""

    began_at: datetime
    marks: Mapping[Sample, Marks]

    def value(self, essential: Essential) -> float | None:
        """In the essential's unit; None where nothing was read or measured."""
        found = self.marks.get(essential.sample)
        if found is None:
            return None
        match essential.shows:
            case Shows.RISE:
                return found.rose * essential.times
            case Shows.MOST:
                return found.most * essential.times
            case Shows.LEAST:
                return found.least * essential.times
            case Shows.MEAN:
                assert essential.per is not None, "a mean is of something"
                per = self.marks.get(essential.per)
                return essential.times * found.rose / per.rose if per and per.rose else None


class History:
    """Guards the minutes. Not for two threads."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[datetime, dict[Sample, Marks]]] = deque(maxlen=MINUTES)
        self._newest: dict[Sample, float] = {}
        """What was read last of each, so that a count's rise over a gap is not lost."""

    def note(self, now: datetime, read: Mapping[Sample, float]) -> None:
        """Once and again in each minute. Counts rise from where they were when they were read first."""
        began = now.replace(second=0, microsecond=0)
        if not self._minutes or self._minutes[-1][0] != began:
            self._minutes.append((began, {}))
        marks = self._minutes[-1][1]
        for sample, value in read.items():
            rose = max(0.0, value - self._newest.get(sample, value))
            so_far = marks.get(sample)
            marks[sample] = (
                Marks(rose, value, value)
                if so_far is None
                else Marks(so_far.rose + rose, max(so_far.most, value), min(so_far.least, value))
            )
        self._newest.update(read)

    def minutes(self) -> list[Minute]:
        """Oldest first; at most an hour of them. Those in which nothing was noted are left out."""
        return [Minute(began, dict(marks)) for began, marks in self._minutes]

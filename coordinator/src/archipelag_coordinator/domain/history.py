"""The last hour of one process, by the minute: what its counts rose by, and how full it was."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

MINUTES: Final = 60


@dataclass(frozen=True)
class Counts:
    """Since the process started; they only grow."""

    submitted: int = 0
    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    items: int = 0
    failovers: int = 0
    answers: int = 0
    """Answers whose first item was timed."""
    first_item_s: float = 0.0
    """The sum of those times."""


@dataclass(frozen=True)
class Levels:
    """At one moment."""

    streams: int = 0
    waiting: int = 0
    slots_busy: int = 0


@dataclass(frozen=True)
class Minute:
    """What a minute added, and the highest of each level in it."""

    began_at: datetime
    rose: Counts
    highest: Levels

    @property
    def first_item_s(self) -> float:
        """The mean; 0 where nothing was timed."""
        return self.rose.first_item_s / self.rose.answers if self.rose.answers else 0.0


class History:
    """Guards the minutes. Not for two threads."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[datetime, Counts, Counts, Levels]] = deque(maxlen=MINUTES)
        """When it began, the counts before it and at its newest, and its highest levels."""

    def note(self, now: datetime, counts: Counts, levels: Levels) -> None:
        """Once and again in each minute."""
        began = now.replace(second=0, microsecond=0)
        if self._minutes and self._minutes[-1][0] == began:
            _, before, _, highest = self._minutes.pop()
            levels = _higher(highest, levels)
        else:
            before = self._minutes[-1][2] if self._minutes else Counts()
        self._minutes.append((began, before, counts, levels))

    def minutes(self) -> list[Minute]:
        """Oldest first; at most an hour of them. Those in which nothing was noted are left out."""
        return [
            Minute(began, _rise(before, counts), levels)
            for began, before, counts, levels in self._minutes
        ]


def _rise(before: Counts, after: Counts) -> Counts:
    return Counts(
        **{f.name: getattr(after, f.name) - getattr(before, f.name) for f in fields(Counts)}
    )


def _higher(one: Levels, other: Levels) -> Levels:
    return Levels(
        **{f.name: max(getattr(one, f.name), getattr(other, f.name)) for f in fields(Levels)}
    )

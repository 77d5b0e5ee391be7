"""The lines before the slots, everybody's, and how many jobs get a slot before a given one (`domain/fair.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from archipelag_contracts.ids import CargoDigest, UserId


class LineKey(NamedTuple):
    """One line for each account and Cargo."""

    user_id: UserId
    digest: CargoDigest


@dataclass(frozen=True)
class Line:
    """`running`: slots that it has in the whole network; `since`: when the first of those that wait was made."""

    key: LineKey
    queued: int
    running: int
    since: datetime | None = None


@dataclass(frozen=True)
class Ahead:
    """Jobs that have their turn before a job."""

    own: int
    others: Mapping[CargoDigest, int]
    """Of other lines, by the digest of their Cargo."""


class Lines:
    """Guards what the store said of all lines a moment ago, and what this process has added to them and taken since."""

    def __init__(self) -> None:
        self._lines: dict[LineKey, Line] = {}

    def load(self, lines: Iterable[Line]) -> None:
        self._lines = {line.key: line for line in lines}

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def get(self, key: LineKey) -> Line:
        return self._lines.get(key) or Line(key, 0, 0)

    def joined(self, key: LineKey, at: datetime) -> None:
        """A job was put into this line."""
        line = self.get(key)
        since = line.since if line.queued else at
        self._lines[key] = replace(line, queued=line.queued + 1, since=since)

    def left(self, key: LineKey) -> None:
        """A job that waited has ended without a slot."""
        if (line := self._lines.get(key)) is not None:
            self._lines[key] = replace(line, queued=max(0, line.queued - 1))

    def began(self, key: LineKey, *, waited: bool) -> None:
        """A job was given a slot, from its line or, not `waited`, at once."""
        line = self.get(key)
        queued = max(0, line.queued - waited)
        self._lines[key] = replace(line, queued=queued, running=line.running + 1)

    def let_go(self, key: LineKey) -> None:
        """A slot that a job of this line had is free again."""
        if (line := self._lines.get(key)) is not None:
            self._lines[key] = replace(line, running=max(0, line.running - 1))

    def waits(self) -> bool:
        return any(line.queued for line in self._lines.values())

    def ahead_of(
        self,
        key: LineKey,
        *,
        before: int | None = None,
        since: datetime | None = None,
        kept: Mapping[LineKey, int] | None = None,
    ) -> Ahead:
        """Of a job with `before` jobs before it in its own line, made at `since`; None: one that comes now.

        `kept`: places in lines that are kept for callers who were sent away; they count as if somebody stood there.
        """
        kept = kept or {}
        mine = self.get(key)
        own = mine.queued + kept.get(key, 0) if before is None else before
        turn = mine.running + own + 1
        others: Counter[CargoDigest] = Counter()
        for line in self._lines.values():
            if line.key != key:
                found = _first(line, turn, since, kept.get(line.key, 0))
                if found:
                    others[line.key.digest] += found
        for other, places in kept.items():
            if other != key and other not in self._lines:
                others[other.digest] += min(turn, places)
        return Ahead(own, others)


def _first(line: Line, turn: int, since: datetime | None, kept: int) -> int:
    """How many of a line have their turn before somebody else's `turn`. The last of them has the same turn and is first
    only if it is the elder, which is known of the line's first."""
    younger = since is not None and line.since is not None and line.since > since
    latest = turn - 1 if younger else turn
    return max(0, min(line.queued + kept, latest - line.running))

"""The lines before the slots, everybody's, and how many jobs get a slot before a given one (`domain/fair.py`)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from archipelag_contracts.ids import CargoDigest, JobId, UserId

from archipelag_coordinator.domain.turns import Turns


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
class Standing:
    """A job that waits: `before` of its own line come before it; `since`: when it was made."""

    job_id: JobId
    key: LineKey
    before: int
    since: datetime


@dataclass(frozen=True)
class Ahead:
    """Jobs that have their turn before a job."""

    own: int
    others: Mapping[CargoDigest, int]
    """Of other lines, by the digest of their Cargo."""


class Kept(Enum):
    """Which callers who were sent away are counted as if they stood in line (`domain/kept_places.py`)."""

    NOBODY = "nobody"
    DUE = "due"
    TOLD = "told"


class Lines:
    """Guards what the store said of all lines a moment ago, and what this process has added to them and taken since.

    What is before a job is asked for each request, so it is kept as it changes and no line is looked at for it.
    """

    def __init__(self) -> None:
        self._lines: dict[LineKey, Line] = {}
        self._waiting = 0
        """Lines in which somebody waits."""
        self._turns = Turns()
        self._kept: dict[Kept, dict[LineKey, int]] = {Kept.DUE: {}, Kept.TOLD: {}}
        self._kept_turns = {kind: Turns() for kind in self._kept}
        self._sinces: dict[int, Mapping[CargoDigest, list[datetime]]] = {}
        """By turn, since when the lines wait that have a job with it, in order; found out anew after each change."""

    def load(self, lines: Iterable[Line]) -> None:
        self._lines, self._waiting, self._turns = {}, 0, Turns()
        self._kept_turns = {kind: Turns() for kind in self._kept}
        self._sinces.clear()
        for line in lines:
            self._lines[line.key] = line
            self._waiting += line.queued > 0
            self._turns.add(line.key.digest, line.running, line.queued)
        for kind, kept in self._kept.items():
            for key, places in kept.items():
                self._kept_turns[kind].add(key.digest, self._end(key), places)

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def get(self, key: LineKey) -> Line:
        return self._lines.get(key) or Line(key, 0, 0)

    def joined(self, key: LineKey, at: datetime) -> None:
        """A job was put into this line."""
        line = self.get(key)
        since = line.since if line.queued else at
        self._put(replace(line, queued=line.queued + 1, since=since))

    def left(self, key: LineKey) -> None:
        """A job that waited has ended without a slot."""
        if (line := self._lines.get(key)) is not None:
            self._put(replace(line, queued=max(0, line.queued - 1)))

    def began(self, key: LineKey, *, waited: bool) -> None:
        """A job was given a slot, from its line or, not `waited`, at once."""
        line = self.get(key)
        queued = max(0, line.queued - waited)
        self._put(replace(line, queued=queued, running=line.running + 1))

    def let_go(self, key: LineKey) -> None:
        """A slot that a job of this line had is free again."""
        if (line := self._lines.get(key)) is not None:
            self._put(replace(line, running=max(0, line.running - 1)))

    def keep(self, key: LineKey, kind: Kept, places: int) -> None:
        """So many places behind this line are kept for callers who were sent away."""
        kept, turns, end = self._kept[kind], self._kept_turns[kind], self._end(key)
        turns.take(key.digest, end, kept.pop(key, 0))
        turns.add(key.digest, end, places)
        if places:
            kept[key] = places

    def waits(self) -> bool:
        return self._waiting > 0

    def ahead_of(
        self,
        key: LineKey,
        *,
        before: int | None = None,
        since: datetime | None = None,
        kept: Kept = Kept.NOBODY,
    ) -> Ahead:
        """Of a job with `before` jobs before it in its own line, made at `since`; None: one that comes now.

        Only for one that comes now, places may be `kept`: they count as if somebody stood there.
        """
        assert since is None or kept is Kept.NOBODY, "what stands in line is before what is kept"
        mine = self.get(key)
        own = mine.queued + self._places(key, kept) if before is None else before
        turn = mine.running + own + 1
        others = self._turns.before(turn)
        others[key.digest] -= _first(mine.running, mine.queued, turn)
        if kept is not Kept.NOBODY:
            others += self._kept_turns[kept].before(turn)
            others[key.digest] -= _first(self._end(key), self._places(key, kept), turn)
        if since is not None:
            self._take_younger(others, mine, turn, since)
        return Ahead(own, +others)

    def _put(self, line: Line) -> None:
        key, was = line.key, self.get(line.key)
        self._waiting += (line.queued > 0) - (was.queued > 0)
        self._turns.take(key.digest, was.running, was.queued)
        self._turns.add(key.digest, line.running, line.queued)
        self._lines[key] = line
        self._sinces.clear()
        end_was, end = was.running + was.queued, line.running + line.queued
        for kind, kept in self._kept.items() if end != end_was else ():
            if places := kept.get(key):
                self._kept_turns[kind].take(key.digest, end_was, places)
                self._kept_turns[kind].add(key.digest, end, places)

    def _end(self, key: LineKey) -> int:
        """The turn of the last job of a line."""
        line = self.get(key)
        return line.running + line.queued

    def _places(self, key: LineKey, kept: Kept) -> int:
        return 0 if kept is Kept.NOBODY else self._kept[kept].get(key, 0)

    def _take_younger(
        self, others: Counter[CargoDigest], mine: Line, turn: int, since: datetime
    ) -> None:
        """Of two jobs with the same turn only the elder is first, which is known of a line's first job."""
        for digest, sinces in self._since(turn).items():
            others[digest] -= len(sinces) - bisect_right(sinces, since)
        if _has_turn(mine, turn) and mine.since is not None and mine.since > since:
            others[mine.key.digest] += 1

    def _since(self, turn: int) -> Mapping[CargoDigest, list[datetime]]:
        if turn not in self._sinces:
            found: defaultdict[CargoDigest, list[datetime]] = defaultdict(list)
            for line in self._lines.values():
                if line.since is not None and _has_turn(line, turn):
                    found[line.key.digest].append(line.since)
            for sinces in found.values():
                sinces.sort()
            self._sinces[turn] = found
        return self._sinces[turn]


def _has_turn(line: Line, turn: int) -> bool:
    return line.running < turn <= line.running + line.queued


def _first(start: int, count: int, turn: int) -> int:
    """How many of `count` jobs, whose turns follow on `start`, have theirs up to `turn`."""
    return max(0, min(count, turn - start))

"""What is before a job by looking at each line, as `domain/fair.py` says it: slow and plain, to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from archipelag_contracts.ids import CargoDigest

from archipelag_coordinator.domain.lines import Ahead, Line, LineKey


def plain_ahead_of(
    lines: Iterable[Line],
    key: LineKey,
    *,
    before: int | None = None,
    since: datetime | None = None,
    kept: Mapping[LineKey, int] | None = None,
) -> Ahead:
    """As `Lines.ahead_of`."""
    kept = kept or {}
    by_key = {line.key: line for line in lines}
    mine = by_key.get(key) or Line(key, 0, 0)
    own = mine.queued + kept.get(key, 0) if before is None else before
    turn = mine.running + own + 1
    others: Counter[CargoDigest] = Counter()
    for other in by_key.keys() | kept.keys():
        if other != key:
            line = by_key.get(other) or Line(other, 0, 0)
            others[other.digest] += _first(line, turn, since, kept.get(other, 0))
    return Ahead(own, +others)


def _first(line: Line, turn: int, since: datetime | None, kept: int) -> int:
    """How many of a line have their turn before somebody else's `turn`. The last of them has the same turn and is first
    only if it is the elder, which is known of the line's first."""
    younger = since is not None and line.since is not None and line.since > since
    latest = turn - 1 if younger else turn
    return max(0, min(line.queued + kept, latest - line.running))

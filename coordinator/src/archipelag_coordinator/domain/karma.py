"""Karma: what is held for and against an Island, as notes that are only ever added, and what they add up to.

One point is an hour of good work. Only what the host caused counts against it: not a drain, not the network between
Coordinator and broker, not the Coordinator, not an error of the Cargo's own, not the customer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import Epoch, IslandId, JobId

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.usage import UsageRow

POINT_MS: Final = 3_600_000
"""Milliseconds of good work that make a point; points are counted in them, so that nothing is rounded."""
REFUSED_LATE_MS: Final = 1_000
"""Who says no sooner has cost nobody anything."""


class NoteKind(StrEnum):
    GOOD_WORK = "good_work"
    LEASE_LOST = "lease_lost"
    BAD_OUTPUT = "bad_output"
    CARGO_DIED = "cargo_died"
    CARGO_STALLED = "cargo_stalled"
    REFUSED_LATE = "refused_late"


COSTS_MS: Final[Mapping[NoteKind, int]] = {
    NoteKind.LEASE_LOST: POINT_MS,
    NoteKind.BAD_OUTPUT: 5 * POINT_MS,
    NoteKind.CARGO_DIED: POINT_MS // 2,
    NoteKind.CARGO_STALLED: POINT_MS // 2,
    NoteKind.REFUSED_LATE: POINT_MS // 10,
}
_FAULTS: Final = {
    Cause.LEASE_LOST: NoteKind.LEASE_LOST,
    Cause.BAD_OUTPUT: NoteKind.BAD_OUTPUT,
    Cause.CARGO_DIED: NoteKind.CARGO_DIED,
    Cause.CARGO_STALLED: NoteKind.CARGO_STALLED,
}


class Tier(StrEnum):
    RESTRICTED = "restricted"  # more held against it than for it
    NEW = "new"
    KNOWN = "known"
    TRUSTED = "trusted"  # pay-out is open


KNOWN_FROM_MS: Final = POINT_MS
TRUSTED_FROM_MS: Final = 10 * POINT_MS


@dataclass(frozen=True)
class Note:
    """`points_ms` is above zero for good work, below for what the host caused."""

    island_id: IslandId
    job_id: JobId
    epoch: Epoch
    kind: NoteKind
    points_ms: int
    at: datetime


@dataclass(frozen=True)
class Tally:
    """All of an Island's notes of one kind."""

    kind: NoteKind
    count: int
    points_ms: int


@dataclass(frozen=True)
class Karma:
    points_ms: int
    good_ms: int
    faults: Mapping[NoteKind, int]
    """How many notes of each kind are held against it."""

    @property
    def points(self) -> float:
        return self.points_ms / POINT_MS

    @property
    def tier(self) -> Tier:
        if self.points_ms < 0:
            return Tier.RESTRICTED
        if self.points_ms < KNOWN_FROM_MS:
            return Tier.NEW
        return Tier.KNOWN if self.points_ms < TRUSTED_FROM_MS else Tier.TRUSTED

    @property
    def payout_open(self) -> bool:
        return self.tier is Tier.TRUSTED


def note_of(row: UsageRow) -> Note | None:
    """What an ended attempt says of its Island; None where it says nothing, because the host did not cause it."""
    kind = _kind_of(row)
    if kind is None:
        return None
    points_ms = row.wall_ms if kind is NoteKind.GOOD_WORK else -COSTS_MS[kind]
    return Note(row.island_id, row.job_id, row.epoch, kind, points_ms, row.at)


def fold(tallies: Iterable[Tally]) -> Karma:
    """The sum of all notes; an Island without any has none. The order does not matter."""
    points_ms = good_ms = 0
    faults: dict[NoteKind, int] = {}
    for tally in tallies:
        points_ms += tally.points_ms
        if tally.kind is NoteKind.GOOD_WORK:
            good_ms += tally.points_ms
        else:
            faults[tally.kind] = faults.get(tally.kind, 0) + tally.count
    return Karma(points_ms, good_ms, faults)


def _kind_of(row: UsageRow) -> NoteKind | None:
    if row.cause in _FAULTS:
        return _FAULTS[row.cause]
    if row.cause is Cause.REFUSED:
        return NoteKind.REFUSED_LATE if row.wall_ms >= REFUSED_LATE_MS else None
    # That a customer changed their mind does not undo the work.
    good = row.cause is Cause.COMPLETED or (row.cause is Cause.CANCELLED and row.positions > 0)
    return NoteKind.GOOD_WORK if good and row.wall_ms else None

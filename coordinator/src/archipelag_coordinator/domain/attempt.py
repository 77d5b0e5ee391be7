"""An attempt: one try of a job on one Island, fenced by its epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import Epoch, IslandId, JobId, Position, RelayId

from archipelag_coordinator.domain.placement import Placement
from archipelag_coordinator.errors import IllegalMove

AttemptKey = tuple[JobId, Epoch]


class AttemptStatus(StrEnum):
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"
    CANCELLED = "cancelled"


_ENDS: Final = {
    AttemptStatus.SUCCEEDED,
    AttemptStatus.FAILED,
    AttemptStatus.LOST,
    AttemptStatus.CANCELLED,
}

MOVES: Final = {
    AttemptStatus.ASSIGNED: {AttemptStatus.RUNNING, AttemptStatus.REFUSED} | _ENDS,
    AttemptStatus.RUNNING: _ENDS,
    **{end: set[AttemptStatus]() for end in (*_ENDS, AttemptStatus.REFUSED)},
}


class Cause(StrEnum):
    """Why an attempt or a job ended. The same words as `archipelag.v1.Cause`."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    CARGO_FAILED = "cargo_failed"
    CARGO_DIED = "cargo_died"
    CARGO_STALLED = "cargo_stalled"
    LIMIT_EXCEEDED = "limit_exceeded"
    BAD_INPUT = "bad_input"
    LEASE_LOST = "lease_lost"
    ISLAND_STOPPED = "island_stopped"
    REFUSED = "refused"
    DEADLINE = "deadline"
    BAD_OUTPUT = "bad_output"
    NO_CAPACITY = "no_capacity"  # of a job only: no Island took it in time
    COORDINATOR_LOST = (
        "coordinator_lost"  # of a job only: the process that its reader was connected to is gone
    )
    CARGO_WITHDRAWN = "cargo_withdrawn"  # of a job only: its Cargo is no longer offered
    CARGO_REVOKED = "cargo_revoked"  # its Cargo must not run any more


# Whose doing it was. Only what the host caused counts against it.
HOST_CAUSES: Final = {Cause.LEASE_LOST, Cause.BAD_OUTPUT, Cause.CARGO_DIED, Cause.CARGO_STALLED}
# Another Island may well do better with these; the others would end the same way anywhere.
RETRYABLE: Final = {
    Cause.LEASE_LOST,
    Cause.CARGO_DIED,
    Cause.CARGO_STALLED,
    Cause.ISLAND_STOPPED,
    Cause.BAD_OUTPUT,
}


# After these the very Island may go on as well as another one, once it is heard and has its Cargo warm again.
COMING_BACK: Final = {Cause.LEASE_LOST, Cause.CARGO_DIED, Cause.CARGO_STALLED}
# After these a job may go to the very Island again where there is no other; a reader is not kept waiting,
# though, for one that stopped on purpose.
GIVEN_AGAIN: Final = COMING_BACK | {Cause.ISLAND_STOPPED}

TAKEN_BACK: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The lease of an attempt that was under way when a backup was made, and that its restoring took back."""


@dataclass(frozen=True)
class Usage:
    """Metered quantities of one attempt."""

    prompt_tokens: int = 0
    output_items: int = 0
    cpu_ms: int = 0
    memory_peak_bytes: int = 0
    wall_ms: int = 0


@dataclass(frozen=True)
class Attempt:
    job_id: JobId
    epoch: Epoch
    island_id: IslandId
    relay: RelayId
    status: AttemptStatus
    assigned_at: datetime
    lease_until: datetime
    placement: Placement
    first_position: Position = Position(0)
    next_position: Position = Position(0)
    """One past the last position that was accepted from this attempt."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cause: Cause | None = None
    reason: str = ""
    usage: Usage = field(default_factory=Usage)
    report: bytes | None = None
    """The Island's signed report, as the bytes that came."""

    @property
    def finished(self) -> bool:
        return not MOVES[self.status]

    @property
    def taken_back(self) -> bool:
        """Whether a backup was restored under it: that it ends is nobody's fault."""
        return self.lease_until == TAKEN_BACK

    @property
    def positions(self) -> int:
        """How many positions were accepted from this attempt."""
        return self.next_position - self.first_position

    @property
    def determinism_class(self) -> str:
        """In which its Island computes; empty where it did not say."""
        return self.placement.determinism_class

    def extend(self, now: datetime, lease_s: float) -> Attempt:
        """A heartbeat named this attempt: it runs, and keeps its lease."""
        running = (
            self if self.status is AttemptStatus.RUNNING else self._move(AttemptStatus.RUNNING)
        )
        return replace(
            running,
            started_at=self.started_at or now,
            lease_until=now + timedelta(seconds=lease_s),
        )

    def succeed(
        self, now: datetime, usage: Usage, next_position: Position, report: bytes
    ) -> Attempt:
        ended = self._end(AttemptStatus.SUCCEEDED, now, Cause.COMPLETED, "", next_position)
        return replace(ended, usage=usage, report=report)

    def fail(
        self,
        now: datetime,
        cause: Cause,
        reason: str,
        next_position: Position,
        usage: Usage | None = None,
        report: bytes | None = None,
    ) -> Attempt:
        ended = self._end(AttemptStatus.FAILED, now, cause, reason, next_position)
        return replace(ended, usage=usage or self.usage, report=report)

    def refuse(self, now: datetime, reason: str, *, answered: bool = True) -> Attempt:
        """The Island said no, or, not `answered`, nothing at all: it may never have heard of it."""
        ended = self._end(AttemptStatus.REFUSED, now, Cause.REFUSED, reason, self.first_position)
        asked_ms = max(0, round(1000 * (now - self.assigned_at).total_seconds()))
        return replace(ended, usage=Usage(wall_ms=asked_ms if answered else 0))

    def lose(
        self, now: datetime, reason: str, next_position: Position, usage: Usage | None = None
    ) -> Attempt:
        ended = self._end(AttemptStatus.LOST, now, Cause.LEASE_LOST, reason, next_position)
        return replace(ended, usage=usage or self.usage)

    def cancel(self, now: datetime, reason: str, next_position: Position, usage: Usage) -> Attempt:
        ended = self._end(AttemptStatus.CANCELLED, now, Cause.CANCELLED, reason, next_position)
        return replace(ended, usage=usage)

    def _end(
        self, to: AttemptStatus, now: datetime, cause: Cause, reason: str, next_position: Position
    ) -> Attempt:
        assert next_position >= self.first_position
        moved = self._move(to)
        return replace(
            moved, ended_at=now, cause=cause, reason=reason[:500], next_position=next_position
        )

    def _move(self, to: AttemptStatus) -> Attempt:
        if to not in MOVES[self.status]:
            raise IllegalMove("attempt", self.status, to)
        return replace(self, status=to)


def class_to_continue(attempts: Sequence[Attempt]) -> str:
    """The determinism class of the newest attempt whose output an answer is continued from; empty for none."""
    worked = [attempt for attempt in attempts if attempt.finished and attempt.positions]
    newest = max(worked, key=lambda attempt: attempt.epoch, default=None)
    return newest.determinism_class if newest else ""

"""A batch: one request for many jobs, which it submits one after another and merges when all have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import ApiKeyId, BatchId, JobId, UserId
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import IllegalMove


class BatchStatus(StrEnum):
    RUNNING = "running"
    FAILING = "failing"  # what still runs is being cancelled
    CANCELLING = "cancelling"  # the same, since its customer said so
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: Final = {
    BatchStatus.RUNNING: {
        BatchStatus.FAILING,
        BatchStatus.CANCELLING,
        BatchStatus.COMPLETED,
        BatchStatus.FAILED,
    },
    BatchStatus.FAILING: {BatchStatus.CANCELLING, BatchStatus.FAILED},
    BatchStatus.CANCELLING: {BatchStatus.CANCELLED},
    BatchStatus.COMPLETED: set[BatchStatus](),
    BatchStatus.FAILED: set[BatchStatus](),
    BatchStatus.CANCELLED: set[BatchStatus](),
}


class MemberStatus(StrEnum):
    WAITING = "waiting"
    SUBMITTED = "submitted"  # its job says what became of it
    FAILED = "failed"  # it never became a job
    CANCELLED = "cancelled"  # nor did this


MEMBER_MOVES: Final = {
    MemberStatus.WAITING: {MemberStatus.SUBMITTED, MemberStatus.FAILED, MemberStatus.CANCELLED},
    MemberStatus.SUBMITTED: set[MemberStatus](),
    MemberStatus.FAILED: set[MemberStatus](),
    MemberStatus.CANCELLED: set[MemberStatus](),
}


class Merge(StrEnum):
    CONCAT = "concat"
    FLATTEN = "flatten"


class FailMode(StrEnum):
    BEST_EFFORT = "best_effort"
    FAIL_FAST = "fail_fast"


INPUTS_MAX: Final = 100
PARALLELISM_MAX: Final = 100
PARALLELISM_DEFAULT: Final = 10
ERROR_MAX: Final = 2000


@dataclass(frozen=True)
class Glance:
    """What a batch must know of one of its jobs."""

    status: JobStatus
    cause: Cause | None = None
    error: str = ""
    prompt_tokens: int = 0
    output_items: int = 0
    charged: Ucredits = ZERO


@dataclass(frozen=True)
class Member:
    """One input. The id of its job is chosen with the batch, so that it is submitted once, whoever does it."""

    batch_id: BatchId
    number: int
    job_id: JobId
    input: bytes | None
    """As JSON; None where it was not read."""
    status: MemberStatus = MemberStatus.WAITING
    error: str = ""
    job: Glance | None = None
    """Its job as it stands; None before it is one. Never stored here."""

    @property
    def busy(self) -> bool:
        """It is a job that has not ended."""
        return self.job is not None and self.job.status in (JobStatus.QUEUED, JobStatus.RUNNING)

    @property
    def succeeded(self) -> bool:
        return self.job is not None and self.job.status is JobStatus.SUCCEEDED

    @property
    def waiting(self) -> bool:
        return self.status is MemberStatus.WAITING

    @property
    def said(self) -> str:
        """Why it did not complete; empty where it did, or may yet."""
        if self.job is None:
            return self.error
        return self.job.error if self.job.status in (JobStatus.FAILED, JobStatus.CANCELLED) else ""


@dataclass(frozen=True)
class Batch:
    id: BatchId
    user_id: UserId
    key_id: ApiKeyId
    cargo_id: int
    """The version that was listed when it was asked for; each job runs the one that is when it is submitted."""
    workload: str
    total: int
    merge: Merge
    fail_mode: FailMode
    max_parallelism: int
    priority: int
    created_at: datetime
    status: BatchStatus = BatchStatus.RUNNING
    ended_at: datetime | None = None
    error: str = ""
    idempotency_key: str | None = None
    request_hash: bytes = b""

    @property
    def finished(self) -> bool:
        return not MOVES[self.status]

    @property
    def stopping(self) -> bool:
        return self.status in (BatchStatus.FAILING, BatchStatus.CANCELLING)

    def proceed(self, members: Sequence[Member], now: datetime) -> Batch:
        """Where it stands by what has become of its members."""
        if self.status is BatchStatus.RUNNING:
            broken = next((member for member in members if _broken(member)), None)
            if broken is not None and self.fail_mode is FailMode.FAIL_FAST:
                return self._move(BatchStatus.FAILING, error=_failed_by(broken))
            if any(member.waiting or member.busy for member in members):
                return self
            if any(member.succeeded for member in members):
                return self._move(BatchStatus.COMPLETED, ended_at=now)
            assert broken is not None, "a batch has at least one member"
            error = f"no job has completed; {_failed_by(broken)}"
            return self._move(BatchStatus.FAILED, error=error, ended_at=now)
        if self.stopping and not any(member.waiting or member.busy for member in members):
            failing = self.status is BatchStatus.FAILING
            end = BatchStatus.FAILED if failing else BatchStatus.CANCELLED
            return self._move(end, ended_at=now)
        return self

    def cancel(self, reason: str) -> Batch:
        """What runs is to be cancelled, what waits never begins."""
        return self._move(BatchStatus.CANCELLING, error=reason)

    def next_members(self, members: Sequence[Member]) -> list[Member]:
        """What may be submitted now, in order: never more at once than was asked for."""
        if self.status is not BatchStatus.RUNNING:
            return []
        room = self.max_parallelism - sum(member.busy for member in members)
        return [member for member in members if member.waiting][: max(0, room)]

    def _move(self, to: BatchStatus, *, error: str = "", ended_at: datetime | None = None) -> Batch:
        if to not in MOVES[self.status]:
            raise IllegalMove("batch", self.status, to)
        told = error[:ERROR_MAX] or self.error
        return replace(self, status=to, error=told, ended_at=ended_at)


def _broken(member: Member) -> bool:
    """It has ended, and not well."""
    return not (member.waiting or member.busy or member.succeeded)


def _failed_by(member: Member) -> str:
    return f"input {member.number} did not complete: {member.said or 'no reason was given'}"

"""A job: what a customer asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import ApiKeyId, CargoDigest, Epoch, JobId, Position, RelayId, UserId
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.attempt import RETRYABLE, Cause
from archipelag_coordinator.domain.items import Items, cut, cuts_of
from archipelag_coordinator.errors import IllegalMove, StaleAttempt


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: Final = {
    JobStatus.QUEUED: {JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED},
    JobStatus.RUNNING: {
        JobStatus.QUEUED,
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    },
    JobStatus.SUCCEEDED: set[JobStatus](),
    JobStatus.FAILED: set[JobStatus](),
    JobStatus.CANCELLED: set[JobStatus](),
}

EPOCHS_MAX: Final = 1_000
"""A job that was refused so often is not going to be taken."""
EPOCHS_APART: Final = 10_000
"""A restored network counts on from the next multiple of this: above all epochs that Islands may have seen."""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows; what is left open shows all."""

    statuses: frozenset[JobStatus] = frozenset(JobStatus)
    timed_out: bool = False
    """Those whose time ran out too, where failed ones are not asked for."""
    workload: str | None = None
    """A slug."""
    created_after: datetime | None = None
    """Or then."""
    created_before: datetime | None = None


EVERY_JOB: Final = JobFilter()


@dataclass(frozen=True)
class Job:
    """`epoch` is that of the newest attempt, 0 before any. Amounts are micro-credits."""

    id: JobId
    user_id: UserId
    key_id: ApiKeyId | None
    cargo_id: int
    cargo_slug: str
    cargo_digest: CargoDigest
    input: bytes  # JSON object, UTF-8, as it is sent to the Cargo
    status: JobStatus
    created_at: datetime
    queue_until: datetime
    """If nobody has taken it by then, it fails with the reasons."""
    deadline_at: datetime
    """It fails when it still runs by then."""
    home: RelayId
    """The Coordinator process that dispatches it and relays its output."""
    reserved: Ucredits
    prompt_tokens_max: int
    output_items_max: int
    attempts_max: int = 3
    priority: int = 0
    interactive: bool = False
    """A reader waits for it; when the reader has left, it is cancelled."""
    idempotency_key: str | None = None
    request_hash: bytes = b""
    epoch: Epoch = Epoch(0)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    delivered: Position = Position(0)
    """High mark of what was written to a reader, persisted at the end and about once a second."""
    prompt_tokens: int = 0
    output_items: int = 0
    output: str | None = None
    cuts: bytes = b""
    """Where each item ends in `output`: see `domain/items.py`."""
    finish_reason: str = ""
    cause: Cause | None = None
    error: str = ""
    charged: Ucredits = ZERO
    waiting_for: tuple[str, ...] = ()
    """Why no Island has taken it yet, in words."""
    goes_on_unread: bool = False
    """Its customer asked that it runs to its end although nobody reads it."""
    read_at: datetime | None = None
    """When a Coordinator that is not its home last had a reader of it."""
    due_at: datetime | None = None
    """By when its customer wants it; None: whenever it is done."""
    trace: str = ""
    """W3C's traceparent of the request that it was submitted in; empty: nobody follows it. Nothing is decided by it."""

    @property
    def finished(self) -> bool:
        return not MOVES[self.status]

    def items(self) -> Items:
        """What is stored of the answer, item by item."""
        texts = cut(self.output or "", self.cuts)
        if texts and self.status is JobStatus.SUCCEEDED:
            # Rows from before there were cuts: everything at the first position, so that none is said twice.
            texts += [""] * (self.output_items - len(texts))
        return Items(0, tuple(texts), (0,) * len(texts))

    def start(self, now: datetime) -> Job:
        """Given to an Island: the next epoch begins."""
        moved = self._move(JobStatus.RUNNING)
        epoch = Epoch(self.epoch + 1)
        return replace(moved, epoch=epoch, started_at=self.started_at or now, waiting_for=())

    def wait(self, reasons: tuple[str, ...]) -> Job:
        """Nobody takes it now; it stays queued and says why."""
        assert self.status is JobStatus.QUEUED
        return replace(self, waiting_for=reasons)

    def requeue(self, epoch: Epoch, reason: str, until: datetime) -> Job:
        """The attempt ended too early and another Island may go on, if one is found by `until`."""
        self.check_current(epoch)
        moved = self._move(JobStatus.QUEUED)
        latest = min(max(until, self.queue_until), self.deadline_at)
        return replace(moved, queue_until=latest, waiting_for=(reason,))

    def succeed(
        self,
        epoch: Epoch,
        now: datetime,
        *,
        texts: Sequence[str],
        finish_reason: str,
        prompt_tokens: int,
        charged: Ucredits,
    ) -> Job:
        """`texts` are all items of the answer, whoever made them."""
        self.check_current(epoch)
        return replace(
            self._move(JobStatus.SUCCEEDED),
            ended_at=now,
            output="".join(texts),
            cuts=cuts_of(texts),
            finish_reason=finish_reason,
            cause=Cause.COMPLETED,
            prompt_tokens=prompt_tokens,
            output_items=len(texts),
            delivered=Position(len(texts)),
            charged=charged,
            waiting_for=(),
        )

    def fail(self, now: datetime, cause: Cause, error: str, *, delivered: int = 0) -> Job:
        """Through us or the Cargo: the customer pays nothing, and may ask again under the same idempotency key."""
        moved = self._move(JobStatus.FAILED)
        return replace(
            moved,
            ended_at=now,
            cause=cause,
            error=error[:2000],
            delivered=Position(max(delivered, self.delivered)),
            idempotency_key=None,
            waiting_for=(),
        )

    def cancel(
        self,
        now: datetime,
        *,
        reason: str,
        delivered: int,
        prompt_tokens: int,
        texts: Sequence[str],
        charged: Ucredits,
    ) -> Job:
        """By the customer, who pays for what was delivered until now, which is `texts`."""
        return replace(
            self._move(JobStatus.CANCELLED),
            ended_at=now,
            cause=Cause.CANCELLED,
            error=reason,
            delivered=Position(delivered),
            output_items=delivered,
            prompt_tokens=prompt_tokens,
            output="".join(texts) or None,
            cuts=cuts_of(texts),
            charged=charged,
            waiting_for=(),
        )

    def check_current(self, epoch: Epoch) -> None:
        """Raises StaleAttempt unless `epoch` is the newest and the job has not ended."""
        if epoch != self.epoch or self.status is not JobStatus.RUNNING:
            raise StaleAttempt(self.id, epoch)

    def may_try_again(self, cause: Cause, *, tries: int) -> bool:
        """Whether an attempt that ended too early gives the job to another Island, if one can go on.

        `tries` counts the attempts that an Island accepted; a refusal costs nothing.
        """
        given = self.epoch % EPOCHS_APART
        return cause in RETRYABLE and tries < self.attempts_max and given < EPOCHS_MAX

    def _move(self, to: JobStatus) -> Job:
        if to not in MOVES[self.status]:
            raise IllegalMove("job", self.status, to)
        return replace(self, status=to)

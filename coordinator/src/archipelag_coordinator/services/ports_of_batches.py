"""What the verbs need from the world about batches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from archipelag_contracts.ids import BatchId, JobId, UserId

from archipelag_coordinator.domain.batch import Batch, BatchStatus, Member, MemberStatus


class Batches(Protocol):
    async def add(self, batch: Batch, members: Sequence[Member]) -> Batch:
        """Stores a new batch, or returns the one that stands under the same user and idempotency key."""
        ...

    async def get(self, batch: BatchId) -> Batch | None: ...
    async def lock(self, batch: BatchId, *, wait: bool = True) -> Batch | None:
        """As `get`, and nobody else changes it before this transaction ends. Not `wait`: None where somebody has it."""
        ...

    async def save(self, batch: Batch, *, was: Batch) -> None:
        """Guarded by the status of `was`. Raises Conflict when somebody was faster."""
        ...

    async def by_idempotency_key(self, user: UserId, key: str) -> Batch | None: ...
    async def unfinished_of(self, user: UserId) -> int:
        """How many there are."""
        ...

    async def members(self, batch: BatchId) -> list[Member]:
        """By number, each with its job as it stands and without its input."""
        ...

    async def members_of(self, batches: Sequence[BatchId]) -> dict[BatchId, list[Member]]:
        """The same of several."""
        ...

    async def inputs(self, jobs: Sequence[JobId]) -> dict[JobId, bytes]:
        """Of the members whose jobs are to have these ids."""
        ...

    async def of_user(
        self, user: UserId, *, limit: int, offset: int, statuses: Collection[BatchStatus]
    ) -> tuple[list[Batch], int]:
        """Newest first, and how many there are in all."""
        ...

    async def member_of(self, job: JobId) -> Member | None:
        """The member whose job has this id, or is to have it, with its input."""
        ...

    async def claim(self, job: JobId) -> bool:
        """A waiting member is submitted in this transaction. False: it waits no more, so it must not be."""
        ...

    async def drop(
        self, batch: BatchId, status: MemberStatus, error: str, *, job: JobId | None = None
    ) -> int:
        """Ends members that wait, all or that of one job; returns how many there were."""
        ...

    async def to_work_on(self, limit: int) -> list[BatchId]:
        """Those that can go on now; first those with the fewest jobs at work."""
        ...

    async def output_bytes(self, batch: BatchId) -> int:
        """How large the outputs of its completed jobs are together."""
        ...

    async def outputs(self, batch: BatchId) -> list[str]:
        """Of its completed jobs, by number."""
        ...

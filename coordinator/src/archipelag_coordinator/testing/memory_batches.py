"""Batches and their members in memory, with the guards of the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from archipelag_contracts.ids import BatchId, JobId, UserId

from archipelag_coordinator.domain.batch import (
    Batch,
    BatchStatus,
    FailMode,
    Glance,
    Member,
    MemberStatus,
)
from archipelag_coordinator.errors import Conflict
from archipelag_coordinator.testing.memory_state import State


class MemoryBatches:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, batch: Batch, members: Sequence[Member]) -> Batch:
        assert len(members) == batch.total
        if batch.idempotency_key is not None:
            standing = await self.by_idempotency_key(batch.user_id, batch.idempotency_key)
            if standing is not None:
                return standing
        if batch.user_id not in self._state.users or batch.key_id not in self._state.keys:
            raise Conflict(f"{batch.id} names a user or an API key that is not stored")
        if batch.cargo_id not in self._state.cargos:
            raise Conflict(f"{batch.id} names a Cargo that is not stored")
        self._state.batches.add(batch.id, batch)
        for member in members:
            self._state.batch_members.add(member.job_id, replace(member, job=None))
        return batch

    async def get(self, batch: BatchId) -> Batch | None:
        return self._state.batches.get(batch)

    async def lock(self, batch: BatchId, *, wait: bool = True) -> Batch | None:  # noqa: ARG002
        return self._state.batches.get(batch)

    async def save(self, batch: Batch, *, was: Batch) -> None:
        assert batch.id == was.id
        stored = self._state.batches.get(batch.id)
        if stored is None or stored.status is not was.status:
            raise Conflict(f"{batch.id} has moved on meanwhile")
        moved = replace(stored, status=batch.status, ended_at=batch.ended_at, error=batch.error)
        self._state.batches.put(batch.id, moved)

    async def by_idempotency_key(self, user: UserId, key: str) -> Batch | None:
        found = (b for b in self._state.batches if (b.user_id, b.idempotency_key) == (user, key))
        return next(found, None)

    async def unfinished_of(self, user: UserId) -> int:
        return sum(1 for b in self._state.batches if b.user_id == user and not b.finished)

    async def members(self, batch: BatchId) -> list[Member]:
        return (await self.members_of([batch]))[batch]

    async def members_of(self, batches: Sequence[BatchId]) -> dict[BatchId, list[Member]]:
        found: dict[BatchId, list[Member]] = {batch: [] for batch in batches}
        for one in sorted(self._state.batch_members, key=lambda member: member.number):
            if one.batch_id in found:
                found[one.batch_id].append(replace(self._seen(one), input=None))
        return found

    async def inputs(self, jobs: Sequence[JobId]) -> dict[JobId, bytes]:
        found = {job: self._state.batch_members.get(job) for job in jobs}
        return {job: one.input for job, one in found.items() if one is not None and one.input}

    async def of_user(
        self, user: UserId, *, limit: int, offset: int, statuses: Collection[BatchStatus]
    ) -> tuple[list[Batch], int]:
        found = [b for b in self._state.batches if b.user_id == user and b.status in statuses]
        newest = sorted(found, key=lambda batch: (batch.created_at, batch.id), reverse=True)
        return newest[offset : offset + limit], len(newest)

    async def member_of(self, job: JobId) -> Member | None:
        member = self._state.batch_members.get(job)
        return None if member is None else self._seen(member)

    async def claim(self, job: JobId) -> bool:
        member = self._state.batch_members.get(job)
        if member is None or not member.waiting:
            return False
        self._state.batch_members.put(job, replace(member, status=MemberStatus.SUBMITTED))
        return True

    async def drop(
        self, batch: BatchId, status: MemberStatus, error: str, *, job: JobId | None = None
    ) -> int:
        waiting = [i for i in await self.members(batch) if i.waiting and job in (None, i.job_id)]
        for member in waiting:
            stored = self._state.batch_members.get(member.job_id)
            assert stored is not None
            self._state.batch_members.put(
                member.job_id, replace(stored, status=status, error=error)
            )
        return len(waiting)

    async def to_work_on(self, limit: int) -> list[BatchId]:
        found = []
        for batch in self._state.batches:
            if batch.finished:
                continue
            members = await self.members(batch.id)
            waiting = sum(member.waiting for member in members)
            busy = sum(member.busy for member in members)
            broken = any(not (i.waiting or i.busy or i.succeeded) for i in members)
            if (
                batch.stopping
                or busy + waiting == 0
                or (waiting and busy < batch.max_parallelism)
                or (broken and batch.fail_mode is FailMode.FAIL_FAST)
            ):
                found.append((busy, batch.id))
        return [batch_id for _, batch_id in sorted(found)[:limit]]

    async def output_bytes(self, batch: BatchId) -> int:
        return sum(len(output.encode()) for output in await self.outputs(batch))

    async def outputs(self, batch: BatchId) -> list[str]:
        jobs = [self._state.jobs.get(i.job_id) for i in await self.members(batch) if i.succeeded]
        return [job.output or "" for job in jobs if job is not None]

    def _seen(self, member: Member) -> Member:
        job = self._state.jobs.get(member.job_id)
        if job is None:
            return member
        glance = Glance(
            status=job.status,
            cause=job.cause,
            error=job.error,
            prompt_tokens=job.prompt_tokens,
            output_items=job.output_items,
            charged=job.charged,
        )
        return replace(member, job=glance)

"""Takes a batch one turn further: what is to be submitted or cancelled now, and whether it has ended.

Everything that a turn goes by stands in the store, so that any Coordinator may take the next one, two of them at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from archipelag_contracts.ids import BatchId, JobId, UserId

from archipelag_coordinator.domain.batch import Batch, BatchStatus, Member, MemberStatus
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.errors import CoordinatorError, InsufficientCredits
from archipelag_coordinator.services.arrival import check_standing
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class Turn:
    """What is to be done now, in this order. `user_id` is whose jobs they are, None where nothing is to be done."""

    submit: tuple[Submission, ...] = ()
    cancel: tuple[JobId, ...] = ()
    user_id: UserId | None = None
    reason: str = ""
    """Why jobs are cancelled."""


async def batches_to_work_on(world: World, limit: int) -> list[BatchId]:
    async with world.store.begin() as tx:
        return await tx.batches.to_work_on(limit)


async def next_turn(world: World, batch_id: BatchId) -> Turn:
    """Moves the batch on by what has become of its jobs, and says what comes next. Empty while another Coordinator
    has it."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        batch = await tx.batches.lock(batch_id, wait=False)
        if batch is None or batch.finished:
            return Turn()
        members = await tx.batches.members(batch_id)
        moved = batch.proceed(members, now)
        if moved.status is BatchStatus.FAILING:
            if any(member.waiting for member in members):
                # What another Coordinator is about to submit of it finds itself dropped here, or is cancelled below.
                await tx.batches.drop(
                    batch_id, MemberStatus.CANCELLED, f"the batch failed: {moved.error}"
                )
                members = await tx.batches.members(batch_id)
            moved = moved.proceed(members, now)
        if moved != batch:
            await tx.batches.save(moved, was=batch)
        if moved.stopping:
            busy = tuple(member.job_id for member in members if member.busy)
            return Turn(cancel=busy, user_id=moved.user_id, reason=moved.error[:500])
        wanted = moved.next_members(members)
        return Turn(await _submissions(tx, moved, wanted, now), user_id=moved.user_id)


async def not_submitted(world: World, submission: Submission, why: CoordinatorError) -> None:
    """An member could not become a job. Where credit is what is missing, the whole rest fails, unless jobs of the same
    batch are still to give back what they do not use."""
    assert submission.job_id is not None
    async with world.store.begin() as tx:
        member = await tx.batches.member_of(submission.job_id)
        assert member is not None
        batch = await tx.batches.lock(member.batch_id)
        assert batch is not None
        if not isinstance(why, InsufficientCredits):
            await tx.batches.drop(batch.id, MemberStatus.FAILED, _said(why), job=member.job_id)
        elif not any(one.busy for one in await tx.batches.members(batch.id)):
            await tx.batches.drop(batch.id, MemberStatus.FAILED, _said(why))


async def _submissions(
    tx: Tx, batch: Batch, members: list[Member], now: datetime
) -> tuple[Submission, ...]:
    if not members:
        return ()
    user, key = await tx.users.get(batch.user_id), await tx.keys.get(batch.user_id, batch.key_id)
    assert user is not None and key is not None, "neither users nor keys are ever removed"
    try:
        _check_may(user, key, now)
    except CoordinatorError as error:
        await tx.batches.drop(batch.id, MemberStatus.FAILED, _said(error))
        return ()
    inputs = await tx.batches.inputs([member.job_id for member in members])
    return tuple(_submission(batch, user, key, one.job_id, inputs[one.job_id]) for one in members)


def _check_may(user: User, key: ApiKey, now: datetime) -> None:
    """Raises what the door would. A batch outlives the request, not the right to ask."""
    key.check_usable(now)
    check_standing(user)


def _submission(batch: Batch, user: User, key: ApiKey, job_id: JobId, given: bytes) -> Submission:
    return Submission(
        user=user,
        key=key,
        workload=batch.workload,
        input=json.loads(given),
        interactive=False,
        priority=batch.priority,
        job_id=job_id,
    )


def _said(error: CoordinatorError) -> str:
    if isinstance(error, InsufficientCredits):
        return f"{error}: {error.required} micro-credits needed, {error.available} available"
    return str(error)

"""Stops a job for its customer, who pays for what was delivered until now."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.recall import make_home, recall
from archipelag_coordinator.services.world import World

CATCH_UP_S: Final = 0.1
CATCH_UP_TRIES: Final = 20
"""What an attempt said of late is here within two seconds after a job was taken over, or will not come."""


async def cancel(
    world: World, user_id: UserId, job_id: JobId, reason: str = "cancelled by the customer"
) -> Job:
    """Settles at once and tells the Island after commit. A job that has ended already is returned as it is.

    The process that relays it does this, since only there is it known what was delivered; where that is gone, this one
    goes by what was noted last. Raises NotFound, also for somebody else's job.
    """
    job = await _owned(world, user_id, job_id)
    if not job.finished and job.home != world.home:
        with contextlib.suppress(OSError):
            if await world.bus.hand_cancel(job.home, job_id, reason):
                return await _owned(world, user_id, job_id)
    return await cancel_here(world, job_id, reason)


async def leave(world: World, job_id: JobId) -> Job:
    """Cancels a job that nobody reads any more. Its home alone may say that: a process that was held up may believe to
    be it still. Raises NotFound."""
    return await cancel_here(world, job_id, "the reader left", if_left=True)


async def cancel_here(world: World, job_id: JobId, reason: str, *, if_left: bool = False) -> Job:
    """As `cancel`, by this process in any case, or only if it is the job's home and nobody has come back to read it.
    Raises NotFound.

    Just after it took the job over, more may have been delivered elsewhere than has come here: waits a moment for that,
    so that the output says all that is charged.
    """
    for tries_left in reversed(range(CATCH_UP_TRIES)):
        found = await _cancel(world, job_id, reason, if_left=if_left, wait=tries_left > 0)
        if found is not None:
            return found
        await asyncio.sleep(CATCH_UP_S)
    raise AssertionError("the last try does not wait")


async def _cancel(
    world: World, job_id: JobId, reason: str, *, if_left: bool, wait: bool
) -> Job | None:
    """None, and nothing done but that this process is the job's home: more was delivered than is here."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        if job is None:
            raise NotFound("job", job_id)
        if job.finished:
            return job
        if if_left and (job.home != world.home or ending.is_read_again(world, job_id)):
            return job
        was = job.home
        job = await make_home(world, tx, job)
        answer = await recall(world, tx, job)
        if wait and answer.running and answer.next < job.delivered:
            return None
        attempt = await ending.current_attempt(tx, job)
        mark = ending.mark_of(world, job)
        closed = await ending.cancel(world, tx, job, attempt, reason=reason, mark=mark, now=now)
    await ending.announce(world, closed)
    if was != world.home:
        await world.bus.ended(was, job_id)
    if closed.attempt is not None:
        await world.bus.cancel(
            closed.attempt.island_id, job_id, closed.attempt.epoch, reason, issued_at=now
        )
    return closed.job


async def _owned(world: World, user_id: UserId, job_id: JobId) -> Job:
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
    if job is None or job.user_id != user_id:
        raise NotFound("job", job_id)
    return job

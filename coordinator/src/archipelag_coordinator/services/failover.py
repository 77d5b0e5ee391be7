"""Takes back an attempt that came to nothing, and ends jobs whose time is up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from archipelag_contracts.ids import Epoch, JobId

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.errors import StaleAttempt
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.ending import Closed
from archipelag_coordinator.services.expect import is_too_late
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.recall import recall
from archipelag_coordinator.services.world import World

TOO_LATE: Final = "it could not be done within the time that its customer gave"
RESTORED: Final = "the network was restored from a backup that was made while this ran"


async def failover(world: World, job_id: JobId, epoch: Epoch, cause: Cause, reason: str) -> Job:
    """Ends the current attempt: the job is queued again for another Island, or fails and costs nothing.

    Raises StaleAttempt when that epoch is no longer the current one, or when the job has another home by now.
    """
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        attempt = await tx.attempts.get(job_id, epoch)
        if job is None or attempt is None or job.home != world.home:
            raise StaleAttempt(job_id, epoch)
        job.check_current(epoch)
        if attempt.taken_back and cause is Cause.LEASE_LOST:
            cause, reason = Cause.ISLAND_STOPPED, RESTORED
        answer = await recall(world, tx, job)
        silent_s = max(0.0, world.clock.monotonic() - answer.heard_at)
        closed = await ending.end_attempt(
            world, tx, job, attempt, cause=cause, reason=reason, now=now
        )
    if cause is Cause.LEASE_LOST:
        # One that has beaten since then is back already.
        world.fleet.doubt(attempt.island_id, now - timedelta(seconds=silent_s))
    await _after(world, closed, reason)
    return closed.job


async def expire_lease(world: World, job_id: JobId, epoch: Epoch) -> Job | None:
    """Breaks a lease that ran out. None when it was extended in the meantime."""
    async with world.store.begin() as tx:
        attempt = await tx.attempts.get(job_id, epoch)
    if attempt is None or attempt.finished or attempt.lease_until > world.clock.now():
        return None
    reason = "the Island was not heard from until its lease ran out"
    return await failover(world, job_id, epoch, Cause.LEASE_LOST, reason)


async def expire_job(world: World, job_id: JobId) -> Job | None:
    """Ends a job that waited too long for an Island, that runs past its deadline, or that its customer has no use for
    any more: what was delivered of it by then is charged, as where they cancel it. None when it need not end."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        if job is None or job.finished or job.home != world.home:
            return None
        if job.status is JobStatus.RUNNING and job.due_at is not None and now >= job.due_at:
            reason, closed = TOO_LATE, await _cancel(world, tx, job, now)
        elif (found := _overdue(world, job, now)) is not None:
            cause, reason = found
            closed = await _end(world, tx, job, cause, reason, now)
        else:
            return None
    await _after(world, closed, reason)
    return closed.job


def _overdue(world: World, job: Job, now: datetime) -> tuple[Cause, str] | None:
    queued = job.status is JobStatus.QUEUED
    if queued and is_too_late(world, job):
        return Cause.DEADLINE, TOO_LATE
    if queued and now >= min(job.queue_until, job.deadline_at):
        return Cause.NO_CAPACITY, "; ".join(job.waiting_for) or "no Island took it in time"
    if now >= job.deadline_at:
        return Cause.DEADLINE, "the job's time ran out before it was done"
    return None


async def _cancel(world: World, tx: Tx, job: Job, now: datetime) -> Closed:
    await recall(world, tx, job)
    attempt = await ending.current_attempt(tx, job)
    mark = ending.mark_of(world, job)
    return await ending.cancel(world, tx, job, attempt, reason=TOO_LATE, mark=mark, now=now)


async def abandon(world: World, job_id: JobId) -> Job | None:
    """Fails a job whose reader was connected to a Coordinator that died, and did not come back: through us, so it
    costs the customer nothing, and the same request may be made again under the same idempotency key. None when it
    has ended, or is read again."""
    now = world.clock.now()
    cause, error = Cause.COORDINATOR_LOST, "the Coordinator that relayed the answer stopped"
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        if job is None or job.finished or job.home != world.home:
            return None
        if ending.is_read_again(world, job_id):
            return None
        closed = await _end(world, tx, job, cause, error, now)
    await _after(world, closed, error)
    return closed.job


async def _end(world: World, tx: Tx, job: Job, cause: Cause, error: str, now: datetime) -> Closed:
    """The job ends, with the attempt that is at work on it, if there is one."""
    await recall(world, tx, job)
    attempt = await ending.current_attempt(tx, job)
    if attempt is None or attempt.finished:
        return await ending.fail(world, tx, job, cause=cause, error=error, now=now)
    return await ending.end_attempt(world, tx, job, attempt, cause=cause, reason=error, now=now)


async def _after(world: World, closed: Closed, reason: str) -> None:
    await ending.announce(world, closed)
    if (attempt := closed.attempt) is not None:
        # It may still be at work; its epoch is no longer valid whether it hears this or not.
        await world.bus.cancel(
            attempt.island_id,
            attempt.job_id,
            attempt.epoch,
            reason,
            issued_at=world.clock.now(),
        )

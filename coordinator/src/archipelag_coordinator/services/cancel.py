"""Stops a job for its customer, who pays for what was delivered until now."""

from __future__ import annotations

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.world import World


async def cancel(
    world: World, user_id: UserId, job_id: JobId, reason: str = "cancelled by the customer"
) -> Job:
    """Settles at once and tells the Island after commit. A job that has ended already is returned as it is.

    Raises NotFound, also for somebody else's job.
    """
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        if job is None or job.user_id != user_id:
            raise NotFound("job", job_id)
        if job.finished:
            return job
        attempt = await ending.current_attempt(tx, job)
        mark = ending.mark_of(world, job)
        closed = await ending.cancel(world, tx, job, attempt, reason=reason, mark=mark, now=now)
    await ending.announce(world, closed)
    if closed.attempt is not None:
        await world.bus.cancel(
            closed.attempt.island_id, job_id, closed.attempt.epoch, reason, issued_at=now
        )
    return closed.job

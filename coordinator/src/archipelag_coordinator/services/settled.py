"""Hears that another Coordinator ended an attempt whose output this process relays, and acts on it here."""

from __future__ import annotations

from archipelag_contracts.ids import JobId

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.world import World


async def settled(world: World, job_id: JobId) -> None:
    """Readers are told of a job that is over; one that is queued again goes on from here."""
    answer = world.answers.get(job_id)
    if answer is None:
        return
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        attempt = await tx.attempts.get(job_id, job.epoch) if job and job.epoch else None
    if job is None or job.status is JobStatus.RUNNING:
        return
    if attempt is not None:
        key = (attempt.job_id, attempt.epoch)
        world.relay.close(attempt.island_id, *key)
        world.fleet.freed(attempt.island_id, key)
    if job.finished:
        ending.finish_answer(world, job)
    elif answer.epoch == job.epoch:
        answer.interrupt()
        await _go_on(world, job, answer)
    world.nudge()


async def _go_on(world: World, job: Job, answer: Answer) -> None:
    """The next Island continues, or begins anew where nothing was read; otherwise the job is lost after all."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        if await ending.is_resumable(world, tx, job):
            return
        if answer.taken == 0:
            answer.restart()
            return
        queued = await tx.jobs.lock(job.id)
        if queued is None or queued.status is not JobStatus.QUEUED:
            return
        error = "; ".join(queued.waiting_for) or "the attempt ended too early"
        closed = await ending.fail(
            world,
            tx,
            queued,
            cause=Cause.ISLAND_STOPPED,
            error=error,
            now=now,
            delivered=answer.taken,
        )
    await ending.announce(world, closed)

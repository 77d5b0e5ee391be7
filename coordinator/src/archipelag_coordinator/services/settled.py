"""Hears that another Coordinator ended an attempt whose output this process relays, and acts on it here."""

from __future__ import annotations

from archipelag_contracts.ids import JobId

from archipelag_coordinator.services import ending
from archipelag_coordinator.services.recall import free_ended, let_go
from archipelag_coordinator.services.world import World


async def settled(world: World, job_id: JobId) -> None:
    """Readers are told of a job that is over; one that is queued again goes on from here."""
    answer = world.answers.own(job_id)
    if answer is None:
        return
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        attempt = await tx.attempts.get(job_id, job.epoch) if job and job.epoch else None
    if job is None:
        return
    free_ended(world, answer, job)
    if job.home != world.home:
        let_go(world, answer)  # Whoever settled it goes on with it.
    if attempt is not None and not attempt.finished:
        return
    if attempt is not None:
        key = (attempt.job_id, attempt.epoch)
        world.relay.close(attempt.island_id, *key)
        world.fleet.freed(attempt.island_id, key)
    if job.finished:
        ending.finish_answer(world, job)
    elif answer.follows:
        return
    elif attempt is not None and answer.epoch == job.epoch and not answer.interrupted:
        answer.interrupt()
        await ending.begin_at(world, job, answer, attempt.next_position)
    world.nudge()

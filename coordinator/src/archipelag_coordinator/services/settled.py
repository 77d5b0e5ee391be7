"""Hears that another Coordinator settled a job whose output this process relays, and ends its answer."""

from __future__ import annotations

from archipelag_contracts.ids import JobId

from archipelag_coordinator.services.ending import finish_answer
from archipelag_coordinator.services.world import World


async def settled(world: World, job_id: JobId) -> None:
    """Readers here are told what the stored job says. Nothing happens while its attempt goes on, or if it is not
    relayed here."""
    answer = world.answers.get(job_id)
    if answer is None:
        return
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        attempt = await tx.attempts.get(job_id, job.epoch) if job and job.epoch else None
    if job is None or (attempt is not None and not attempt.finished):
        return
    if attempt is not None:
        key = (attempt.job_id, attempt.epoch)
        world.relay.close(attempt.island_id, *key)
        world.fleet.freed(attempt.island_id, key)
    if job.finished:
        finish_answer(world, job)
    elif attempt is not None and answer.epoch == job.epoch and not answer.taken:
        answer.restart()  # Another Island begins anew; what the one before said is not mixed with it.
    world.nudge()

"""Keeps copies of answers that another Coordinator relays in step, for readers who came here."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.ids import JobId

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.recall import catch_up
from archipelag_coordinator.services.world import World

UNREAD_S: Final = 10.0
"""A copy that nobody reads is kept for so long."""


async def keep_up(world: World) -> None:
    """Copies go on with the attempt that is current, and end when their job has ended."""
    copies = [a for a in world.answers.all() if a.follows and a.final is None]
    _let_go(world, [a for a in copies if not a.readers])
    read = [a.job_id for a in copies if a.readers]
    if not read:
        return
    async with world.store.begin() as tx:
        standing = await tx.jobs.standing(read)
    for one in standing:
        answer = world.answers.get(one.job_id)
        if (
            answer is not None
            and answer.follows
            and _is_behind(world, answer, one.epoch, one.finished)
        ):
            await look(world, one.job_id)


async def look(world: World, job_id: JobId) -> bool:
    """Brings one copy up to what PostgreSQL says. True once the job has ended, or is not followed here."""
    answer = world.answers.get(job_id)
    if answer is None or not answer.follows:
        return True
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        if job is not None and not job.finished and job.home != world.home and answer.follows:
            await catch_up(world, tx, job)
    if job is not None and job.finished:
        ending.finish_answer(world, job)
    return job is None or job.finished


def _is_behind(world: World, answer: Answer, epoch: int, finished: bool) -> bool:
    if finished or answer.epoch != epoch or answer.island_id is None or answer.waiting:
        return True
    if answer.attempt_end is not None:
        return False
    return not world.relay.is_open(answer.island_id, answer.job_id, answer.epoch)


def _let_go(world: World, unread: list[Answer]) -> None:
    now = world.clock.monotonic()
    for answer in unread:
        if now - (answer.left_at or answer.opened_at) > UNREAD_S:
            if answer.island_id is not None:
                world.relay.close(answer.island_id, answer.job_id, answer.epoch)
            world.answers.drop(answer.job_id)

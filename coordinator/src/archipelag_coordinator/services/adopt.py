"""Goes on with jobs whose Coordinator is gone: their home moves here, and their running attempts are listened to."""

from __future__ import annotations

import asyncio
from typing import Final

from archipelag_contracts.ids import JobId, RelayId

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.services.recall import recall
from archipelag_coordinator.services.world import World

ABSENT_S: Final = 1.0
"""A Coordinator that is not on the broker twice, so long apart, is gone: one that only connects anew is back sooner."""


async def absent_homes(world: World) -> list[tuple[JobId, RelayId]]:
    """Jobs that are read here while their own Coordinator is not on the broker any more, each with that one."""
    homes = await _absent(world, {home for _, home in await _read_here(world)})
    if homes:
        await asyncio.sleep(ABSENT_S)
        homes = await _absent(world, homes)
    return [(job, home) for job, home in await _read_here(world) if home in homes] if homes else []


async def adopt(world: World, job_id: JobId, was: RelayId) -> Answer | None:
    """Makes this process the job's home in the place of `was`. None when it has ended or has moved already."""
    async with world.store.begin() as tx:
        if not await tx.jobs.take_home(job_id, world.home, was=was):
            return None
    return await take_up(world, job_id)


async def take_up(world: World, job_id: JobId) -> Answer | None:
    """Goes on with a job whose home this process is. None when there is nothing to go on with."""
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        if job is None or job.finished or job.home != world.home:
            return None
        answer = await recall(world, tx, job)
    world.nudge()
    return answer


async def _read_here(world: World) -> list[tuple[JobId, RelayId]]:
    copies = [a.job_id for a in world.answers.all() if a.follows and a.final is None and a.readers]
    if not copies:
        return []
    async with world.store.begin() as tx:
        standing = await tx.jobs.standing(copies)
    return [(one.job_id, one.home) for one in standing if not one.finished]


async def _absent(world: World, homes: set[RelayId]) -> set[RelayId]:
    # In order, so that a run can be repeated exactly.
    there = {home: await world.bus.is_there(home) for home in sorted(homes) if home != world.home}
    return {home for home, found in there.items() if found is False}

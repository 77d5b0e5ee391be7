"""Goes on with jobs whose Coordinator is gone: their home moves here, and their running attempts are listened to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import JobId, RelayId

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.health import COORDINATOR_DEAD_S
from archipelag_coordinator.services.recall import recall_all
from archipelag_coordinator.services.world import World

ABSENT_S: Final = 1.0
"""A Coordinator that is not on the broker twice, so long apart, is gone: one that only connects anew is back sooner."""
AT_ONCE_MAX: Final = 32
"""Jobs that are taken up together: some milliseconds of the loop. Between two portions others take theirs."""


async def adopt_left(world: World, was: RelayId, place: int | None = None) -> list[JobId]:
    """Takes over what one leaves behind that said that it stops; others do the same meanwhile, each its portions.
    `place`: of the stream of all output, before which all is stored.

    Only when the database has it, too, that it left: by the broker's word alone nobody loses its jobs.
    """
    since = world.clock.now() - timedelta(seconds=COORDINATOR_DEAD_S)
    async with world.store.begin() as tx:
        if was == world.home or was in await tx.coordinators.alive(since):
            return []
    return await _adopt_of(world, [was], place=place)


async def adopt_read(world: World) -> list[JobId]:
    """Jobs that are read here while their own Coordinator is not on the broker any more."""
    homes = await _absent(world, {home for _, home in await _read_here(world)})
    if homes:
        await asyncio.sleep(ABSENT_S)
        homes = await _absent(world, homes)
    if not homes:
        return []
    read = [job for job, home in await _read_here(world) if home in homes]
    return await _adopt_of(world, sorted(homes), read)


async def adopt(world: World, job_id: JobId, was: RelayId) -> Answer | None:
    """Makes this process the job's home in the place of `was`. None when it has ended or has moved already."""
    async with world.store.begin() as tx:
        if not await tx.jobs.take_home(job_id, world.home, was=was):
            return None
    return await take_up(world, job_id)


async def take_up(world: World, job_id: JobId) -> Answer | None:
    """Goes on with a job whose home this process is. None when there is nothing to go on with."""
    return world.answers.own(job_id) if await take_up_all(world, [job_id]) else None


async def take_up_all(world: World, jobs: Sequence[JobId], place: int | None = None) -> int:
    """Goes on with jobs whose home this process is; with how many there was something to go on with. `place`: of the
    stream of all output, before which all is stored."""
    count = 0
    for first in range(0, len(jobs), AT_ONCE_MAX):
        async with world.store.begin() as tx:
            found = await tx.jobs.several(jobs[first : first + AT_ONCE_MAX])
            ours = [job for job in found if not job.finished and job.home == world.home]
            await recall_all(world, tx, ours, place)
        count += len(ours)
    if count:
        world.nudge()
    return count


async def _adopt_of(
    world: World,
    was: Sequence[RelayId],
    among: Sequence[JobId] | None = None,
    place: int | None = None,
) -> list[JobId]:
    taken: list[JobId] = []
    while True:
        async with world.store.begin() as tx:
            some = await tx.jobs.adopt_of(world.home, was, AT_ONCE_MAX, among)
        await take_up_all(world, some, place)
        taken += some
        if len(some) < AT_ONCE_MAX:
            return taken


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

"""Tells whoever reads a job that waits where it stands by now."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.services.expect import rooms
from archipelag_coordinator.services.world import World

TOLD_MAX: Final = 1_000
"""Jobs, of those that are read here the longest."""


async def tell_waits(world: World) -> None:
    """One question to the database for all of them, and none where nobody waits and reads."""
    read = [
        one.job_id
        for one in world.answers.all()
        if one.readers and one.waiting and one.final is None
    ]
    if not read:
        return
    async with world.store.begin() as tx:
        standing = await tx.lines.standing(read[:TOLD_MAX])
    slots = rooms(world)
    for one in standing:
        answer = world.answers.get(one.job_id)
        if answer is not None and answer.waiting:
            answer.stand(world.forecast.wait(one.key, slots, before=one.before, since=one.since))

"""What waits and what runs, everybody's."""

from __future__ import annotations

from dataclasses import dataclass

from archipelag_coordinator.domain.health import Chore
from archipelag_coordinator.domain.sums import Work
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class Queues:
    work: tuple[Work, ...]
    chores: tuple[Chore, ...]


async def read_queues(world: World) -> Queues:
    async with world.store.begin() as tx:
        return Queues(tuple(await tx.sums.work()), tuple(await tx.sums.chores()))

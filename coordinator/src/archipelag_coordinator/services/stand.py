"""How the network stands: which Coordinators are alive, how the Islands are, what is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import RelayId

from archipelag_coordinator.domain.demand import ready_counts
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.services.world import World

ALIVE_S: Final = 10.0
"""A Coordinator that has not said so for longer is taken for gone."""


@dataclass(frozen=True)
class Wish:
    """A Cargo as it is asked for: jobs taken here in the last minutes, and Islands that could take one at once."""

    slug: str
    asked: int
    ready: int


@dataclass(frozen=True)
class Stand:
    coordinators: tuple[RelayId, ...]
    home: RelayId
    islands: Mapping[IslandStatus, int]
    awaiting_approval: int
    slots: int
    busy: int
    wishes: tuple[Wish, ...]
    broker_connected: bool


async def how_it_stands(world: World) -> Stand:
    """What PostgreSQL says of Coordinators and Islands, and what this process knows of the work."""
    async with world.store.begin() as tx:
        alive = await tx.coordinators.alive(world.clock.now() - timedelta(seconds=ALIVE_S))
        islands = await tx.islands.all()
    working = [island for island in islands if island.accepts_work]
    asked = world.demand.lately(world.clock.monotonic())
    ready = ready_counts(world.fleet.islands())
    slots = sum(island.slots for island in working)
    return Stand(
        coordinators=tuple(alive),
        home=world.home,
        islands=Counter(island.status for island in islands),
        awaiting_approval=sum(not island.approved for island in islands),
        slots=slots,
        busy=min(slots, sum(world.fleet.busy(island.id) for island in working)),
        wishes=tuple(
            Wish(cargo.slug, asked[cargo.slug], ready[cargo.slug])
            for cargo in world.catalogue.cargos
        ),
        broker_connected=world.bus.connected,
    )

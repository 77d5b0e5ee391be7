"""An operator's word on an Island: approve, suspend, restore. A suspended one is cut off within seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from archipelag_contracts.ids import IslandId, UserId

from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.world import World


async def approve_island(world: World, actor: UserId, island_id: IslandId) -> Island:
    """Raises NotFound."""
    return await _change(world, actor, island_id, "island.approve", Island.approve)


async def suspend_island(world: World, actor: UserId, island_id: IslandId) -> Island:
    """Refused from now on; what it held goes elsewhere within a second. Raises NotFound, IllegalMove."""
    island = await _change(world, actor, island_id, "island.suspend", Island.suspend)
    await _enforce_now(world)
    return island


async def restore_island(world: World, actor: UserId, island_id: IslandId) -> Island:
    """It may connect again, with new credentials. Raises NotFound, IllegalMove."""
    island = await _change(world, actor, island_id, "island.restore", Island.restore)
    await _enforce_now(world)
    return island


async def enforce(world: World) -> None:
    """Tells the broker who may not connect: at every change, and again and again, since a broker may forget."""
    async with world.store.begin() as tx:
        cut_off = await tx.islands.cut_off()
        unlinked = await tx.links.taken_back()
    await world.broker.enforce(cut_off, unlinked)


async def _enforce_now(world: World) -> None:
    with contextlib.suppress(ConnectionError):
        # What was decided stands; a broker that cannot be reached is told again within seconds.
        await enforce(world)


async def _change(
    world: World, actor: UserId, island_id: IslandId, act: str, move: Callable[[Island], Island]
) -> Island:
    async with world.store.begin() as tx:
        before = await tx.islands.lock(island_id)
        if before is None:
            raise NotFound("host", island_id)
        island = move(before)
        await tx.islands.save(island)
        if not island.may_connect:
            await tx.attempts.break_leases(island_id, world.clock.now())
        if island != before:
            await tx.audit.note(world.clock.now(), actor, act, island_id, island.name)
    world.fleet.load([island])
    return island

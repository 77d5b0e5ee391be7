"""An owner's order to an Island: kept as its wishes, held to here at once, and told to it by the next heartbeat."""

from __future__ import annotations

from dataclasses import replace

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.domain.wishes import Order, Wishes
from archipelag_coordinator.errors import IllegalMove, NotFound, NotPermitted
from archipelag_coordinator.services.world import World


async def order_island(world: World, user: User, island_id: IslandId, order: Order) -> Island:
    """By its owner or by an administrator, whose order is audited.

    Raises NotFound (another's too), NotPermitted (an operator, who only looks), IllegalMove (cut off), InvalidInput.
    """
    now = world.clock.now()
    async with world.store.begin() as tx:
        before = await tx.islands.lock(island_id)
        if before is None or not user.looks_after(before.owner_id):
            raise NotFound("host", island_id)
        owns = user.id == before.owner_id
        if not owns and user.role is not Role.ADMIN:
            raise NotPermitted("the Island's owner, or an administrator")
        if not before.may_connect:
            raise IllegalMove("Island", before.status.value, "ordered")
        island = replace(before, wishes=order.apply(before.wishes, now))
        if island.wishes == before.wishes:
            return before
        await tx.islands.save_wishes(island)
        if not owns:
            said = _said(before.wishes, island.wishes)
            await tx.audit.note(now, user.id, "island.order", island_id, said)
    world.fleet.load([island])
    # It may take work that waits; also where it could not a moment ago because of its price.
    world.nudge()
    return island


def _said(before: Wishes, after: Wishes) -> str:
    told = []
    if before.draining is not after.draining:
        told.append("drain" if after.draining else "resume")
    if before.hours != after.hours:
        told.append(f"schedule of {after.hours.bit_count()} hours a week")
    if before.least != after.least:
        told.append("least prices")
    return ", ".join(told)

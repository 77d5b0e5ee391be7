"""A Coordinator stops: its jobs go to the others first, while those who read here go on reading."""

from __future__ import annotations

from archipelag_coordinator.services import recall
from archipelag_coordinator.services.upkeep import save_marks
from archipelag_coordinator.services.world import World


async def hand_on(world: World) -> None:
    """What is relayed here becomes a copy of what goes on elsewhere: an Island's output is heard by both. All that was
    said so far is stored first, so that whoever takes over need not read it again.

    To be called again at the very end, for what came in meanwhile. Raises what the store raises when it is away; the
    others then notice by themselves that this Coordinator is gone.
    """
    await save_marks(world)
    async with world.store.begin() as tx:
        await tx.coordinators.leave(world.home)
    for answer in world.answers.all():
        if not answer.follows and answer.final is None:
            recall.let_go(world, answer)
    await world.bus.left(world.home)

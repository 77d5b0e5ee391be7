"""Look several times a second whether the owner needs the machine: pause at once if so, work when all is quiet."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from archipelag_island.domain.owner import Readings
from archipelag_island.services.ports import Senses
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25
# Without a rule the readings are for people only.
SHOW_S: Final = 2.0


async def yield_for_ever(world: World, senses: Senses) -> None:
    while True:
        look(world, senses.read())
        await asyncio.sleep(LOOK_S if world.rules.any else SHOW_S)


def look(world: World, seen: Readings) -> None:
    """What runs is handed over when a pause begins; the Coordinator hears of its begin and its end at once."""
    now, rules = world.now, world.rules
    before, now.readings = now.owner, seen
    now.owner = before.look(rules, seen, world.clock.monotonic())
    if now.owner.mode is before.mode:
        return
    world.beat_soon.set()
    if now.owner.paused:
        runs = world.hand_over(f"the owner needs the machine: {now.owner.reason}")
        log.info("paused runs=%d reason=%s", runs, now.owner.reason)
    else:
        log.info("pause_ended")

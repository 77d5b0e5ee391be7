"""Bring every report to the stream, again and again until it is acknowledged, then keep it until told to forget."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from archipelag_island.domain.backoff import Backoff
from archipelag_island.errors import BrokerUnreachable, NoAnswer
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

WAIT_MOST_S: Final = 10.0


async def deliver_for_ever(world: World) -> None:
    """Woken by `world.reports_waiting`."""
    backoff = Backoff(0.2, WAIT_MOST_S, world.chance)
    while True:
        world.reports_waiting.clear()
        try:
            await deliver(world)
            backoff.reset()
            await world.reports_waiting.wait()
        except (BrokerUnreachable, NoAnswer) as error:
            log.warning("report_not_delivered error=%s", error)
            await asyncio.sleep(backoff.next_s())


async def deliver(world: World) -> int:
    """Sends what was not acknowledged yet; how many. Raises BrokerUnreachable or NoAnswer at the first that fails."""
    sent = 0
    for remembered in tuple(world.journal.all()):
        if remembered.sealed is None or remembered.delivered:
            continue
        await world.wait_room()
        await world.link.deliver(remembered.sealed)
        world.journal.delivered(remembered.key)
        sent += 1
    return sent

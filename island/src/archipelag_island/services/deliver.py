"""Bring every report to the stream, again and again until it is acknowledged, then keep it until told to forget."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from archipelag_island.domain.backoff import Backoff
from archipelag_island.errors import BrokerUnreachable, NoAnswer
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

WAITS_S: Final = (0.2, 10.0)


async def deliver_for_ever(world: World) -> None:
    """Woken by `world.reports_waiting`, also between two tries: a line that is back is not left waiting."""
    backoff = Backoff(*WAITS_S, world.chance)
    while True:
        world.reports_waiting.clear()
        try:
            await deliver(world)
            backoff.reset()
            await world.reports_waiting.wait()
        except (BrokerUnreachable, NoAnswer) as error:
            log.warning("report_not_delivered error=%s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(world.reports_waiting.wait(), backoff.next_s())


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

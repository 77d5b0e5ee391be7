"""Stop well: take nothing more and end what runs, so that others can go on with it."""

from __future__ import annotations

import asyncio
import logging

from archipelag_island.domain.attempt import Cause, Ending
from archipelag_island.services.world import World

log = logging.getLogger(__name__)


async def drain(world: World, timeout_s: float) -> None:
    """Every run ends as stopped by the Island and leaves its report in the journal."""
    world.now.draining = True
    world.beat_soon.set()
    for key in tuple(world.now.runs):
        world.stop_run(
            key, Ending(Cause.ISLAND_STOPPED, error="the Island was stopped by its owner")
        )
    try:
        async with asyncio.timeout(timeout_s):
            while world.now.runs:
                world.reports_waiting.clear()
                await world.reports_waiting.wait()
    except TimeoutError:
        log.warning("drain_cut_short runs=%d", len(world.now.runs))

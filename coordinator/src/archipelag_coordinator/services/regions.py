"""Measures how far the network's other regions are, and learns which of them the broker does not reach now."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import RelayId

from archipelag_coordinator.domain.health import COORDINATOR_DEAD_S
from archipelag_coordinator.services.world import World

ASKED_MAX: Final = 3
"""Coordinators of one region that are asked: the nearest answer is the way, the others were busy."""


async def reach_regions(world: World) -> None:
    """What is found goes to placement. In a network of one region, nothing is asked."""
    if not world.region:
        return
    async with world.store.begin() as tx:
        since = world.clock.now() - timedelta(seconds=COORDINATOR_DEAD_S)
        standing = await tx.coordinators.regions(since)
    others: defaultdict[str, list[RelayId]] = defaultdict(list)
    for relay, region in standing.items():
        if region != world.region:
            others[region].append(relay)
    found = {region: await _round_trip_ms(world, relays) for region, relays in others.items()}
    if world.bus.connected:  # Else it is we who are away, and nothing is known of others.
        world.fleet.see_regions(found)


async def _round_trip_ms(world: World, relays: list[RelayId]) -> float | None:
    """The least of some; None where nobody answers."""
    took = []
    for relay in relays[:ASKED_MAX]:
        began = world.clock.monotonic()
        if await world.bus.is_there(relay):
            took.append(1000 * (world.clock.monotonic() - began))
    return min(took, default=None)

"""Memory for Cargos: each claims what it may take before it starts; who is wanted may make an idle one give way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from archipelag_contracts.ids import CargoDigest

from archipelag_island.domain.caps import host_refusal, memory_refusal
from archipelag_island.domain.offer import Offer
from archipelag_island.errors import StartFailed
from archipelag_island.services.world import World

LOOK_S: Final = 0.05
GIVE_WAY_S: Final = 15.0
"""For so long we wait for an idle Cargo to end; then somebody has taken it into use after all."""


class NoRoom(StartFailed):
    """Others hold the memory; it may be free later."""


@asynccontextmanager
async def memory_for(world: World, offer: Offer) -> AsyncIterator[None]:
    """Claims what the Cargo needs, before anybody waits. Raises StartFailed when there can never be so much, NoRoom
    when others have it now."""
    needed = max(
        offer.choice.tier.memory_bytes if offer.choice.runtime != "native" else 0,
        offer.manifest.needs.memory_mb << 20,
        world.now.appetites.get(offer.digest, 0),
    )
    if alone := _refusal(world, 0, needed):
        raise StartFailed(alone)
    await _make_room(world, offer, needed)
    claims = world.now.memory_claims
    if refusal := _refusal(world, sum(claims.values()), needed):
        raise NoRoom(refusal)
    claims[offer.digest] = needed
    try:
        yield
    finally:
        claims.pop(offer.digest, None)


def _refusal(world: World, claimed_bytes: int, needed_bytes: int) -> str | None:
    return memory_refusal(world.host.caps, claimed_bytes, needed_bytes) or host_refusal(
        world.host.memory_bytes, claimed_bytes, needed_bytes
    )


async def _make_room(world: World, offer: Offer, needed_bytes: int) -> None:
    """Ends idle Cargos, the longest unused first, as far as a run waits for this one."""
    claims = world.now.memory_claims
    until = world.clock.monotonic() + GIVE_WAY_S
    asked: set[CargoDigest] = set()
    while world.hold(offer.digest).waiting and _refusal(world, sum(claims.values()), needed_bytes):
        idle = [o for o in _idle(world) if o.digest not in asked]
        if idle:
            asked.add(idle[0].digest)
            world.hold(idle[0].digest).give_way.set()
        elif not asked & claims.keys() or world.clock.monotonic() > until:
            return
        await asyncio.sleep(LOOK_S)


def _idle(world: World) -> list[Offer]:
    """Warm Cargos that nobody uses, the longest unused first."""
    idle = [
        o for o in world.now.offers.values() if o.warm and not world.hold(o.digest).waiting
        and not world.uses(o)
    ]  # fmt: skip
    return sorted(idle, key=lambda o: (world.hold(o.digest).used_at, o.digest))

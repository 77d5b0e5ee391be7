"""Asks every part of the network how it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from archipelag_coordinator.domain.health import (
    COORDINATOR_DEAD_S,
    Part,
    Seen,
    chores_part,
    regions_part,
)
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class Health:
    parts: tuple[Part, ...]
    coordinators: tuple[Seen, ...]
    alive: frozenset[str]

    @property
    def ok(self) -> bool:
        return all(part.ok for part in self.parts)


async def network_health(world: World) -> Health:
    """Database, broker, leader, chores, Coordinators, Islands and other regions, as this process finds them."""
    began, now = world.clock.monotonic(), world.clock.now()
    async with world.store.begin() as tx:
        seen = await tx.coordinators.seen()
        leader = await tx.coordinators.has_leader()
        chores = await tx.sums.chores()
    took_ms = 1000 * (world.clock.monotonic() - began)
    silent = timedelta(seconds=COORDINATOR_DEAD_S)
    alive = frozenset(one.relay for one in seen if now - one.at <= silent)
    hears = world.bus.connected and await world.relay.hears()
    takers = sum(island.accepts_work for island in world.fleet.islands())
    parts: tuple[Part, ...] = (
        Part("database", True, f"answered within {took_ms:.0f} ms"),
        Part("broker", hears, "answers" if hears else "is out of reach of this Coordinator"),
        Part("leader", leader, "one leads" if leader else "nobody leads: nothing is taken over"),
        chores_part(chores),
        Part("coordinators", bool(alive), f"{len(alive)} of {len(seen)} seen lately"),
        Part("islands", takers > 0, f"{takers} of {len(world.fleet)} take work"),
    )
    if world.region:
        parts += (regions_part(world.region, world.fleet.regions_ms),)
    return Health(parts, tuple(seen), alive)

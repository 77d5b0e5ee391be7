"""Reckons which Cargos Islands should fetch ahead; each heartbeat's answer carries the first that its Island lacks."""

from __future__ import annotations

from archipelag_coordinator.domain.demand import rank, ready_counts
from archipelag_coordinator.services.world import World


async def recommend(world: World) -> None:
    """Once for all Islands: with each heartbeat it would cost the square of the fleet."""
    listed = {cargo.slug for cargo in world.catalogue.cargos}
    asked = world.demand.lately(world.clock.monotonic())
    ready = ready_counts(world.fleet.islands())
    world.demand.ranked = rank({slug: n for slug, n in asked.items() if slug in listed}, ready)

"""Notes what Prometheus would be told, so that the last hour can be looked at without anything beside the process."""

from __future__ import annotations

from archipelag_coordinator.domain.essentials import SAMPLES
from archipelag_coordinator.services.world import World


async def note_history(world: World) -> None:
    """Called some times a minute."""
    read = await world.figures.read(SAMPLES)
    world.history.note(world.clock.now(), read)

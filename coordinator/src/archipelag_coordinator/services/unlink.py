"""Takes a region's link back: within seconds its broker is cut off from the others, and stays out."""

from __future__ import annotations

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.link import Link
from archipelag_coordinator.services.ports import Store


async def take_link_back(store: Store, clock: Clock, link: Link, *, by: str) -> bool:
    """`by`: the operator, for the audit log. False where it was taken back before, and nothing is changed."""
    now = clock.now()
    async with store.begin() as tx:
        taken = await tx.links.take_back(link, now)
        if taken:
            await tx.audit.note(now, by, "link.take_back", str(link), "")
    return taken

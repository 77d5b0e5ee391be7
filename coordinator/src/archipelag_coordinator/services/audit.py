"""Rebuilds every balance from its entries and reservations, and says where what is kept differs."""

from __future__ import annotations

from archipelag_coordinator.domain.ledger import Account
from archipelag_coordinator.services.world import World


async def audit_ledger(world: World) -> list[tuple[Account, Account]]:
    """(kept, rebuilt) of every account that drifted. Empty is right; anything else needs a person."""
    async with world.store.begin() as tx:
        return await tx.ledger.rebuild()

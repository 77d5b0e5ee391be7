"""What people spent and earned, day by day, and every move in their accounts."""

from __future__ import annotations

from collections.abc import Sequence

from archipelag_contracts.ids import IslandId, UserId

from archipelag_coordinator.domain.ledger import owner_account, user_account
from archipelag_coordinator.domain.sums import (
    Days,
    EarnedBy,
    EarnedSum,
    Moved,
    Place,
    Spent,
    SpentBy,
)
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.world import World


async def usage_of(world: World, user_id: UserId, days: Days, by: SpentBy) -> Sequence[Spent]:
    """Of one's own jobs that ended within these days."""
    async with world.store.begin() as tx:
        return await tx.sums.spent(user_id, days, by)


async def earnings_of(
    world: World, user: User, island_id: IslandId, days: Days, by: EarnedBy
) -> Sequence[EarnedSum]:
    """For its owner and for operators, whatever state the Island is in. Raises NotFound."""
    async with world.store.begin() as tx:
        island = await tx.islands.get(island_id)
        if island is None or not user.looks_after(island.owner_id):
            raise NotFound("host", island_id)
        return await tx.sums.earned(island_id, days, by)


async def transfers_of(
    world: World, user_id: UserId, *, before: Place | None, limit: int
) -> tuple[list[Moved], Place | None]:
    """Moves in one's own two accounts, newest first, and where the next page begins; None at the end."""
    accounts = (user_account(user_id), owner_account(user_id))
    async with world.store.begin() as tx:
        found = await tx.sums.moved(user_id, accounts, before=before, limit=limit + 1)
    shown = found[:limit]
    return shown, shown[-1].place if len(found) > limit else None

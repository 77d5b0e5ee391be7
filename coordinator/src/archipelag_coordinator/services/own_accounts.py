"""A person's two accounts: what they may spend, and what their Islands earned."""

from __future__ import annotations

from dataclasses import dataclass

from archipelag_coordinator.domain.ledger import Account, owner_account, user_account
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class OwnAccounts:
    spending: Account
    earned: Account


async def read_own_accounts(world: World, user: User) -> OwnAccounts:
    async with world.store.begin() as tx:
        return OwnAccounts(
            await tx.ledger.account(user_account(user.id)),
            await tx.ledger.account(owner_account(user.id)),
        )

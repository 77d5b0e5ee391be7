"""Gives a new network its first user, credits and insurance. Doing it again changes nothing."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.units import UCREDITS_PER_CREDIT, Ucredits

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.ledger import fund_insurance, grant
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.services.ports import Ids, Store

FIRST_GRANT: Final = Ucredits(10_000 * UCREDITS_PER_CREDIT)


async def bootstrap(store: Store, clock: Clock, ids: Ids, policy: Policy, email: str) -> User:
    """The administrator with this address; made, and given credits, where there is none."""
    now = clock.now()
    async with store.begin() as tx:
        user = await tx.users.by_email(email)
        if user is not None:
            return user
        user = User(ids.user(now), email, Role.ADMIN, now)
        await tx.users.add(user)
        await tx.ledger.transfer(grant(user.id, FIRST_GRANT, "bootstrap", now))
        if policy.insurance_seed > 0:
            await tx.ledger.transfer(fund_insurance(policy.insurance_seed, f"seed:{user.id}", now))
    return user

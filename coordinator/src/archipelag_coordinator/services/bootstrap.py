"""Brings people into a network before there is sign-in: the first administrator, and users that an operator adds."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.units import UCREDITS_PER_CREDIT, ZERO, Ucredits

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.ledger import fund_insurance, grant
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.services.ports import Ids, Store

FIRST_GRANT: Final = Ucredits(10_000 * UCREDITS_PER_CREDIT)
FIRST_USER: Final = "admin@archipelag.local"
"""Nothing is mailed there: this administrator signs in by the local mailbox, or not at all."""
EMAIL_MAX: Final = 254


async def bootstrap(store: Store, clock: Clock, ids: Ids, policy: Policy, email: str) -> User:
    """The administrator with this address, credits and the insurance's seed. Doing it again changes nothing."""
    user = await add_user(store, clock, ids, email, role=Role.ADMIN, credit=FIRST_GRANT)
    if policy.insurance_seed > 0:
        async with store.begin() as tx:
            # The cause has the user in it and the time is theirs, so that the same transfer comes out each time.
            seed = fund_insurance(policy.insurance_seed, f"seed:{user.id}", user.created_at)
            await tx.ledger.transfer(seed)
    return user


async def add_user(
    store: Store,
    clock: Clock,
    ids: Ids,
    email: str,
    *,
    role: Role = Role.USER,
    credit: Ucredits = ZERO,
) -> User:
    """The user with this address; made, and given credits, where there is none. Raises InvalidInput."""
    email = email.strip().lower()
    name, _, host = email.partition("@")
    if not name or not host or len(email) > EMAIL_MAX or " " in email:
        raise InvalidInput({"email": ["must be an address such as ada@example.org"]})
    now = clock.now()
    async with store.begin() as tx:
        user = await tx.users.by_email(email)
        if user is None:
            user = User(ids.user(now), email, role, now)
            await tx.users.add(user)
            if credit > 0:
                await tx.ledger.transfer(grant(user.id, credit, "welcome", now))
    return user

"""Brings people into a network before there is sign-in: the first administrator, and users that an operator adds."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.units import UCREDITS_PER_CREDIT, ZERO, Ucredits, to_credits

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.ledger import INSURANCE, fund_insurance, grant
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.sign_in import normal_email
from archipelag_coordinator.domain.user import Role, Scope, User, new_key
from archipelag_coordinator.services.ports import Ids, Store

FIRST_GRANT: Final = Ucredits(10_000 * UCREDITS_PER_CREDIT)
WELCOME: Final = "welcome"
FIRST_USER: Final = "admin@archipelag.local"
"""Nothing is mailed there: this administrator signs in by the local mailbox, or not at all."""


async def bootstrap(
    store: Store, clock: Clock, ids: Ids, policy: Policy, email: str, *, by: str
) -> User:
    """The administrator with this address, credits and the insurance's seed. Doing it again changes nothing.

    `by`, here and below: the operator, for the audit log. Raises InvalidInput.
    """
    user = await add_user(store, clock, ids, email, role=Role.ADMIN, credit=FIRST_GRANT, by=by)
    if policy.insurance_seed > 0:
        async with store.begin() as tx:
            # The cause has the user in it and the time is theirs, so that the same transfer comes out each time.
            seed = fund_insurance(policy.insurance_seed, f"seed:{user.id}", user.created_at)
            if await tx.ledger.transfer(seed):
                told = f"{to_credits(policy.insurance_seed)} credits"
                await tx.audit.note(clock.now(), by, "insurance.seed", INSURANCE, told)
    return user


async def add_user(
    store: Store,
    clock: Clock,
    ids: Ids,
    email: str,
    *,
    role: Role = Role.USER,
    credit: Ucredits = ZERO,
    by: str,
) -> User:
    """The user with this address; made, and given credits, where there is none. Raises InvalidInput."""
    email = normal_email(email)
    now = clock.now()
    async with store.begin() as tx:
        user = await tx.users.by_email(email)
        if user is None:
            user = User(ids.user(now), email, role, now)
            await tx.users.add(user)
            await tx.audit.note(now, by, "user.add", user.id, f"{email}, {role.value}")
            if credit > 0:
                await tx.ledger.transfer(grant(user.id, credit, WELCOME, now))
                told = f"{to_credits(credit)} credits for {WELCOME}"
                await tx.audit.note(now, by, "user.grant", user.id, told)
    return user


async def add_key(
    store: Store,
    clock: Clock,
    ids: Ids,
    user: User,
    *,
    rate_per_minute: int | None = None,
    by: str,
) -> str:
    """The secret of a first key that may do all its user may, shown now and never again. Raises InvalidInput."""
    now, secret = clock.now(), ids.secret()
    key = new_key(
        ids.api_key(now),
        user.id,
        secret,
        name="first key",
        scopes=frozenset(Scope),
        now=now,
        rate_per_minute=rate_per_minute,
    )
    async with store.begin() as tx:
        await tx.keys.add(key)
        await tx.audit.note(now, by, "key.add", user.id, f"{user.email}: {key.id}, {key.prefix}…")
    return secret

"""API keys and pairing codes: made, shown once, revoked at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from archipelag_contracts.ids import ApiKeyId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.island import PairingCode
from archipelag_coordinator.domain.key_change import KeyChange
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import ApiKey, Scope, User, new_key
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.ports import Ids, Store
from archipelag_coordinator.services.world import World


async def create_key(
    world: World,
    user: User,
    *,
    name: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None = None,
    budget: Ucredits | None = None,
    rate_per_minute: int | None = None,
    idempotency_key: str | None = None,
) -> tuple[ApiKey, str]:
    """The key and its secret, which is shown now and never again. Raises InvalidInput, AlreadyMade."""
    now = world.clock.now()
    secret = world.ids.secret()
    key = new_key(
        world.ids.api_key(now),
        user.id,
        secret,
        name=name,
        scopes=frozenset(scopes),
        now=now,
        expires_at=expires_at,
        budget=budget,
        rate_per_minute=rate_per_minute,
        idempotency_key=idempotency_key,
    )
    async with world.store.begin() as tx:
        await tx.keys.add(key)
    return key, secret


async def change_key(
    world: World, user_id: UserId, key_id: ApiKeyId, change: KeyChange, *, by: ApiKey | None
) -> ApiKey:
    """Name and bounds, from the next request on. `by`: see KeyChange. Raises NotFound, IllegalMove (revoked),
    InvalidInput, NotPermitted."""
    async with world.store.begin() as tx:
        key = await tx.keys.lock(user_id, key_id)
        if key is None:
            raise NotFound("API key", key_id)
        changed = change.apply(key, by=by, now=world.clock.now())
        await tx.keys.save(changed)
    await world.bus.keys_changed()
    return changed


async def revoke_key(world: World, user_id: UserId, key_id: ApiKeyId) -> ApiKey:
    """Every Coordinator refuses it from now on. Raises NotFound."""
    async with world.store.begin() as tx:
        key = await tx.keys.revoke(user_id, key_id, world.clock.now())
    if key is None:
        raise NotFound("API key", key_id)
    await world.bus.keys_changed()
    return key


async def create_pairing_code(world: World, user: User) -> PairingCode:
    """A code that lets one Island join for this user within minutes."""
    return await make_pairing_code(world.store, world.clock, world.ids, world.policy, user)


async def make_pairing_code(
    store: Store, clock: Clock, ids: Ids, policy: Policy, user: User, *, by: str | None = None
) -> PairingCode:
    """The same without a running Coordinator. `by`: the operator who makes it instead, for the audit log."""
    now = clock.now()
    expires_at = now + timedelta(seconds=policy.pairing_code_s)
    code = PairingCode(ids.pairing_code(), user.id, expires_at)
    async with store.begin() as tx:
        await tx.islands.add_code(code)
        if by is not None:
            await tx.audit.note(now, by, "island.code", user.id, user.email)
    return code

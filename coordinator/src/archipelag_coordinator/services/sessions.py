"""Where somebody is signed in, and signing out: here, there, everywhere."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.ids import ApiKeyId, UserId

from archipelag_coordinator.domain.user import ApiKey, KeyKind, User
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.world import World

SESSIONS_SHOWN_MAX: Final = 100


async def list_sessions(world: World, user_id: UserId) -> list[ApiKey]:
    """Those that hold, newest first."""
    async with world.store.begin() as tx:
        return await tx.keys.sessions_of(user_id, world.clock.now(), SESSIONS_SHOWN_MAX)


async def sign_out(world: World, user_id: UserId, session_id: ApiKeyId) -> ApiKey:
    """Ends one of this user's sessions from the next request on. Raises NotFound."""
    async with world.store.begin() as tx:
        session = await tx.keys.revoke(user_id, session_id, world.clock.now(), KeyKind.SESSION)
    if session is None:
        raise NotFound("session", session_id)
    await world.bus.keys_changed()
    return session


async def sign_out_everywhere(world: World, user: User) -> int:
    """Ends every session of this user; returns how many there were. API keys stay."""
    async with world.store.begin() as tx:
        ended = await tx.keys.revoke_sessions(user.id, world.clock.now())
    await world.bus.keys_changed()
    return ended

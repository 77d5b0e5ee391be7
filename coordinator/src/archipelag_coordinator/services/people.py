"""An administrator's word on people: who there is, what role they have, who is suspended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from archipelag_contracts.ids import UserId

from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.errors import LastAdministrator, NotFound
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


async def list_users(
    world: World, *, limit: int, offset: int, search: str = ""
) -> tuple[list[User], int]:
    """Newest first, and how many there are; `search` is part of an address, or an id."""
    async with world.store.begin() as tx:
        return await tx.users.find(limit=limit, offset=offset, search=search.strip())


async def read_user(world: World, user_id: UserId) -> User:
    """Raises NotFound."""
    async with world.store.begin() as tx:
        return await _known(tx, user_id)


async def set_role(world: World, actor: UserId, user_id: UserId, role: Role) -> User:
    """Raises NotFound, LastAdministrator."""
    return await _change(
        world, actor, user_id, "user.role", lambda user: replace(user, role=role), role.value
    )


async def suspend_user(world: World, actor: UserId, user_id: UserId) -> User:
    """Keys and sessions are refused from the next request on; jobs that run end as they would.

    Raises NotFound, LastAdministrator.
    """
    return await _change(
        world, actor, user_id, "user.suspend", lambda user: replace(user, suspended=True)
    )


async def restore_user(world: World, actor: UserId, user_id: UserId) -> User:
    """Keys and sessions hold again, but for those that have ended meanwhile. Raises NotFound."""
    return await _change(
        world, actor, user_id, "user.restore", lambda user: replace(user, suspended=False)
    )


async def _change(
    world: World,
    actor: UserId,
    user_id: UserId,
    act: str,
    move: Callable[[User], User],
    detail: str = "",
) -> User:
    async with world.store.begin() as tx:
        # Two administrators who demote each other at once would leave none.
        await tx.users.wait_turn()
        before = await _known(tx, user_id)
        after = move(before)
        if after == before:
            return before
        await tx.users.save(after)
        if not await tx.users.admins():
            raise LastAdministrator("this is the last administrator: make another one first")
        told = f"{before.role.value} → {detail}" if detail else detail
        await tx.audit.note(world.clock.now(), actor, act, user_id, told)
    await world.bus.keys_changed()
    return after


async def _known(tx: Tx, user_id: UserId) -> User:
    user = await tx.users.get(user_id)
    if user is None:
        raise NotFound("user", user_id)
    return user

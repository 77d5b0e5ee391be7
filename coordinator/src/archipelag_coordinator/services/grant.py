"""Gives credit to a user, once for each cause."""

from __future__ import annotations

from archipelag_contracts.ids import UserId
from archipelag_contracts.units import Ucredits, to_credits

from archipelag_coordinator.domain.ledger import Account, grant, user_account
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import AlreadyPosted, NotFound
from archipelag_coordinator.services.world import World


async def grant_credit(
    world: World, actor: UserId, user_id: UserId, amount: Ucredits, cause: str
) -> tuple[User, Account, bool]:
    """The user, their account, and whether anything was posted now. Raises NotFound, AlreadyPosted."""
    async with world.store.begin() as tx:
        user = await tx.users.get(user_id)
        if user is None:
            raise NotFound("user", user_id)
        try:
            posted = await tx.ledger.transfer(grant(user_id, amount, cause, world.clock.now()))
        except AlreadyPosted:
            raise AlreadyPosted(
                f"another amount was granted for {cause!r}; use a new cause for a new grant"
            ) from None
        if posted:
            told = f"{to_credits(amount)} credits for {cause}"
            await tx.audit.note(world.clock.now(), actor, "user.grant", user_id, told)
        return user, await tx.ledger.account(user_account(user_id)), posted

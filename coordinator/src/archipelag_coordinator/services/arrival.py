"""How a person comes in, whatever showed who they are: the user of an address, and a session in their browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from archipelag_coordinator.domain.ledger import grant
from archipelag_coordinator.domain.session import new_session
from archipelag_coordinator.domain.user import ApiKey, Role, User
from archipelag_coordinator.errors import NotPermitted
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class SignedIn:
    """Who came in, the secret for their cookie, where they wanted to go, and whether this was their first time."""

    user: User
    session: ApiKey
    secret: str = field(repr=False)
    next_path: str
    fresh: bool


async def arrive(world: World, tx: Tx, email: str, now: datetime) -> tuple[User, bool]:
    """The user with this address, which was shown to be theirs, and whether they are new.

    The first of an empty network is its administrator. Raises NotPermitted: suspended, or sign-up is closed.
    """
    user = await tx.users.by_email(email)
    if user is None:
        # Two who come at once must not both be the first, nor one of them twice.
        await tx.users.wait_turn()
        user = await tx.users.by_email(email)
    if user is not None:
        check_standing(user)
        return user, False
    if not world.policy.sign_up_open:
        raise NotPermitted("an invitation: sign-up to this network is closed")
    role = Role.USER if await tx.users.count() else Role.ADMIN
    user = User(world.ids.user(now), email, role, now)
    await tx.users.add(user)
    if world.policy.sign_up_ucredits > 0:
        await tx.ledger.transfer(grant(user.id, world.policy.sign_up_ucredits, "sign-up", now))
    return user, True


def check_standing(user: User) -> None:
    """Raises NotPermitted where the user is suspended."""
    if user.suspended:
        raise NotPermitted("an account that is not suspended")


async def open_session(
    world: World, tx: Tx, user: User, user_agent: str, now: datetime
) -> tuple[ApiKey, str]:
    """A new session of this user and its secret, which goes into the cookie and nowhere else."""
    secret = world.ids.session_secret()
    session = new_session(
        world.ids.api_key(now),
        user.id,
        secret,
        user_agent=user_agent,
        now=now,
        life_s=world.policy.session_s,
        rate_per_minute=world.policy.session_requests_per_minute,
    )
    await tx.keys.add(session)
    return session, secret

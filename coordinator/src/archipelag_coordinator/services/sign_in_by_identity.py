"""Signs people in by a provider's word (OpenID Connect): away with a sealed journey, and back with a code."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archipelag_coordinator.domain.identity import Claims, Identity
from archipelag_coordinator.domain.journey import LIFE, Journey
from archipelag_coordinator.domain.sign_in import local_path, normal_email
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import IdentityRefused, InvalidInput, Unsupported
from archipelag_coordinator.services.arrival import (
    SignedIn,
    arrive,
    check_standing,
    open_session,
)
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.ports_of_people import IdentityProvider
from archipelag_coordinator.services.world import World

CALLBACK: Final = "/openid/callback"


async def begin_journey(world: World, next_path: str) -> tuple[Journey, str]:
    """What the browser must keep, and where it goes now.

    Raises InvalidInput, Unsupported without a provider, and ConnectionError where that cannot be reached.
    """
    provider = _provider(world)
    journey = Journey(
        state=world.ids.link_secret(),
        nonce=world.ids.link_secret(),
        verifier=world.ids.link_secret(),
        next_path=local_path(next_path),
        expires_at=world.clock.now() + LIFE,
    )
    return journey, await provider.address(journey, world.public_url + CALLBACK)


async def end_journey(
    world: World, journey: Journey, state: str, code: str, user_agent: str
) -> SignedIn:
    """The person is back with the provider's code. Makes the user at their first time.

    Raises IdentityRefused, NotPermitted: suspended, or sign-up is closed; ConnectionError where it is away.
    """
    journey.check_state(state)
    claims = await _provider(world).claims(journey, code, world.public_url + CALLBACK)
    now = world.clock.now()
    async with world.store.begin() as tx:
        user, fresh = await _user_of(world, tx, claims, now)
        session, secret = await open_session(world, tx, user, user_agent, now)
    return SignedIn(user, session, secret, journey.next_path, fresh)


async def _user_of(world: World, tx: Tx, claims: Claims, now: datetime) -> tuple[User, bool]:
    known = await tx.identities.get(claims.issuer, claims.subject)
    if known is None:
        # Two tabs may come back at once, for the first time.
        await tx.users.wait_turn()
        known = await tx.identities.get(claims.issuer, claims.subject)
    if known is not None:
        user = await tx.users.get(known.user_id)
        assert user is not None
        check_standing(user)
        return user, False
    user, fresh = await arrive(world, tx, _address(claims), now)
    await tx.identities.add(Identity(claims.issuer, claims.subject, user.id, now))
    return user, fresh


def _address(claims: Claims) -> str:
    """Raises IdentityRefused: an address that nobody has shown to be theirs would open somebody else's account."""
    if not claims.email_verified or not claims.email:
        raise IdentityRefused("the provider has not verified an e-mail address of yours")
    try:
        return normal_email(claims.email)
    except InvalidInput:
        raise IdentityRefused("the provider gave an e-mail address that cannot be used") from None


def _provider(world: World) -> IdentityProvider:
    if world.identity_provider is None:
        raise Unsupported("provider", "this network has no provider of sign-in")
    return world.identity_provider

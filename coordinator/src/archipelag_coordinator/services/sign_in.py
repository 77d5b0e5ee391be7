"""Signs people in without passwords: a link is mailed, is good for minutes, and works once."""

from __future__ import annotations

from datetime import timedelta

from archipelag_coordinator.domain.sign_in import (
    SignIn,
    hash_link,
    letter,
    local_path,
    neighbourhood,
    normal_email,
)
from archipelag_coordinator.errors import LinkNotValid, RateLimited, Unsupported
from archipelag_coordinator.services.arrival import SignedIn, arrive, open_session
from archipelag_coordinator.services.world import World


async def ask_for_link(world: World, email: str, next_path: str, *, client: str) -> None:
    """Mails a link to this address. Whether there is such a user, nobody can tell by answer or by time.

    `client` is the network address that asks. Raises InvalidInput, RateLimited, and Unsupported where no mail is sent.
    """
    if world.mail is None:
        raise Unsupported("email", "this network sends no mail: sign in another way")
    address, path = normal_email(email), local_path(next_path)
    await _count(world, f"sign-in-from:{neighbourhood(client)}")
    await _count(world, f"sign-in-to:{address}")
    now = world.clock.now()
    secret = world.ids.link_secret()
    life_s = world.policy.sign_in_link_s
    async with world.store.begin() as tx:
        user = await tx.users.by_email(address)
        # Kept for strangers too, so that the same is done for everybody.
        link = SignIn(hash_link(secret), address, now, now + timedelta(seconds=life_s), path)
        await tx.sign_ins.add(link)
    welcome = world.policy.sign_up_open if user is None else not user.suspended
    subject, text, html = letter(f"{world.public_url}/sign-in/{secret}", round(life_s / 60))
    if welcome:
        await world.mail.send(address, subject, text, html)


async def look_at_link(world: World, secret: str) -> SignIn:
    """Whom a link would sign in, without using it: programs that guard mailboxes open links. Raises LinkNotValid."""
    hashed = hash_link(secret)
    async with world.store.begin() as tx:
        link = await tx.sign_ins.get(hashed)
    if link is None:
        raise LinkNotValid("is unknown")
    link.check_valid(world.clock.now())
    return link


async def sign_in(world: World, secret: str, user_agent: str) -> SignedIn:
    """Uses up a link; of two at once, one gets a session. Makes the user at their first time.

    Raises LinkNotValid: unknown, used or expired; NotPermitted: suspended, or sign-up is closed.
    """
    hashed = hash_link(secret)
    now = world.clock.now()
    async with world.store.begin() as tx:
        link = await tx.sign_ins.take(hashed, now)
        user, fresh = await arrive(world, tx, link.email, now)
        session, shown = await open_session(world, tx, user, user_agent, now)
    return SignedIn(user, session, shown, link.next_path, fresh)


async def _count(world: World, bucket: str) -> None:
    """Raises RateLimited."""
    most = world.policy.sign_in_mails_per_minute
    wait_s = await world.door.count(bucket, world.clock.now(), most)
    if wait_s is not None:
        raise RateLimited(wait_s, f"{most} sign-in mails a minute")

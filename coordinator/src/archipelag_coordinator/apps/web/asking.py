"""Who is looking at a page: by the session in their cookie, asked anew each time, so that none outlives its end."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.requests import Request

from archipelag_coordinator.apps import cookies
from archipelag_coordinator.apps.web.settings import FORM_COOKIE, PagesSettings
from archipelag_coordinator.domain import sign_in
from archipelag_coordinator.domain.session import csrf_of, hash_session
from archipelag_coordinator.domain.user import ApiKey, KeyKind, Role, User
from archipelag_coordinator.errors import (
    CoordinatorError,
    InvalidInput,
    NotAuthenticated,
    RateLimited,
)
from archipelag_coordinator.services.ports_of_people import Mailbox
from archipelag_coordinator.services.world import World

FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""By these a proxy says that somebody else asks."""
_THIS_MACHINE: Final = re.compile(r"(?i:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?")
_FORM_SECRET_MIN: Final = 20
_FORM_SECRET_MAX: Final = 200


class SignInNeeded(CoordinatorError):
    """Nobody is signed in; `back` is where they wanted to go."""

    code = "sign_in_needed"

    def __init__(self, back: str) -> None:
        super().__init__("sign in first")
        self.back = back

    @property
    def address(self) -> str:
        return f"/sign-in?next={quote(self.back, safe='/')}"


class AccountSuspended(CoordinatorError):
    code = "account_suspended"


class RoleNeeded(CoordinatorError):
    """A room for others. Its pages do not say what is in it."""

    code = "role_needed"


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in."""

    user: User
    key: ApiKey
    secret: str

    @property
    def looks_after(self) -> bool:
        return self.user.role in (Role.OPERATOR, Role.ADMIN)

    @property
    def administers(self) -> bool:
        return self.user.role is Role.ADMIN


def world_of(request: Request) -> World:
    world = request.app.state.world
    assert isinstance(world, World)
    return world


def settings_of(request: Request) -> PagesSettings:
    settings = request.app.state.settings
    assert isinstance(settings, PagesSettings)
    return settings


async def visitor_of(request: Request) -> Visitor | None:
    """None: nobody is signed in. Raises AccountSuspended, RateLimited."""
    known: Visitor | None = getattr(request.state, "visitor", None)
    if known is not None:
        return known
    world = world_of(request)
    now = world.clock.now()
    try:
        secret = cookies.session_secret(request, world.public_url)
        if secret is None:
            return None
        limit = world.policy.session_requests_per_minute
        admission = await world.door.admit(hash_session(secret), now, limit)
        if admission is None or admission.key.kind is not KeyKind.SESSION:
            return None
        admission.key.check_usable(now)
    except NotAuthenticated:
        return None
    if admission.user.suspended:
        raise AccountSuspended("this account is suspended")
    if admission.retry_after_s is not None:
        raise RateLimited(admission.retry_after_s, f"{admission.limit} pages a minute")
    visitor = Visitor(admission.user, admission.key, secret)
    request.state.visitor = visitor
    return visitor


async def signed_in(request: Request) -> Visitor:
    """Raises SignInNeeded."""
    visitor = await visitor_of(request)
    if visitor is None:
        path = request.url.path
        query = f"?{request.url.query}" if request.url.query else ""
        raise SignInNeeded(f"{path}{query}" if request.method in cookies.SAFE else "/")
    return visitor


async def looking_after(request: Request) -> Visitor:
    """An operator, who may look, or an administrator. Raises SignInNeeded, RoleNeeded."""
    visitor = await signed_in(request)
    if not visitor.looks_after:
        raise RoleNeeded("this room is for operators")
    return visitor


async def administering(request: Request) -> Visitor:
    """Raises SignInNeeded, RoleNeeded."""
    visitor = await signed_in(request)
    if not visitor.administers:
        raise RoleNeeded("only an administrator may do this")
    return visitor


def mailbox_for(request: Request) -> Mailbox | None:
    """The local mailbox, for a browser on this very machine that asked for it by a name of this machine: who reads it
    can sign in as anybody, another site's name could be made to point here, and a proxy speaks for strangers."""
    world = world_of(request)
    if world.mailbox is None or request.client is None or not _is_here(request.client.host):
        return None
    if any(name in request.headers for name in FORWARDED):
        return None
    hosts = request.headers.getlist("host")
    return world.mailbox if len(hosts) == 1 and _THIS_MACHINE.fullmatch(hosts[0]) else None


def _is_here(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def form_secret(request: Request) -> str:
    """What the tokens of a stranger's forms are made from; a new one where they bring none."""
    known: str | None = getattr(request.state, "form_secret", None)
    if known is None:
        given = request.cookies.get(cookies.prefixed(FORM_COOKIE, world_of(request).public_url), "")
        good = _FORM_SECRET_MIN <= len(given) <= _FORM_SECRET_MAX
        known = given if good else settings_of(request).new_token()
        request.state.form_secret = known
        request.state.new_form_secret = not good
    return known


def token_of(request: Request) -> str:
    """For the forms of the page that is shown now. `visitor_of` was asked before."""
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    return csrf_of(visitor.secret if visitor else form_secret(request))


def local_path(given: str | None, fallback: str = "/") -> str:
    """A path of these pages, or the fallback: nobody is sent to another host."""
    try:
        return sign_in.local_path(given or "")
    except InvalidInput:
        return fallback

"""Who is asking, may they, and are they asking too often: one question to the door for each request.

Programs show a key, browsers the cookie of a session. What was revoked is refused by the very next request here, and by
every other Coordinator as soon as word of it has come (see `services/known_callers`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from archipelag_coordinator.apps import cookies
from archipelag_coordinator.domain.session import check_csrf, hash_session
from archipelag_coordinator.domain.user import ApiKey, KeyKind, Role, Scope, User, hash_secret
from archipelag_coordinator.errors import NotAuthenticated, NotPermitted, RateLimited
from archipelag_coordinator.services.arrival import check_standing
from archipelag_coordinator.services.world import World

HEADERS = "archipelag.headers"
"""Where headers for the response stand in the ASGI scope, whatever the response will be."""


@dataclass(frozen=True)
class Caller:
    """An authenticated request's key and the person it belongs to."""

    key: ApiKey
    user: User


async def the_world(request: Request) -> World:
    world = request.app.state.world
    assert isinstance(world, World)
    return world


async def _admit(request: Request) -> Caller:
    """Raises NotAuthenticated, NotPermitted, RateLimited."""
    world = await the_world(request)
    given = request.headers.getlist("authorization")
    if given:
        return await _known(request, world, hash_secret(_secret(given)), KeyKind.KEY)
    secret = cookies.session_secret(request, world.public_url)
    if secret is None:
        raise NotAuthenticated("no API key: send the header Authorization: Bearer ak_…")
    hashed = hash_session(secret)
    # A browser sends the cookie whoever made it send the request.
    if request.method in cookies.SAFE:
        cookies.check_looked_at(request)
    else:
        cookies.check_same_origin(request, world.public_url)
        check_csrf(secret, request.headers.get(cookies.CSRF_HEADER))
    return await _known(request, world, hashed, KeyKind.SESSION)


async def _known(request: Request, world: World, hashed: bytes, kind: KeyKind) -> Caller:
    now = world.clock.now()
    with world.traces.span("authenticate"):
        admission = await world.door.admit(hashed, now, world.policy.requests_per_minute)
    if admission is None or admission.key.kind is not kind:
        raise NotAuthenticated(
            f"this {'API key' if kind is KeyKind.KEY else 'session'} is not known"
        )
    admission.key.check_usable(now)
    check_standing(admission.user)
    request.scope[HEADERS] += [
        (b"x-ratelimit-limit-requests", b"%d" % admission.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % max(0, admission.remaining)),
        (b"x-ratelimit-reset-requests", b"%ds" % math.ceil(admission.reset_s)),
    ]
    if admission.retry_after_s is not None:
        raise RateLimited(admission.retry_after_s, f"{admission.limit} requests a minute")
    return Caller(admission.key, admission.user)


def _secret(given: list[str]) -> str:
    scheme, _, secret = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise NotAuthenticated("the Authorization header must be: Bearer ak_…")
    return secret.strip()


async def _reading(request: Request) -> Caller:
    caller = await _admit(request)
    caller.key.check_scope(Scope.READ)
    return caller


async def _writing(request: Request) -> Caller:
    caller = await _admit(request)
    caller.key.check_scope(Scope.WRITE)
    return caller


async def _administering(request: Request) -> Caller:
    """Looking needs the scope `read` and the role of an operator, all else `write` and that of an administrator."""
    if request.method == "GET":
        caller = await _reading(request)
        if caller.user.role not in (Role.OPERATOR, Role.ADMIN):
            raise NotPermitted("the role 'operator'")
        return caller
    caller = await _writing(request)
    if caller.user.role is not Role.ADMIN:
        raise NotPermitted("the role 'admin'")
    return caller


TheWorld = Annotated[World, Depends(the_world)]
Reading = Annotated[Caller, Depends(_reading)]
Writing = Annotated[Caller, Depends(_writing)]
Administering = Annotated[Caller, Depends(_administering)]

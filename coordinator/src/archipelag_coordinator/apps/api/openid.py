"""Two doors for browsers: away to a provider of sign-in, and back from it. Neither shows a page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from archipelag_coordinator.apps import cookies
from archipelag_coordinator.apps.api.auth import TheWorld
from archipelag_coordinator.apps.api.errors import Unavailable
from archipelag_coordinator.domain.journey import LIFE, opened, sealed
from archipelag_coordinator.errors import IdentityRefused
from archipelag_coordinator.services.sign_in_by_identity import (
    CALLBACK,
    begin_journey,
    end_journey,
)

log = logging.getLogger(__name__)

GIVEN_MAX: Final = 4_096

router = APIRouter()


@router.get("/openid/begin")
async def get_begin(
    request: Request,
    world: TheWorld,
    next_path: Annotated[str, Query(alias="next", max_length=500)] = "/",
) -> Response:
    # Only our own pages, or the person, send somebody away: nobody is signed in behind their back.
    cookies.check_looked_at(request)
    with _reached():
        journey, address = await begin_journey(world, next_path)
    answer = RedirectResponse(address, 303)
    text = sealed(journey, request.app.state.settings.journey_key)
    cookies.set_journey(answer, text, world.public_url, LIFE.total_seconds())
    return answer


@router.get(CALLBACK)
async def get_callback(
    request: Request,
    world: TheWorld,
    code: Annotated[str, Query(max_length=GIVEN_MAX)] = "",
    state: Annotated[str, Query(max_length=GIVEN_MAX)] = "",
) -> Response:
    carried = cookies.journey(request, world.public_url)
    journey = opened(carried, request.app.state.settings.journey_key, world.clock.now())
    if not code:
        raise IdentityRefused("the provider sent you back without an answer")
    agent = request.headers.get("user-agent", "")
    with _reached():
        done = await end_journey(world, journey, state, code, agent)
    answer = RedirectResponse(done.next_path, 303)
    cookies.clear_journey(answer, world.public_url)
    cookies.set_session(answer, done.secret, world.public_url, world.policy.session_s)
    return answer


@contextmanager
def _reached() -> Iterator[None]:
    """Raises Unavailable instead of what says that the provider is away."""
    try:
        yield
    except ConnectionError as error:
        log.warning("openid_provider_away error=%s", error)
        raise Unavailable("the provider of sign-in is out of reach") from error

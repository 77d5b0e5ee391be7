"""One's profile, and where one is signed in."""

from __future__ import annotations

from typing import Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import signed_in, world_of
from archipelag_coordinator.apps.web.forms import read_form
from archipelag_coordinator.apps.web.render import go, page
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.sessions import list_sessions, sign_out


async def get_settings(request: Request) -> Response:
    visitor = await signed_in(request)
    found = await list_sessions(world_of(request), visitor.user.id)
    found.sort(key=lambda key: key.id != visitor.key.id)
    return page(request, "settings.html", at="settings", sessions=found)


async def post_end(request: Request) -> Response:
    await read_form(request)
    visitor = await signed_in(request)
    try:
        session_id = ids.api_key_id(request.path_params["id"])
    except BadId:
        raise NotFound("session", request.path_params["id"]) from None
    await sign_out(world_of(request), visitor.user.id, session_id)
    return go("/settings", "session-ended")


ROUTES: Final = (
    Route("/settings", get_settings),
    Route("/settings/sessions/{id}/end", post_end, methods=["POST"]),
)

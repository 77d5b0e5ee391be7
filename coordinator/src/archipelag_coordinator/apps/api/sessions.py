"""Where the caller is signed in, and signing out."""

from __future__ import annotations

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps import cookies
from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.auth import Reading, TheWorld, Writing
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.sessions import list_sessions, sign_out, sign_out_everywhere

router = APIRouter(prefix="/sessions", tags=["account"])


@router.get(
    "",
    summary="List the browsers one is signed in with",
    responses=openapi.answers(200, "SessionList"),
)
async def get_sessions(world: TheWorld, caller: Reading) -> Response:
    """Newest first; `current` is the one that asks."""
    found = await list_sessions(world, caller.user.id)
    shown = [present.session_object(one, current=one.id == caller.key.id) for one in found]
    return JSONResponse({"data": shown})


@router.post(
    "/sign-out-everywhere",
    summary="Sign out in every browser",
    responses=openapi.answers(200, "SignedOut"),
)
async def post_sign_out_everywhere(world: TheWorld, caller: Writing) -> Response:
    """The one that asks, too. API keys stay."""
    count = await sign_out_everywhere(world, caller.user)
    answer = JSONResponse({"data": {"signed_out": count}})
    cookies.clear_session(answer, world.public_url)
    return answer


@router.delete(
    "/{session_id}",
    summary="Sign out in one browser",
    responses=openapi.answers(200, "Session", 404),
)
async def delete_session(session_id: str, world: TheWorld, caller: Writing) -> Response:
    """Refused from its next request on."""
    try:
        known = ids.api_key_id(session_id)
    except BadId:
        raise NotFound("session", session_id) from None
    session = await sign_out(world, caller.user.id, known)
    current = session.id == caller.key.id
    answer = JSONResponse({"data": present.session_object(session, current=current)})
    if current:
        cookies.clear_session(answer, world.public_url)
    return answer

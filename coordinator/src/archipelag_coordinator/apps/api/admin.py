"""An administrator's doors: Islands approved, suspended and restored, and credit granted."""

from __future__ import annotations

import re
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import UserId
from archipelag_contracts.units import UCREDITS_PER_CREDIT, Ucredits
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.account import credits_of
from archipelag_coordinator.apps.api.auth import Administering, TheWorld
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.network import known_island
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services.grant import grant_credit
from archipelag_coordinator.services.read import all_islands
from archipelag_coordinator.services.suspend import (
    approve_island,
    restore_island,
    suspend_island,
)

GRANT_CREDITS_MAX: Final = 1_000_000_000
_CAUSE: Final = re.compile(r"[\x20-\x7e]{1,100}")

router = APIRouter(prefix="/admin", tags=["admin"])


@router.get("/islands", summary="List every Island", responses=openapi.answers(200, "HostList"))
async def get_islands(world: TheWorld, caller: Administering) -> Response:  # noqa: ARG001
    shown = [present.island_object(island, whole=True) for island in await all_islands(world)]
    return JSONResponse({"data": shown})


@router.post(
    "/islands/{island_id}/approve",
    summary="Let an Island take work",
    responses=openapi.answers(200, "HostAnswer", 404),
)
async def approve(island_id: str, world: TheWorld, caller: Administering) -> Response:
    island = await approve_island(world, caller.user.id, known_island(island_id))
    return JSONResponse({"data": present.island_object(island, whole=True)})


@router.post(
    "/islands/{island_id}/suspend",
    summary="Cut an Island off",
    responses=openapi.answers(200, "HostAnswer", 404, 409),
)
async def suspend(island_id: str, world: TheWorld, caller: Administering) -> Response:
    """Its connection ends and its work goes to other Islands."""
    island = await suspend_island(world, caller.user.id, known_island(island_id))
    return JSONResponse({"data": present.island_object(island, whole=True)})


@router.post(
    "/islands/{island_id}/restore",
    summary="Let a suspended Island come back",
    responses=openapi.answers(200, "HostAnswer", 404, 409),
)
async def restore(island_id: str, world: TheWorld, caller: Administering) -> Response:
    island = await restore_island(world, caller.user.id, known_island(island_id))
    return JSONResponse({"data": present.island_object(island, whole=True)})


@router.post(
    "/grants",
    summary="Give credit to a user",
    openapi_extra=openapi.takes("GrantRequest"),
    responses=openapi.answers(201, "GrantAnswer", 400, 404, 409, 413, 422),
)
async def post_grant(request: Request, world: TheWorld, caller: Administering) -> Response:
    """`cause` makes it once: the same cause for the same user gives nothing more."""
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    user_id, amount, cause = _wanted(body)
    user, account, posted = await grant_credit(world, caller.user.id, user_id, amount, cause)
    shown = present.account_object(user, account) | {"granted": posted}
    return JSONResponse({"data": shown}, 201 if posted else 200)


def _wanted(body: dict[str, Any]) -> tuple[UserId, Ucredits, str]:
    """Raises InvalidInput with every problem, NotFound for what cannot be a user's id."""
    errors: dict[str, list[str]] = {}
    for name in sorted(body.keys() - {"user_id", "credits", "cause"}):
        errors[name[:64]] = ["is not a known field"]
    user, cause = body.get("user_id"), body.get("cause")
    amount = credits_of("credits", body.get("credits"), errors)
    if "credits" not in errors and (
        amount is None or not 0 < amount <= GRANT_CREDITS_MAX * UCREDITS_PER_CREDIT
    ):
        errors["credits"] = [f"is required: more than 0, at most {GRANT_CREDITS_MAX}"]
    if not isinstance(user, str):
        errors["user_id"] = ["is required: usr_…"]
    if not isinstance(cause, str) or not _CAUSE.fullmatch(cause):
        errors["cause"] = ["is required: 1 to 100 plain characters, another one for each grant"]
    if errors:
        raise InvalidInput(errors)
    assert isinstance(user, str) and isinstance(cause, str) and amount is not None
    try:
        return ids.user_id(user), amount, cause
    except BadId:
        raise NotFound("user", user) from None

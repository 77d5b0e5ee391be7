"""An administrator's doors for people, and the log of what administrators did."""

from __future__ import annotations

from typing import Annotated, Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import UserId
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.auth import Administering, TheWorld
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services import people
from archipelag_coordinator.services.audit import check_audit, read_audit

OFFSET_MAX: Final = 1_000_000
SEARCH_MAX: Final = 254
NUMBER_MAX: Final = 2**62

Limit = Annotated[int, Query(ge=1, le=100)]

router = APIRouter(prefix="/admin", tags=["admin"])


@router.get(
    "/users", summary="List people, newest first", responses=openapi.answers(200, "UserList")
)
async def get_users(
    world: TheWorld,
    caller: Administering,  # noqa: ARG001
    limit: Limit = 20,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
    search: Annotated[str, Query(max_length=SEARCH_MAX)] = "",
) -> Response:
    """`search` is part of an address, or an id."""
    found, total = await people.list_users(world, limit=limit, offset=offset, search=search)
    meta = {"total": total, "limit": limit, "offset": offset}
    return JSONResponse({"data": [present.user_object(one) for one in found], "meta": meta})


@router.get(
    "/users/{user_id}", summary="Read one person", responses=openapi.answers(200, "User", 404)
)
async def get_user(user_id: str, world: TheWorld, caller: Administering) -> Response:  # noqa: ARG001
    return _told(present.user_object(await people.read_user(world, _user(user_id))))


@router.post(
    "/users/{user_id}/role",
    summary="Give a person a role",
    openapi_extra=openapi.takes("RoleRequest"),
    responses=openapi.answers(200, "User", 400, 404, 409, 413, 422),
)
async def post_role(
    user_id: str, request: Request, world: TheWorld, caller: Administering
) -> Response:
    """An operator may look at all that an administrator may, and change nothing. The last administrator stays one."""
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    errors = {name[:64]: ["is not a known field"] for name in sorted(body.keys() - {"role"})}
    role = body.get("role")
    if role not in [one.value for one in Role]:
        errors["role"] = [f"must be one of {', '.join(Role)}"]
    if errors:
        raise InvalidInput(errors)
    assert isinstance(role, str)
    user = await people.set_role(world, caller.user.id, _user(user_id), Role(role))
    return _told(present.user_object(user))


@router.post(
    "/users/{user_id}/suspend",
    summary="Suspend a person",
    responses=openapi.answers(200, "User", 404, 409),
)
async def suspend(user_id: str, world: TheWorld, caller: Administering) -> Response:
    """Keys and sessions are refused from the next request on; jobs that run end as they would."""
    user = await people.suspend_user(world, caller.user.id, _user(user_id))
    return _told(present.user_object(user))


@router.post(
    "/users/{user_id}/restore",
    summary="Let a suspended person come back",
    responses=openapi.answers(200, "User", 404),
)
async def restore(user_id: str, world: TheWorld, caller: Administering) -> Response:
    user = await people.restore_user(world, caller.user.id, _user(user_id))
    return _told(present.user_object(user))


@router.get(
    "/audit",
    summary="Read what administrators did, newest first",
    responses=openapi.answers(200, "AuditLog"),
)
async def get_audit(
    world: TheWorld,
    caller: Administering,  # noqa: ARG001
    limit: Limit = 20,
    before: Annotated[int | None, Query(ge=1, le=NUMBER_MAX)] = None,
) -> Response:
    """`before` is the number of the last one that was read."""
    found = await read_audit(world, limit=limit, before=before)
    return _told([present.entry_object(one) for one in found])


@router.get(
    "/audit/check",
    summary="Check that no entry was changed, removed or moved",
    responses=openapi.answers(200, "AuditCheck"),
)
async def get_audit_check(world: TheWorld, caller: Administering) -> Response:  # noqa: ARG001
    checked = await check_audit(world)
    return _told(
        {
            "whole": checked.broken_at is None,
            "entries": checked.entries,
            "broken_at": checked.broken_at,
            "hash": checked.head.hash.hex(),
        }
    )


def _user(text: str) -> UserId:
    """Raises NotFound for what cannot be a user's id."""
    try:
        return ids.user_id(text)
    except BadId:
        raise NotFound("user", text) from None


def _told(shown: Any) -> Response:
    return JSONResponse({"data": shown})

"""API keys: made with a budget, a rate and an end, shown once, revoked at once."""

from __future__ import annotations

from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import Visitor, signed_in, world_of
from archipelag_coordinator.apps.web.forms import Form, read_form
from archipelag_coordinator.apps.web.render import go, page
from archipelag_coordinator.domain.user import KEY_NAME_MAX, Scope
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services.keys import create_key, revoke_key
from archipelag_coordinator.services.read import list_keys


async def get_keys(request: Request) -> Response:
    return await _shown(request, await signed_in(request))


async def post_key(request: Request) -> Response:
    form = await read_form(request)
    visitor = await signed_in(request)
    try:
        _, secret = await create_key(world_of(request), visitor.user, **_wanted(form))
    except InvalidInput as error:
        return await _shown(request, visitor, given=form, errors=error.errors, status=422)
    return await _shown(request, visitor, secret=secret)


async def post_revoke(request: Request) -> Response:
    await read_form(request)
    visitor = await signed_in(request)
    try:
        key_id = ids.api_key_id(request.path_params["id"])
    except BadId:
        raise NotFound("API key", request.path_params["id"]) from None
    await revoke_key(world_of(request), visitor.user.id, key_id)
    return go("/settings/keys", "revoked")


def _wanted(form: Form) -> dict[str, Any]:
    """Raises InvalidInput with every problem of shape."""
    errors: dict[str, list[str]] = {}
    wanted: dict[str, Any] = {
        "scopes": [Scope.READ] if form.values.get("scope") == "read" else [Scope.READ, Scope.WRITE]
    }
    for name, reading in (
        ("name", lambda: form.text("name", KEY_NAME_MAX)),
        ("budget", lambda: form.credits("budget")),
        ("rate_per_minute", lambda: form.count("rate_per_minute")),
        ("expires_at", lambda: form.end_of_day("expires_at")),
    ):
        try:
            wanted[name] = reading()
        except InvalidInput as error:
            errors |= error.errors
    if errors:
        raise InvalidInput(errors)
    return wanted


async def _shown(
    request: Request,
    visitor: Visitor,
    *,
    secret: str = "",
    given: Form | None = None,
    errors: object = None,
    status: int = 200,
) -> Response:
    world = world_of(request)
    keys = await list_keys(world, visitor.user.id)
    now = world.clock.now()
    keys.sort(key=lambda key: (key.revoked_at is not None, -key.created_at.timestamp()))
    return page(
        request,
        "keys.html",
        status_code=status,
        at="keys",
        keys=keys,
        expired={key.id for key in keys if key.expires_at is not None and key.expires_at <= now},
        secret=secret,
        given=dict(given.values) if given else {},
        errors=errors or {},
    )


ROUTES: Final = (
    Route("/settings/keys", get_keys),
    Route("/settings/keys", post_key, methods=["POST"]),
    Route("/settings/keys/{id}/revoke", post_revoke, methods=["POST"]),
)

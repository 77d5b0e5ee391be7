"""API keys: made with a budget, a rate and an end, shown once, revoked at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import ApiKeyId
from archipelag_contracts.units import to_credits
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import Visitor, signed_in, world_of
from archipelag_coordinator.apps.web.forms import Form, read_form
from archipelag_coordinator.apps.web.render import go, page
from archipelag_coordinator.domain.key_change import KeyChange
from archipelag_coordinator.domain.user import KEY_NAME_MAX, ApiKey, Scope
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services.keys import change_key, create_key, revoke_key
from archipelag_coordinator.services.read import list_keys


async def get_keys(request: Request) -> Response:
    return await _shown(request, await signed_in(request))


async def post_key(request: Request) -> Response:
    form = await read_form(request)
    visitor = await signed_in(request)
    try:
        scopes = [Scope.READ] if form.values.get("scope") == "read" else [Scope.READ, Scope.WRITE]
        _, secret = await create_key(
            world_of(request), visitor.user, scopes=scopes, **_wanted(form)
        )
    except InvalidInput as error:
        return await _shown(request, visitor, given=form, errors=error.errors, status=422)
    return await _shown(request, visitor, secret=secret)


async def post_change(request: Request) -> Response:
    """A person may change their own keys as they like: bounds bind the programs that have them."""
    form = await read_form(request)
    visitor = await signed_in(request)
    key_id = _known(request)
    try:
        wanted = _wanted(form)
        # The day as it was shown stands for an end within it, which a program may have set to the second.
        same_day = form.text("expires_at") == form.text("expires_before")
        given = {"name", "budget", "rate_per_minute"} | (set() if same_day else {"expires_at"})
        change = KeyChange(frozenset(given), **wanted)
        await change_key(world_of(request), visitor.user.id, key_id, change, by=None)
    except InvalidInput as error:
        return await _shown(
            request, visitor, given=form, errors=error.errors, status=422, changing=key_id
        )
    return go("/settings/keys", "key-changed")


async def post_revoke(request: Request) -> Response:
    await read_form(request)
    visitor = await signed_in(request)
    await revoke_key(world_of(request), visitor.user.id, _known(request))
    return go("/settings/keys", "revoked")


def _known(request: Request) -> ApiKeyId:
    """Raises NotFound for what cannot be a key's id."""
    try:
        return ids.api_key_id(request.path_params["id"])
    except BadId:
        raise NotFound("API key", request.path_params["id"]) from None


def _wanted(form: Form) -> dict[str, Any]:
    """Raises InvalidInput with every problem of shape."""
    errors: dict[str, list[str]] = {}
    wanted: dict[str, Any] = {}
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
    changing: ApiKeyId | None = None,
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
        changing=changing,
        bounds={key.id: _bounds(key) for key in keys},
    )


def _bounds(key: ApiKey) -> dict[str, str]:
    """As the fields of its form show them."""
    until = key.expires_at
    return {
        "name": key.name,
        "budget": "" if key.budget is None else to_credits(key.budget),
        "rate_per_minute": str(key.rate_per_minute or ""),
        # Until the end of a day is the first instant of the next one.
        "expires_at": (until - timedelta(microseconds=1)).date().isoformat() if until else "",
    }


ROUTES: Final = (
    Route("/settings/keys", get_keys),
    Route("/settings/keys", post_key, methods=["POST"]),
    Route("/settings/keys/{id}/change", post_change, methods=["POST"]),
    Route("/settings/keys/{id}/revoke", post_revoke, methods=["POST"]),
)

"""What belongs to the caller: the account, API keys and pairing codes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import ApiKeyId
from archipelag_contracts.units import Ucredits, from_credits
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.asking import idempotency_key
from archipelag_coordinator.apps.api.auth import Caller, Reading, TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.domain.key_change import KeyChange
from archipelag_coordinator.domain.user import KeyKind, Scope
from archipelag_coordinator.errors import InvalidInput, NotFound, NotPermitted
from archipelag_coordinator.services.keys import (
    change_key,
    create_key,
    create_pairing_code,
    revoke_key,
)
from archipelag_coordinator.services.read import list_keys, read_account

_FIELDS: Final = frozenset({"name", "scopes", "expires_at", "budget", "rate_per_minute"})
_CHANGED: Final = frozenset({"name", "budget", "rate_per_minute", "expires_at"})
_CREDITS_LENGTH_MAX: Final = 24

router = APIRouter(tags=["account"])


@router.get("/account", summary="Read one's account", responses=openapi.answers(200, "Account"))
async def get_account(world: TheWorld, caller: Reading) -> Response:
    account = await read_account(world, caller.user)
    return JSONResponse({"data": present.account_object(caller.user, account)})


@router.get("/api-keys", summary="List one's keys", responses=openapi.answers(200, "KeyList"))
async def get_keys(world: TheWorld, caller: Reading) -> Response:
    keys = await list_keys(world, caller.user.id)
    return JSONResponse({"data": [present.key_object(key) for key in keys]})


@router.post(
    "/api-keys",
    summary="Make a key",
    openapi_extra=openapi.takes("KeyRequest"),
    responses=openapi.answers(201, "NewKey", 400, 409, 413, 422),
)
async def post_key(request: Request, world: TheWorld, caller: Writing) -> Response:
    """The secret under `key` is shown now and never again: the same Idempotency-Key again is a 409 that names the key
    it made. A key cannot make one that may do more than itself."""
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    wanted = _bounded(_wanted(body), caller)
    once = idempotency_key(request)
    key, secret = await create_key(world, caller.user, **wanted, idempotency_key=once)
    return JSONResponse({"data": present.key_object(key), "key": secret}, 201)


@router.patch(
    "/api-keys/{key_id}",
    summary="Change a key's name, budget, rate or expiry",
    openapi_extra=openapi.takes("KeyChange"),
    responses=openapi.answers(200, "Key", 400, 404, 409, 413, 422),
)
async def patch_key(key_id: str, request: Request, world: TheWorld, caller: Writing) -> Response:
    """Only what is named is changed; null takes a bound away. A key gives nobody more than it has itself."""
    known = _known(key_id)
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    key = await change_key(
        world,
        caller.user.id,
        known,
        _change(body),
        by=None if caller.key.kind is KeyKind.SESSION else caller.key,
    )
    return JSONResponse({"data": present.key_object(key)})


@router.delete(
    "/api-keys/{key_id}", summary="Revoke a key", responses=openapi.answers(200, "Key", 404)
)
async def delete_key(key_id: str, world: TheWorld, caller: Writing) -> Response:
    """Refused from the next request on, everywhere."""
    key = await revoke_key(world, caller.user.id, _known(key_id))
    return JSONResponse({"data": present.key_object(key)})


@router.post(
    "/pairing-codes",
    summary="Make a pairing code",
    responses=openapi.answers(201, "PairingCode"),
)
async def post_pairing_code(world: TheWorld, caller: Writing) -> Response:
    """Lets one Island join for the caller within ten minutes, once."""
    code = await create_pairing_code(world, caller.user)
    shown = {"code": code.code, "expires_at": present.time_text(code.expires_at)}
    return JSONResponse({"data": shown}, 201)


def _known(key_id: str) -> ApiKeyId:
    """Raises NotFound for what cannot be a key's id."""
    try:
        return ids.api_key_id(key_id)
    except BadId:
        raise NotFound("API key", key_id) from None


def _change(body: dict[str, Any]) -> KeyChange:
    """Raises InvalidInput with every problem of shape; bounds are the verb's business."""
    errors: dict[str, list[str]] = {}
    for field in sorted(body.keys() - _CHANGED):
        errors[field[:64]] = ["is not a known field"]
    name, rate = body.get("name", ""), body.get("rate_per_minute")
    if not isinstance(name, str):
        errors["name"] = ["must be text"]
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int)):
        errors["rate_per_minute"] = ["must be a whole number"]
    budget = credits_of("budget", body.get("budget"), errors)
    expires_at = time_of("expires_at", body.get("expires_at"), errors)
    if errors:
        raise InvalidInput(errors)
    return KeyChange(
        frozenset(body), name=name, budget=budget, rate_per_minute=rate, expires_at=expires_at
    )


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    """Raises InvalidInput with every problem of shape; bounds are the verb's business."""
    errors: dict[str, list[str]] = {}
    for field in sorted(body.keys() - _FIELDS):
        errors[field[:64]] = ["is not a known field"]
    name, rate = body.get("name"), body.get("rate_per_minute")
    if not isinstance(name, str):
        errors["name"] = ["is required: text"]
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int)):
        errors["rate_per_minute"] = ["must be a whole number"]
    wanted = {
        "name": name,
        "scopes": _scopes(body.get("scopes"), errors),
        "expires_at": time_of("expires_at", body.get("expires_at"), errors),
        "budget": credits_of("budget", body.get("budget"), errors),
        "rate_per_minute": rate,
    }
    if errors:
        raise InvalidInput(errors)
    return wanted


def _bounded(wanted: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """A bounded key would be no bound if it could make an unbounded one. A session's bounds are its browser's only."""
    own = caller.key
    if own.kind is KeyKind.SESSION:
        return wanted
    if own.budget is not None:
        raise NotPermitted("a key without a budget")
    if own.expires_at is not None:
        wanted["expires_at"] = min(wanted["expires_at"] or own.expires_at, own.expires_at)
    if own.rate_per_minute is not None:
        rate = wanted["rate_per_minute"]
        wanted["rate_per_minute"] = min(rate or own.rate_per_minute, own.rate_per_minute)
    return wanted


def _scopes(raw: Any, errors: dict[str, list[str]]) -> frozenset[Scope]:
    known = {scope.value for scope in Scope}
    if not isinstance(raw, list) or not all(isinstance(s, str) and s in known for s in raw):
        errors["scopes"] = [f"must be a list of: {', '.join(sorted(known))}"]
        return frozenset()
    return frozenset(Scope(one) for one in raw)


def time_of(field: str, raw: Any, errors: dict[str, list[str]]) -> datetime | None:
    """A time with its zone, as text."""
    if raw is None:
        return None
    try:
        at = datetime.fromisoformat(raw) if isinstance(raw, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not 2000 <= at.year <= 9998:
        errors[field] = ["must be a time with its zone, such as 2030-01-31T12:00:00Z"]
        return None
    return at


def credits_of(field: str, raw: Any, errors: dict[str, list[str]]) -> Ucredits | None:
    """A decimal as text or number."""
    if raw is None:
        return None
    text = str(raw)
    try:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise ValueError(field)
        if len(text) > _CREDITS_LENGTH_MAX or not text.isascii():
            raise ValueError(field)
        return from_credits(text)
    except ValueError:
        errors[field] = ["must be a number of credits with at most six decimals"]
        return None

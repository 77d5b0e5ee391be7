"""An owner's orders to an Island: drain it, say when it may work, and for how much at least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archipelag_contracts.manifest import Price
from archipelag_contracts.units import ZERO, Ucredits
from archipelag_contracts.week import EVERY_HOUR
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.account import credits_of
from archipelag_coordinator.apps.api.auth import TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.network import known_island
from archipelag_coordinator.domain.wishes import DAY_HOURS, DAYS, Order, hours_of
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.services.order import order_island

_FIELDS: Final = ("draining", "schedule", "least_prices")
_PARTS: Final = ("per_job", "per_prompt_token", "per_output_item")

Errors = dict[str, list[str]]

router = APIRouter(tags=["network"])


@router.patch(
    "/hosts/{host_id}",
    summary="Order an Island to drain, to keep to a schedule, or to ask for a least price",
    openapi_extra=openapi.takes("HostOrder"),
    responses=openapi.answers(200, "HostAnswer", 400, 403, 404, 409, 413, 422),
)
async def patch_host(host_id: str, request: Request, world: TheWorld, caller: Writing) -> Response:
    """For its owner and for administrators. Only what is named is changed; a schedule of null is always. The network
    holds to it at once, the machine from its next heartbeat on, beside its own rules: the stricter wins."""
    island_id = known_island(host_id)
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    island = await order_island(world, caller.user, island_id, _order(body))
    return JSONResponse({"data": present.island_object(island, whole=True)})


def _order(body: dict[str, Any]) -> Order:
    """Raises InvalidInput with every problem of shape; bounds are the noun's business."""
    errors: Errors = {}
    for field in sorted(body.keys() - set(_FIELDS)):
        errors[field[:64]] = ["is not a known field"]
    if not body:
        errors["body"] = [f"must name at least one of: {', '.join(_FIELDS)}"]
    draining = body.get("draining")
    if "draining" in body and not isinstance(draining, bool):
        errors["draining"] = ["must be true or false"]
    hours = _hours(body["schedule"], errors) if "schedule" in body else None
    least = _least(body["least_prices"], errors) if "least_prices" in body else None
    if errors:
        raise InvalidInput(errors)
    return Order(draining, hours, least)


def _hours(raw: Any, errors: Errors) -> int | None:
    if raw is None:
        return EVERY_HOUR
    good = isinstance(raw, dict) and all(
        day in DAYS and isinstance(hours, list) and all(_is_hour(hour) for hour in hours)
        for day, hours in raw.items()
    )
    if good:
        return hours_of(raw)
    errors["schedule"] = ["must be null, or the hours (0 to 23) of each day from mon to sun"]
    return None


def _is_hour(raw: Any) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < DAY_HOURS


def _least(raw: Any, errors: Errors) -> Mapping[str, Price] | None:
    if not isinstance(raw, dict) or not all(isinstance(one, dict) for one in raw.values()):
        errors["least_prices"] = ["must be an object: of each Cargo the least of each part"]
        return None
    return {slug: _price(slug, parts, errors) for slug, parts in raw.items()}


def _price(slug: str, parts: dict[str, Any], errors: Errors) -> Price:
    named = f"least_prices.{slug[:64]}"
    for part in sorted(parts.keys() - set(_PARTS)):
        errors[f"{named}.{part[:64]}"] = ["is not a known field"]

    def read(part: str) -> Ucredits:
        return credits_of(f"{named}.{part}", parts.get(part), errors) or ZERO

    return Price(*(read(part) for part in _PARTS))

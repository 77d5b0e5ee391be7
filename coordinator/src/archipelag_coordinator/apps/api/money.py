"""What was spent, what was earned, and every move in one's accounts; as JSON or as CSV."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import date, datetime
from typing import Annotated, Any, Final

from archipelag_contracts.units import to_credits
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi
from archipelag_coordinator.apps.api.auth import Reading, TheWorld
from archipelag_coordinator.apps.api.csv_text import csv_response
from archipelag_coordinator.apps.api.network import known_island
from archipelag_coordinator.apps.api.present import time_text
from archipelag_coordinator.domain.ledger import AccountId
from archipelag_coordinator.domain.sums import (
    Days,
    EarnedBy,
    EarnedSum,
    Moved,
    Place,
    Spent,
    SpentBy,
    days_of,
)
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.services.statement import earnings_of, transfers_of, usage_of
from archipelag_coordinator.services.world import World

ROWS_DEFAULT: Final = 20
ROWS_MAX: Final = 100
CSV_ROWS_MAX: Final = 10_000
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PLACE_LENGTH_MAX: Final = 1_000
_FORMATS: Final = ("json", "csv")
_TRANSFER: Final = (
    *("id", "account", "at", "kind", "amount", "balance_after", "job_id", "key_id", "note"),
)
_SPENT: Final = ("jobs", "prompt_tokens", "completion_tokens", "credits")
_EARNED: Final = (
    *("attempts", "completed", "output_items", "prompt_tokens", "seconds"),
    *("paid_from_charge", "paid_from_insurance", "owed", "credits"),
)

router = APIRouter(tags=["money"])

From = Annotated[str | None, Query(alias="from", description="UTC day, such as 2026-11-01")]
To = Annotated[str | None, Query(description="UTC day, included")]
Format = Annotated[str, Query(json_schema_extra={"enum": [*_FORMATS]})]


@router.get(
    "/usage",
    summary="What one's jobs used, by day, key or Cargo",
    responses=openapi.answers(200, "UsageList", 422, text="text/csv"),
)
async def get_usage(
    world: TheWorld,
    caller: Reading,
    from_: From = None,
    to: To = None,
    by: Annotated[str, Query(json_schema_extra={"enum": [*SpentBy]})] = "day",
    format: Format = "json",  # noqa: A002 - the parameter's name
) -> Response:
    """Of jobs that ended within these days, 366 at most; without them, within the last 30."""
    days, as_csv = _days(world, from_, to), _is_csv(format)
    group = SpentBy(_one_of("by", by, [*SpentBy]))
    spent = await usage_of(world, caller.user.id, days, group)
    rows = [_spent_object(row, group) for row in spent]
    if as_csv:
        named = ("key_id", "key_name") if group is SpentBy.KEY else (group.value,)
        return csv_response("usage", (*named, *_SPENT), rows)
    return JSONResponse({"data": rows, "meta": _within(days, group)})


@router.get(
    "/hosts/{host_id}/earnings",
    summary="What an Island earned, by day or Cargo",
    responses=openapi.answers(200, "EarningsList", 404, 422, text="text/csv"),
)
async def get_earnings(
    host_id: str,
    world: TheWorld,
    caller: Reading,
    from_: From = None,
    to: To = None,
    by: Annotated[str, Query(json_schema_extra={"enum": [*EarnedBy]})] = "day",
    format: Format = "json",  # noqa: A002 - the parameter's name
) -> Response:
    """For its owner and for operators: of attempts that ended within these days."""
    days, as_csv = _days(world, from_, to), _is_csv(format)
    group = EarnedBy(_one_of("by", by, [*EarnedBy]))
    earned = await earnings_of(world, caller.user, known_island(host_id), days, group)
    rows = [_earned_object(row, group) for row in earned]
    if as_csv:
        return csv_response("earnings", (group.value, *_EARNED), rows)
    return JSONResponse({"data": rows, "meta": _within(days, group)})


@router.get(
    "/account/transfers",
    summary="Every move in one's accounts, newest first",
    responses=openapi.answers(200, "TransferList", 422, text="text/csv"),
)
async def get_transfers(
    world: TheWorld,
    caller: Reading,
    limit: Annotated[int | None, Query(ge=1, le=CSV_ROWS_MAX)] = None,
    before: Annotated[str | None, Query(description="`meta.next` of the page before")] = None,
    format: Format = "json",  # noqa: A002 - the parameter's name
) -> Response:
    """`limit` is 1 to 100 (20); as CSV up to 10,000, which is what it gives without one."""
    as_csv = _is_csv(format)
    if not as_csv and (limit or 1) > ROWS_MAX:
        raise InvalidInput({"limit": [f"must be 1 to {ROWS_MAX}; as CSV to {CSV_ROWS_MAX}"]})
    most = limit or (CSV_ROWS_MAX if as_csv else ROWS_DEFAULT)
    place = None if before is None else _place(before)
    moved, more = await transfers_of(world, caller.user.id, before=place, limit=most)
    rows, following = [_transfer_object(one) for one in moved], more and _place_text(more)
    if as_csv:
        told = {"X-Archipelag-Next": following} if following else {}
        return csv_response("transfers", _TRANSFER, rows, told)
    return JSONResponse({"data": rows, "meta": {"limit": most, "next": following}})


def _spent_object(row: Spent, by: SpentBy) -> dict[str, Any]:
    named: dict[str, Any] = {by.value: row.group}
    if by is SpentBy.KEY:
        named = {"key_id": row.group, "key_name": row.name}
    return named | {
        "jobs": row.jobs,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.output_items,
        "credits": to_credits(row.charged),
    }


def _earned_object(row: EarnedSum, by: EarnedBy) -> dict[str, Any]:
    return {
        by.value: row.group,
        "attempts": row.attempts,
        "completed": row.completed,
        "output_items": row.output_items,
        "prompt_tokens": row.prompt_tokens,
        "seconds": row.wall_ms / 1000,
        "paid_from_charge": to_credits(row.charged),
        "paid_from_insurance": to_credits(row.insured),
        "owed": to_credits(row.owed),
        "credits": to_credits(row.charged + row.insured),
    }


def _transfer_object(one: Moved) -> dict[str, Any]:
    return {
        "id": one.transfer_id,
        "account": "earnings" if one.is_earnings else "spending",
        "at": time_text(one.at),
        "kind": one.kind.value,
        "amount": to_credits(one.amount),
        "balance_after": to_credits(one.balance_after),
        "job_id": one.job_id,
        "key_id": one.key_id,
        "note": one.note or None,
    }


def _within(days: Days, by: SpentBy | EarnedBy) -> dict[str, str]:
    return {"from": days.first.isoformat(), "to": days.last.isoformat(), "by": by.value}


def _days(world: World, first: str | None, last: str | None) -> Days:
    errors: dict[str, list[str]] = {}
    read = {name: _day(name, text, errors) for name, text in (("from", first), ("to", last))}
    if errors:
        raise InvalidInput(errors)
    return days_of(read["from"], read["to"], now=world.clock.now())


def _day(name: str, text: str | None, errors: dict[str, list[str]]) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not 2000 <= day.year <= 9998:
        errors[name] = ["must be a UTC day, such as 2026-11-01"]
        return None
    return day


def _is_csv(given: str) -> bool:
    return _one_of("format", given, _FORMATS) == "csv"


def _one_of(field: str, given: str, known: Any) -> str:
    if given not in [*known]:
        raise InvalidInput({field: [f"must be one of {', '.join(known)}"]})
    return given


def _place_text(place: Place) -> str:
    """Opaque to clients."""
    parts = [place.at.isoformat(), place.transfer_id, place.account_id]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _place(text: str) -> Place:
    """Raises InvalidInput for what did not come from here."""
    try:
        if len(text) > _PLACE_LENGTH_MAX:
            raise ValueError(text)
        padded = text + "=" * (-len(text) % 4)
        at, transfer_id, account_id = json.loads(base64.b64decode(padded, b"-_", validate=True))
        if not all(
            isinstance(part, str) and part.isprintable() for part in (transfer_id, account_id)
        ):
            raise ValueError(text)
        when = datetime.fromisoformat(at)
        if when.tzinfo is None or not 2000 <= when.year <= 9998:
            raise ValueError(text)
        return Place(when, transfer_id, AccountId(account_id))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise InvalidInput({"before": ["must be `meta.next` of the page before"]}) from None

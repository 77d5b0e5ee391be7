"""Requests about what belongs to the caller: account, keys, credits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from archipelag import values, values_of_money
from archipelag.operations import Headers, Operation, Page, data, given, listed, segment


def account() -> Operation[values.Account]:
    return Operation("GET", "/account", data(values.account))


def usage(
    since: date | None, until: date | None, by: str | None
) -> Operation[tuple[values_of_money.UsageSum, ...]]:
    params = given(from_=since, to=until, by=by)
    return Operation("GET", "/usage", listed(values_of_money.usage_sum), params=params)


def transfers(limit: int, before: str | None) -> Operation[Page[values_of_money.Transfer]]:
    params = given(limit=limit, before=before)

    def read(body: Any, headers: Headers) -> Page[values_of_money.Transfer]:
        rows = listed(values_of_money.transfer)(body, headers)
        following = values.table(body.get("meta") or {}, "an object").get("next")
        return Page(rows, following is not None, str(following or ""))

    return Operation("GET", "/account/transfers", read, params=params)


def list_keys() -> Operation[tuple[values.ApiKey, ...]]:
    return Operation("GET", "/api-keys", listed(values.api_key))


def create_key(
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None,
    budget: Decimal | str | None,
    rate_per_minute: int | None,
) -> Operation[values.ApiKey]:
    body: dict[str, Any] = {"name": name, "scopes": list(scopes)} | given(
        expires_at=expires_at, budget=budget, rate_per_minute=rate_per_minute
    )

    def read(answer: Any, _: Headers) -> values.ApiKey:
        answer = values.table(answer, "an object")
        secret = answer.get("key")
        return values.api_key(answer.get("data"), None if secret is None else str(secret))

    return Operation("POST", "/api-keys", read, body, once=True)


def update_key(key_id: str, changes: dict[str, Any]) -> Operation[values.ApiKey]:
    return Operation(
        "PATCH", f"/api-keys/{segment(key_id)}", data(values.api_key), given(**changes)
    )


def revoke_key(key_id: str) -> Operation[None]:
    return Operation(
        "DELETE", f"/api-keys/{segment(key_id)}", lambda _, __: None, gone_is_done=True
    )

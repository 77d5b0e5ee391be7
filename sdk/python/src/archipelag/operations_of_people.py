"""Requests about sessions and, where the role allows it, about people."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from archipelag import values, values_of_people
from archipelag.operations import (
    PAGE_MAX,
    Headers,
    Operation,
    Page,
    counted,
    data,
    given,
    listed,
    segment,
)


def sessions() -> Operation[tuple[values_of_people.Session, ...]]:
    return Operation("GET", "/sessions", listed(values_of_people.session))


def revoke_session(session_id: str) -> Operation[values_of_people.Session]:
    return Operation("DELETE", f"/sessions/{segment(session_id)}", data(values_of_people.session))


def revoke_sessions() -> Operation[int]:
    def read(body: Any, _: Headers) -> int:
        told = values.table(values.table(body, "an object").get("data"), "an object")
        return values.whole(told.get("signed_out"))

    return Operation("POST", "/sessions/sign-out-everywhere", read)


def users(offset: int, limit: int, search: str | None) -> Operation[Page[values_of_people.User]]:
    params = {"limit": min(limit, PAGE_MAX), "offset": offset} | given(search=search)
    return Operation("GET", "/admin/users", counted(values_of_people.user, offset), params=params)


def grant(user_id: str, amount: Decimal | str, cause: str) -> Operation[values_of_people.Grant]:
    body = {"user_id": user_id, "credits": str(amount), "cause": cause}
    return Operation("POST", "/admin/grants", data(values_of_people.grant), body)

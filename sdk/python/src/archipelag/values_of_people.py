"""Where somebody is signed in, and people as operators and administrators see them, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from archipelag import values
from archipelag.values import moment, money, table


@dataclass(frozen=True)
class Session:
    """A browser that somebody is signed in with. `current` is the one that asks; for a key there is none."""

    id: str
    user_agent: str | None
    created_at: datetime | None
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    current: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class User:
    """Somebody of this network. `role` is user, operator or admin."""

    id: str
    email: str
    role: str
    suspended: bool
    created_at: datetime | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Grant:
    """Who was given credits, and how many they have now. Not `granted`: they had this cause's before."""

    id: str
    email: str
    credits: Decimal
    granted: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def session(raw: Any) -> Session:
    raw = table(raw, "a session")
    return Session(
        values.text(raw, "id"),
        raw.get("user_agent"),
        moment(raw.get("created_at")),
        moment(raw.get("last_used_at")),
        moment(raw.get("expires_at")),
        moment(raw.get("revoked_at")),
        raw.get("current") is True,
        raw,
    )


def user(raw: Any) -> User:
    raw = table(raw, "a user")
    return User(
        values.text(raw, "id"),
        str(raw.get("email") or ""),
        str(raw.get("role") or ""),
        raw.get("suspended") is True,
        moment(raw.get("created_at")),
        raw,
    )


def grant(raw: Any) -> Grant:
    raw = table(raw, "a grant")
    return Grant(
        values.text(raw, "id"),
        str(raw.get("email") or ""),
        money(raw.get("credits")) or Decimal(0),
        raw.get("granted") is True,
        raw,
    )
